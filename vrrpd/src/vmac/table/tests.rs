use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    AfSpecInet, AfSpecUnspec, InetDevConf, InfoKind, LinkAttribute, LinkInfo, LinkMessage,
};

use super::*;
use crate::interfaces::Changes;
use crate::vmac::MARK;

const MAC: MacAddress = [0, 0, 0x5e, 0, 1, 51];
const PARENT: u32 = 2;

/// A kernel with one interface that carries requests out.
struct Bench {
    table: LinkTable,
    interfaces: Interfaces,
    now: Instant,
    next_index: u32,
    log: Vec<Operation>,
}

fn name() -> Arc<str> {
    "vrrp.51".into()
}

fn link(index: u32, name: &str, mac: MacAddress) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes = vec![LinkAttribute::IfName(name.into()), LinkAttribute::Address(mac.to_vec())];
    message
}

fn macvlan(index: u32, mac: MacAddress, settings: Settings, up: bool) -> LinkMessage {
    let mut message = link(index, "vrrp.51", mac);
    if up {
        message.header.flags = LinkFlags::Up | LinkFlags::Running;
    }
    let mut conf = InetDevConf::default();
    conf.arp_ignore = settings.arp_ignore;
    conf.arp_announce = settings.arp_announce;
    conf.rp_filter = settings.rp_filter;
    conf.forwarding = i32::from(settings.forwarding);
    message.attributes.extend([
        LinkAttribute::Link(PARENT),
        LinkAttribute::Group(MARK),
        LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::MacVlan)]),
        LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet(vec![AfSpecInet::DevConf(conf)])]),
    ]);
    message
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
    fn new() -> Self {
        let mut bench = Self {
            table: LinkTable::default(),
            interfaces: Interfaces::default(),
            now: Instant::now(),
            next_index: 10,
            log: Vec::new(),
        };
        bench.apply(link(PARENT, "eth0", [2, 0, 0, 0, 0, 1]));
        bench
    }

    fn apply(&mut self, message: LinkMessage) {
        self.interfaces.apply(&RouteNetlinkMessage::NewLink(message), &mut Changes::default());
        self.table.interfaces_changed();
    }

    fn remove(&mut self, index: u32) {
        let message = RouteNetlinkMessage::DelLink(link(index, "any", MAC));
        self.interfaces.apply(&message, &mut Changes::default());
        self.table.interfaces_changed();
    }

    fn want(&mut self, up: bool) {
        let wanted = Wanted { parent: "eth0".into(), mac: MAC, up };
        self.table.want([(name(), wanted)].into());
    }

    fn index(&self) -> Option<u32> {
        self.interfaces.by_name("vrrp.51").map(|link| link.index)
    }

    fn is_up(&self) -> bool {
        self.interfaces.by_name("vrrp.51").is_some_and(|link| link.flags.contains(LinkFlags::Up))
    }

    fn settings(&self) -> Settings {
        self.interfaces.by_name("vrrp.51").map(|link| link.traits.settings).unwrap_or_default()
    }

    fn carry_out(&mut self, request: &Request) {
        let up = self.is_up();
        let settings = self.settings();
        match request.operation {
            Operation::Create { parent, mac, .. } => {
                assert_eq!(parent, PARENT);
                self.next_index += 1;
                self.apply(macvlan(self.next_index, mac, Settings::default(), false));
            }
            Operation::Configure { settings, .. } => self.apply(macvlan(request.index, MAC, settings, up)),
            Operation::Up => self.apply(macvlan(request.index, MAC, settings, true)),
            Operation::Down => self.apply(macvlan(request.index, MAC, settings, false)),
            Operation::Delete => self.remove(request.index),
        }
    }

    /// Carry out what is planned now until nothing is left to do.
    fn settle(&mut self) -> Vec<Notice> {
        let mut all = Vec::new();
        for _ in 0..20 {
            let (requests, notices) = self.table.plan(self.now, &self.interfaces);
            all.extend(notices);
            if requests.is_empty() {
                return all;
            }
            for request in requests {
                self.carry_out(&request);
                self.log.push(request.operation);
                all.extend(self.table.answered(self.now, Answer { request, result: Ok(()) }));
            }
        }
        panic!("it goes round and round: {:?}", self.log);
    }

    /// Settled with the link there.
    fn with_link(up: bool) -> Self {
        let mut bench = Self::new();
        bench.want(up);
        assert_eq!(bench.settle(), []);
        bench.log.clear();
        bench
    }
}

#[test]
fn a_link_is_made_down_then_configured_and_set_up_only_while_the_router_is_active() {
    let mut bench = Bench::new();
    bench.want(false);
    assert!(!bench.table.is_ready("vrrp.51", &bench.interfaces));
    assert_eq!(bench.settle(), []);
    let settings = Operation::Configure { settings: Settings::wanted(false), ipv6: false };
    assert_eq!(bench.log, [Operation::Create { parent: PARENT, controller: None, mac: MAC }, settings]);
    assert!(bench.table.is_ready("vrrp.51", &bench.interfaces) && !bench.is_up());
    bench.want(true);
    assert_eq!(bench.settle(), []);
    assert!(bench.is_up());
    // At once, however soon one role follows the other.
    bench.want(false);
    bench.settle();
    assert!(!bench.is_up());
    bench.want(true);
    bench.settle();
    assert!(bench.is_up());
}

#[test]
fn a_link_that_nobody_wants_any_more_goes_and_the_table_is_settled_then() {
    let mut bench = Bench::with_link(true);
    bench.table.want(BTreeMap::new());
    assert!(!bench.table.is_settled());
    bench.settle();
    assert_eq!(bench.log, [Operation::Delete]);
    assert_eq!(bench.index(), None);
    assert!(bench.table.is_settled());
}

#[test]
fn a_link_from_a_former_run_is_kept_if_it_is_wanted_and_removed_if_it_is_not() {
    let mut bench = Bench::new();
    bench.apply(macvlan(7, MAC, Settings::wanted(false), true));
    bench.want(true);
    assert_eq!(bench.settle(), []);
    assert_eq!((bench.index(), bench.log.as_slice()), (Some(7), [].as_slice()), "not touched");

    let mut bench = Bench::new();
    bench.apply(macvlan(7, MAC, Settings::wanted(false), true));
    assert_eq!(bench.settle(), [Notice::LeftBehind(name())]);
    assert_eq!(bench.index(), None);
}

#[test]
fn a_link_that_is_not_ours_is_never_touched_and_is_the_trouble() {
    let mut bench = Bench::new();
    bench.apply(link(7, "vrrp.51", MAC));
    bench.want(true);
    assert_eq!(bench.settle(), []);
    assert_eq!(bench.log, []);
    assert_eq!(bench.table.trouble("vrrp.51"), Some(&Trouble::Foreign));
    bench.table.want(BTreeMap::new());
    bench.settle();
    assert_eq!(bench.index(), Some(7), "nor at the end");
    assert!(bench.table.is_settled());
    // When it is gone, ours takes its place.
    bench.want(false);
    bench.settle();
    bench.remove(7);
    bench.settle();
    assert_eq!(bench.table.trouble("vrrp.51"), None);
    assert!(bench.table.is_ready("vrrp.51", &bench.interfaces));
}

#[test]
fn a_link_that_somebody_deletes_is_made_again_at_once_and_then_not_more_than_once_a_second() {
    let mut bench = Bench::with_link(true);
    bench.now += 10 * RETRY;
    bench.remove(bench.index().unwrap());
    assert_eq!(bench.settle(), [Notice::Lost(name())]);
    assert!(bench.is_up());
    bench.remove(bench.index().unwrap());
    bench.settle();
    assert_eq!(bench.index(), None, "somebody insists");
    bench.now = bench.table.deadline().expect("it is tried again");
    assert!(bench.table.wants_plan(bench.now));
    bench.settle();
    assert!(bench.is_up());
}

#[test]
fn what_somebody_changes_of_a_link_is_put_right() {
    let mut bench = Bench::with_link(true);
    bench.now += 10 * RETRY;
    let index = bench.index().unwrap();
    bench.apply(macvlan(index, MAC, Settings::wanted(false), false));
    assert_eq!(bench.settle(), [Notice::Changed(name())]);
    assert!(bench.is_up());
    bench.apply(macvlan(index, MAC, Settings { rp_filter: 1, ..Settings::wanted(false) }, true));
    assert_eq!(bench.settle(), [Notice::Changed(name())]);
    assert_eq!(bench.settings(), Settings::wanted(false));
    bench.apply(macvlan(index, [2, 0, 0, 0, 0, 9], Settings::wanted(false), true));
    bench.now += RETRY;
    bench.settle();
    bench.now += RETRY;
    bench.settle();
    assert_eq!(bench.interfaces.by_name("vrrp.51").unwrap().mac, Some(MAC));
}

#[test]
fn a_link_goes_with_its_parent_and_comes_back_with_it() {
    let mut bench = Bench::with_link(true);
    bench.remove(bench.index().unwrap());
    bench.remove(PARENT);
    assert_eq!(bench.settle(), [], "nobody deleted it");
    assert!(!bench.table.is_ready("vrrp.51", &bench.interfaces));
    bench.now += RETRY;
    bench.apply(link(PARENT, "eth0", [2, 0, 0, 0, 0, 1]));
    assert_eq!(bench.settle(), []);
    assert!(bench.is_up());
}

#[test]
fn a_link_on_another_parent_or_with_another_mac_is_made_anew() {
    let mut bench = Bench::with_link(true);
    let before = bench.index();
    let wanted = Wanted { parent: "eth0".into(), mac: [2, 0, 0, 0, 0, 9], up: false };
    bench.table.want([(name(), wanted)].into());
    let (requests, _) = bench.table.plan(bench.now, &bench.interfaces);
    assert_eq!(requests[0].operation, Operation::Delete);
    assert_eq!(Some(requests[0].index), before);
}

#[test]
fn what_the_kernel_refuses_is_the_trouble_told_once_and_tried_again() {
    let mut bench = Bench::new();
    bench.want(false);
    for (second, told) in [(0, 1), (1, 0)] {
        bench.now += second * RETRY;
        let (requests, _) = bench.table.plan(bench.now, &bench.interfaces);
        let [request] = requests.try_into().unwrap();
        let result = Err(io::Error::from_raw_os_error(nix::libc::EBUSY));
        let notice = bench.table.answered(bench.now, Answer { request, result });
        assert_eq!(notice.into_iter().count(), told);
        assert!(
            matches!(bench.table.trouble("vrrp.51"), Some(Trouble::Refused(why)) if why.contains("busy"))
        );
        assert!(bench.table.plan(bench.now, &bench.interfaces).0.is_empty(), "not over and over");
    }
    bench.now += RETRY;
    bench.settle();
    assert_eq!(bench.table.trouble("vrrp.51"), None);
}
