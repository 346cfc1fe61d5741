use netlink_packet_route::RouteNetlinkMessage;

use super::*;
use crate::interfaces::tests::{address, apply, link, up};

/// A kernel with one interface that carries requests out.
struct Bench {
    table: AddressTable,
    interfaces: Interfaces,
    now: Instant,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
    fn new() -> Self {
        let mut interfaces = Interfaces::default();
        apply(&mut interfaces, &link(2, "eth0", up()));
        Self { table: AddressTable::default(), interfaces, now: Instant::now() }
    }

    fn assign(&mut self, last: u8, tag: u8) {
        apply(&mut self.interfaces, &RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, last], 24, tag)));
    }

    fn delete(&mut self, last: u8) {
        apply(&mut self.interfaces, &RouteNetlinkMessage::DelAddress(address(2, [10, 0, 0, last], 24, 0)));
    }

    fn plan(&mut self) -> (Vec<Request>, Vec<Notice>) {
        self.table.plan(self.now, &self.interfaces)
    }

    fn answer(&mut self, request: &Request, result: io::Result<Outcome>) -> Option<Notice> {
        self.table.answered(self.now, Answer { request: request.clone(), result })
    }

    /// Carry out what is planned now, and return all notices until nothing is left to do.
    fn settle(&mut self) -> Vec<Notice> {
        let mut all = Vec::new();
        loop {
            let (requests, notices) = self.plan();
            all.extend(notices);
            if requests.is_empty() {
                return all;
            }
            for request in requests {
                let last = last_byte(&request);
                match request.operation {
                    Operation::Add => self.assign(last, OUR_TAG),
                    Operation::Remove => self.delete(last),
                }
                all.extend(self.answer(&request, Ok(Outcome::Done)));
            }
        }
    }

    fn has(&self, last: u8) -> bool {
        self.interfaces.find(&virtual_address(last)).is_some()
    }
}

fn virtual_address(last: u8) -> VirtualAddress {
    VirtualAddress { interface: "eth0".into(), address: [10, 0, 0, last].into(), prefix_len: 24 }
}

/// Notices as words: `io::Error` cannot be compared.
fn words(notices: &[Notice]) -> Vec<String> {
    notices.iter().map(word).collect()
}

fn word(notice: &Notice) -> String {
    match notice {
        Notice::Installed(address) => format!("installed {}", address.address),
        Notice::Foreign(address) => format!("foreign {}", address.address),
        Notice::Lost(address) => format!("lost {}", address.address),
        Notice::LeftBehind(address) => format!("left behind {}", address.address),
        Notice::Failed(request, _) => format!("failed {}", request.address.address),
    }
}

#[test]
fn wanted_addresses_are_added_together_and_removed_when_no_longer_wanted() {
    let mut bench = Bench::new();
    bench.table.want(virtual_address(50));
    bench.table.want(virtual_address(51));
    let (requests, _) = bench.plan();
    assert_eq!(requests.len(), 2, "all in flight together");
    assert!(!bench.table.wants_plan(bench.now));
    assert_eq!(bench.plan().0, [], "not twice");
    for request in requests {
        bench.assign(last_byte(&request), OUR_TAG);
        assert!(bench.answer(&request, Ok(Outcome::Done)).is_none());
    }
    assert_eq!(words(&bench.settle()), ["installed 10.0.0.50", "installed 10.0.0.51"]);
    for last in [50, 51] {
        bench.table.unwant(&virtual_address(last));
    }
    assert!(!bench.table.is_settled());
    assert_eq!(words(&bench.settle()), [""; 0]);
    assert!(!bench.has(50) && !bench.has(51) && bench.table.is_settled());
}

#[test]
fn an_address_of_the_administrators_is_used_and_left_alone() {
    let mut bench = Bench::new();
    bench.assign(50, 0);
    bench.table.want(virtual_address(50));
    assert_eq!(words(&bench.settle()), ["foreign 10.0.0.50", "installed 10.0.0.50"]);
    bench.table.unwant(&virtual_address(50));
    assert_eq!(words(&bench.settle()), [""; 0]);
    assert!(bench.has(50) && bench.table.is_settled());
}

#[test]
fn an_address_that_appears_while_ours_is_on_the_way_is_the_administrators() {
    let mut bench = Bench::new();
    bench.table.want(virtual_address(50));
    let (requests, _) = bench.plan();
    bench.assign(50, 0);
    assert!(bench.answer(&requests[0], Ok(Outcome::AlreadySo)).is_none());
    assert_eq!(words(&bench.settle()), ["foreign 10.0.0.50", "installed 10.0.0.50"]);
    bench.table.unwant(&virtual_address(50));
    bench.settle();
    assert!(bench.has(50));
}

#[test]
fn addresses_left_behind_by_a_former_run_are_removed_and_others_are_not() {
    let mut bench = Bench::new();
    bench.assign(50, OUR_TAG);
    bench.assign(60, 0);
    assert_eq!(words(&bench.settle()), ["left behind 10.0.0.50"]);
    assert!(!bench.has(50) && bench.has(60));
}

#[test]
fn a_deleted_address_is_put_back_at_once_but_not_in_a_race() {
    let mut bench = Bench::new();
    bench.table.want(virtual_address(50));
    bench.settle();
    bench.delete(50);
    assert_eq!(words(&bench.settle()), ["lost 10.0.0.50", "installed 10.0.0.50"]);
    assert!(bench.has(50));
    // Somebody insists.
    bench.delete(50);
    assert_eq!(words(&bench.settle()), ["lost 10.0.0.50"]);
    assert_eq!(bench.table.deadline(), Some(bench.now + RETRY));
    bench.now += RETRY;
    assert_eq!(words(&bench.settle()), ["installed 10.0.0.50"]);
    assert_eq!(bench.table.deadline(), None);
}

#[test]
fn a_failure_is_reported_and_tried_again_later() {
    let mut bench = Bench::new();
    bench.table.want(virtual_address(50));
    let (requests, _) = bench.plan();
    let failed = bench.answer(&requests[0], Err(io::ErrorKind::PermissionDenied.into()));
    assert!(matches!(failed, Some(Notice::Failed(..))));
    assert_eq!(bench.plan().0, []);
    assert!(!bench.table.wants_plan(bench.now));
    bench.now = bench.table.deadline().expect("it is tried again");
    assert!(bench.table.wants_plan(bench.now));
    assert_eq!(words(&bench.settle()), ["installed 10.0.0.50"]);
}

#[test]
fn removing_what_is_gone_already_is_no_failure() {
    let mut bench = Bench::new();
    bench.table.want(virtual_address(50));
    bench.settle();
    bench.table.unwant(&virtual_address(50));
    let (requests, _) = bench.plan();
    bench.delete(50);
    assert!(bench.answer(&requests[0], Ok(Outcome::AlreadySo)).is_none());
    assert_eq!(words(&bench.settle()), [""; 0]);
    assert!(bench.table.is_settled());
}

#[test]
fn an_address_given_up_while_it_was_being_added_does_not_stay() {
    let mut bench = Bench::new();
    bench.table.want(virtual_address(50));
    let (requests, _) = bench.plan();
    bench.table.unwant(&virtual_address(50));
    assert!(!bench.table.is_settled());
    bench.assign(50, OUR_TAG);
    assert!(bench.answer(&requests[0], Ok(Outcome::Done)).is_none());
    bench.settle();
    assert!(!bench.has(50) && bench.table.is_settled());
}

#[test]
fn a_kernel_without_tags_still_gives_back_what_we_added() {
    let mut bench = Bench::new();
    bench.table.want(virtual_address(50));
    let (requests, _) = bench.plan();
    bench.assign(50, 0);
    assert!(bench.answer(&requests[0], Ok(Outcome::Done)).is_none());
    assert_eq!(words(&bench.settle()), ["installed 10.0.0.50"], "not foreign");
    bench.table.unwant(&virtual_address(50));
    bench.settle();
    assert!(!bench.has(50));
}

#[test]
fn an_interface_that_is_missing_is_waited_for_without_spinning() {
    let mut bench = Bench::new();
    let elsewhere = VirtualAddress { interface: "eth9".into(), ..virtual_address(50) };
    bench.table.want(elsewhere.clone());
    assert_eq!(bench.plan().0, []);
    assert_eq!(bench.table.deadline(), None);
    apply(&mut bench.interfaces, &link(9, "eth9", up()));
    assert_eq!(bench.plan().0[0].address, elsewhere);
}

#[test]
fn an_address_that_the_kernel_says_it_has_and_does_not_show_is_asked_for_once_a_second() {
    let mut bench = Bench::new();
    bench.table.want(virtual_address(50));
    for _ in 0..3 {
        let (requests, _) = bench.plan();
        assert_eq!(requests.len(), 1);
        assert!(bench.answer(&requests[0], Ok(Outcome::AlreadySo)).is_none());
        assert!(bench.plan().0.is_empty(), "asked again at once");
        assert_eq!(bench.table.deadline(), Some(bench.now + RETRY));
        bench.now += RETRY;
    }
}

fn last_byte(request: &Request) -> u8 {
    let std::net::IpAddr::V4(address) = request.address.address else {
        panic!("{request:?} is not about IPv4")
    };
    address.octets()[3]
}
