use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::address::AddressFlags;

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::interfaces::tests::{address, apply, link, up, virtual_address};
use crate::objects::{Route, RouteKey, RouteKind, Rule, RuleAction};
use crate::routing::RoutingChanges;
use crate::types::Family;

/// A kernel with one interface that carries requests out, and tells its listeners, as the real one does.
struct Bench {
    table: Table,
    interfaces: Interfaces,
    routing: Routing,
    now: Instant,
    /// As promote_secondaries=0 has it: removing the address removes these.
    along: Vec<u8>,
    /// In the order in which they were asked for.
    asked: Vec<String>,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
    fn new() -> Self {
        let mut interfaces = Interfaces::default();
        apply(&mut interfaces, &link(2, "eth0", up()));
        let mut table = Table::default();
        table.looked(BTreeSet::new());
        let (routing, now) = (Routing::default(), Instant::now());
        Self { table, interfaces, routing, now, along: Vec::new(), asked: Vec::new() }
    }

    fn want(&mut self, last: u8) {
        self.want_with(last, AddressOptions::default());
    }

    fn want_with(&mut self, last: u8, options: AddressOptions) {
        self.table.want(Object::Address(virtual_address(last)), Spec::Address(Arc::new(options)));
    }

    fn unwant(&mut self, last: u8) {
        self.table.unwant(&Object::Address(virtual_address(last)));
    }

    fn event(&mut self, message: &RouteNetlinkMessage) {
        let changes = apply(&mut self.interfaces, message);
        self.table.interfaces_changed(&changes, &self.interfaces);
    }

    fn assign(&mut self, last: u8, tag: u8) {
        self.event(&RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, last], 24, tag)));
    }

    fn assign_secondary(&mut self, last: u8, tag: u8) {
        let mut message = address(2, [10, 0, 0, last], 24, tag);
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Secondary));
        self.event(&RouteNetlinkMessage::NewAddress(message));
    }

    fn delete(&mut self, last: u8) {
        self.event(&RouteNetlinkMessage::DelAddress(address(2, [10, 0, 0, last], 24, 0)));
    }

    fn routing_event(&mut self, message: &RouteNetlinkMessage) {
        let mut changes = RoutingChanges::default();
        self.routing.apply(message, &self.interfaces, &mut changes);
        self.table.routing_changed(changes.objects);
    }

    fn plan(&mut self) -> (Vec<Request>, Vec<Notice>) {
        self.table.plan(self.now, World { interfaces: &self.interfaces, routing: &self.routing })
    }

    fn answer(&mut self, request: &Request, result: io::Result<Outcome>) -> Option<Notice> {
        let world = World { interfaces: &self.interfaces, routing: &self.routing };
        self.table.answered(self.now, world, Answer { request: request.clone(), result })
    }

    /// What the kernel does, and answers.
    fn carry_out(&mut self, request: &Request) -> Outcome {
        self.asked.push(format!("{:?} {}", request.operation, request.object));
        match (request.operation, &request.object, &request.how) {
            (Operation::Add | Operation::PutBack, Object::Address(address), how) => {
                let IpAddr::V4(v4) = address.address else { unreachable!() };
                if self.interfaces.find(address).is_some() {
                    return Outcome::AlreadySo;
                }
                match how {
                    How::Message(message) => {
                        self.event(&RouteNetlinkMessage::NewAddress(message.as_ref().clone()));
                    }
                    How::Address { .. } | How::Route { .. } | How::Rule => {
                        self.assign(v4.octets()[3], OUR_TAG);
                    }
                }
            }
            (Operation::Remove, Object::Address(address), _) => {
                if self.interfaces.find(address).is_none() {
                    return Outcome::AlreadySo;
                }
                let IpAddr::V4(v4) = address.address else { unreachable!() };
                self.delete(v4.octets()[3]);
                for last in std::mem::take(&mut self.along) {
                    self.delete(last);
                }
            }
            (Operation::Add, _, How::Route { route, index }) => {
                self.routing_event(&RouteNetlinkMessage::NewRoute(message::route(route, *index)));
            }
            (Operation::Remove, _, How::Route { route, index }) => {
                self.routing_event(&RouteNetlinkMessage::DelRoute(message::route(route, *index)));
            }
            (Operation::Add, Object::Rule(rule), _) => {
                self.routing_event(&RouteNetlinkMessage::NewRule(message::rule(rule)));
            }
            (Operation::Remove, Object::Rule(rule), _) => {
                self.routing_event(&RouteNetlinkMessage::DelRule(message::rule(rule)));
            }
            other => panic!("nobody asks for {other:?}"),
        }
        Outcome::Done
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
            let outcomes: Vec<_> = requests.iter().map(|request| self.carry_out(request)).collect();
            for (request, outcome) in requests.iter().zip(outcomes) {
                all.extend(self.answer(request, Ok(outcome)));
            }
        }
    }

    fn has(&self, last: u8) -> bool {
        self.interfaces.find(&virtual_address(last)).is_some()
    }
}

fn default_route(metric: u32, via: [u8; 4]) -> (Object, Spec) {
    let key =
        RouteKey { family: Family::V4, table: 254, destination: [0, 0, 0, 0].into(), prefix_len: 0, metric };
    let route = Route {
        key,
        kind: RouteKind::Unicast,
        via: Some(via.into()),
        interface: Some("eth0".into()),
        source: None,
        scope: None,
        mtu: None,
        onlink: false,
    };
    (Object::route(&route), Spec::Route(Arc::new(route)))
}

fn rule() -> Object {
    let action = RuleAction::Table(100);
    let (from, to, iif, oif, fwmark) = (None, None, None, None, None);
    Object::Rule(Arc::new(Rule { family: Family::V4, priority: 100, from, to, iif, oif, fwmark, action }))
}

/// Notices as words: `io::Error` cannot be compared.
fn words(notices: &[Notice]) -> Vec<String> {
    notices.iter().map(word).collect()
}

fn word(notice: &Notice) -> String {
    let what = match notice {
        Notice::Installed(_) => "installed",
        Notice::Foreign(_) => "foreign",
        Notice::Lost(_) => "lost",
        Notice::LeftBehind(_) => "left behind",
        Notice::TakenAlong(_) => "taken along",
        Notice::Failed(..) => "failed",
    };
    let object = notice.object().to_string();
    format!("{what} {}", object.trim_end_matches("/24 on eth0"))
}

#[test]
fn wanted_addresses_are_added_together_and_removed_when_no_longer_wanted() {
    let mut bench = Bench::new();
    bench.want(50);
    bench.want(51);
    let (requests, _) = bench.plan();
    assert_eq!(requests.len(), 2, "all in flight together");
    assert!(!bench.table.wants_plan(bench.now));
    assert_eq!(bench.plan().0, [], "not twice");
    for request in requests {
        bench.carry_out(&request);
        assert!(bench.answer(&request, Ok(Outcome::Done)).is_none());
    }
    assert_eq!(words(&bench.settle()), ["installed 10.0.0.50", "installed 10.0.0.51"]);
    for last in [50, 51] {
        bench.unwant(last);
    }
    assert!(!bench.table.is_settled());
    assert_eq!(words(&bench.settle()), [""; 0]);
    assert!(!bench.has(50) && !bench.has(51) && bench.table.is_settled());
}

#[test]
fn an_address_of_the_administrators_is_used_and_left_alone() {
    let mut bench = Bench::new();
    bench.assign(50, 0);
    bench.want(50);
    assert_eq!(words(&bench.settle()), ["foreign 10.0.0.50", "installed 10.0.0.50"]);
    bench.unwant(50);
    assert_eq!(words(&bench.settle()), [""; 0]);
    assert!(bench.has(50) && bench.table.is_settled());
}

#[test]
fn an_address_that_appears_while_ours_is_on_the_way_is_the_administrators() {
    let mut bench = Bench::new();
    bench.want(50);
    let (requests, _) = bench.plan();
    bench.assign(50, 0);
    assert!(bench.answer(&requests[0], Ok(Outcome::AlreadySo)).is_none());
    assert_eq!(words(&bench.settle()), ["foreign 10.0.0.50", "installed 10.0.0.50"]);
    bench.unwant(50);
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
fn an_address_goes_with_a_link_that_is_renamed_and_does_not_stay_there() {
    let mut bench = Bench::new();
    bench.want(50);
    bench.settle();
    // Both are known by the time of the next plan: the link's new name, and that the router is in Fault without the old.
    bench.event(&link(2, "lan0", up()));
    bench.unwant(50);
    let removed = bench.settle();
    assert_eq!(words(&removed), ["left behind 10.0.0.50/24 on lan0"]);
    assert_eq!(bench.interfaces.tagged().count(), 0);
}

#[test]
fn a_deleted_address_is_put_back_at_once_but_not_in_a_race() {
    let mut bench = Bench::new();
    bench.want(50);
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
    bench.want(50);
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
    bench.want(50);
    bench.settle();
    bench.unwant(50);
    let (requests, _) = bench.plan();
    bench.delete(50);
    assert!(bench.answer(&requests[0], Ok(Outcome::AlreadySo)).is_none());
    assert_eq!(words(&bench.settle()), [""; 0]);
    assert!(bench.table.is_settled());
}

#[test]
fn an_address_given_up_while_it_was_being_added_does_not_stay() {
    let mut bench = Bench::new();
    bench.want(50);
    let (requests, _) = bench.plan();
    bench.unwant(50);
    assert!(!bench.table.is_settled());
    bench.assign(50, OUR_TAG);
    assert!(bench.answer(&requests[0], Ok(Outcome::Done)).is_none());
    bench.settle();
    assert!(!bench.has(50) && bench.table.is_settled());
}

#[test]
fn a_kernel_without_tags_still_gives_back_what_we_added() {
    let mut bench = Bench::new();
    bench.want(50);
    let (requests, _) = bench.plan();
    bench.assign(50, 0);
    assert!(bench.answer(&requests[0], Ok(Outcome::Done)).is_none());
    assert_eq!(words(&bench.settle()), ["installed 10.0.0.50"], "not foreign");
    bench.unwant(50);
    bench.settle();
    assert!(!bench.has(50));
}

#[test]
fn an_interface_that_is_missing_is_waited_for_without_spinning() {
    let mut bench = Bench::new();
    let elsewhere = VirtualAddress { interface: "eth9".into(), ..virtual_address(50) };
    let elsewhere = Object::Address(elsewhere);
    bench.table.want(elsewhere.clone(), Spec::Address(Arc::default()));
    assert_eq!(bench.plan().0, []);
    assert_eq!(bench.table.deadline(), None);
    bench.event(&link(9, "eth9", up()));
    assert_eq!(bench.plan().0[0].object, elsewhere);
}

#[test]
fn an_address_that_the_kernel_says_it_has_and_does_not_show_is_asked_for_once_a_second() {
    let mut bench = Bench::new();
    bench.want(50);
    for _ in 0..3 {
        let (requests, _) = bench.plan();
        assert_eq!(requests.len(), 1);
        assert!(bench.answer(&requests[0], Ok(Outcome::AlreadySo)).is_none());
        assert!(bench.plan().0.is_empty(), "asked again at once");
        assert_eq!(bench.table.deadline(), Some(bench.now + RETRY));
        bench.now += RETRY;
    }
}

#[test]
fn changed_options_replace_that_address_only() {
    let mut bench = Bench::new();
    bench.want(50);
    bench.want(51);
    bench.settle();
    bench.asked.clear();
    let noprefixroute = AddressOptions { noprefixroute: true, ..AddressOptions::default() };
    bench.want_with(50, noprefixroute);
    bench.want(51);
    assert_eq!(words(&bench.settle()), ["installed 10.0.0.50"]);
    assert_eq!(bench.asked, ["Remove 10.0.0.50/24 on eth0", "Add 10.0.0.50/24 on eth0"]);
    // This kernel shows the option not at all: it is not asked for again and again.
    bench.asked.clear();
    bench.assign_secondary(50, OUR_TAG);
    assert_eq!(words(&bench.settle()), [""; 0]);
    assert_eq!(bench.asked, [""; 0]);
}

#[test]
fn an_address_of_a_former_run_is_gone_on_with_and_made_anew_only_if_it_is_otherwise() {
    let mut bench = Bench::new();
    bench.assign(50, OUR_TAG);
    bench.assign(51, OUR_TAG);
    bench.want(50);
    bench.want_with(51, AddressOptions { noprefixroute: true, ..AddressOptions::default() });
    assert_eq!(words(&bench.settle()), ["installed 10.0.0.50", "installed 10.0.0.51"]);
    assert_eq!(bench.asked, ["Remove 10.0.0.51/24 on eth0", "Add 10.0.0.51/24 on eth0"]);
}

#[test]
fn routes_follow_addresses_and_rules_follow_routes_and_they_leave_the_other_way_round() {
    let mut bench = Bench::new();
    let (route, spec) = default_route(0, [10, 0, 0, 254]);
    bench.table.want(rule(), Spec::Rule);
    bench.table.want(route.clone(), spec);
    bench.want(50);
    assert_eq!(bench.settle().len(), 3);
    let rule_name = "the rule 100 from all table 100";
    assert_eq!(
        bench.asked,
        ["Add 10.0.0.50/24 on eth0", "Add the route default", &format!("Add {rule_name}")]
    );
    bench.asked.clear();
    bench.unwant(50);
    bench.table.unwant(&route);
    bench.table.unwant(&rule());
    assert!(!bench.table.is_settled());
    bench.settle();
    assert_eq!(
        bench.asked,
        [&format!("Remove {rule_name}"), "Remove the route default", "Remove 10.0.0.50/24 on eth0"]
    );
    assert!(bench.table.is_settled());
}

#[test]
fn a_route_and_a_rule_that_somebody_deletes_are_back_at_once() {
    let mut bench = Bench::new();
    let (route, spec) = default_route(0, [10, 0, 0, 254]);
    let Spec::Route(value) = spec.clone() else { unreachable!() };
    bench.table.want(route.clone(), spec);
    bench.table.want(rule(), Spec::Rule);
    bench.settle();
    bench.routing_event(&RouteNetlinkMessage::DelRoute(message::route(&value, Some(2))));
    assert_eq!(words(&bench.settle()), ["lost the route default", "installed the route default"]);
    let Object::Rule(inner) = rule() else { unreachable!() };
    bench.routing_event(&RouteNetlinkMessage::DelRule(message::rule(&inner)));
    assert_eq!(bench.settle().len(), 2);
    assert!(bench.routing.rule(&inner).is_some() && bench.routing.route(&value.key).is_some());
}

#[test]
fn a_changed_route_is_replaced() {
    let mut bench = Bench::new();
    let (route, spec) = default_route(0, [10, 0, 0, 254]);
    bench.table.want(route.clone(), spec);
    bench.settle();
    let (_, other) = default_route(0, [10, 0, 0, 253]);
    bench.table.want(route, other);
    bench.asked.clear();
    bench.settle();
    assert_eq!(bench.asked, ["Remove the route default", "Add the route default"]);
}

#[test]
fn a_route_that_fails_is_asked_for_again_as_soon_as_an_address_is_added() {
    let mut bench = Bench::new();
    let (route, spec) = default_route(0, [10, 0, 0, 254]);
    bench.table.want(route, spec);
    let (requests, _) = bench.plan();
    let failed = bench.answer(&requests[0], Err(io::ErrorKind::NetworkUnreachable.into()));
    assert!(matches!(failed, Some(Notice::Failed(..))));
    assert_eq!(bench.plan().0, []);
    bench.want(50);
    let said = words(&bench.settle());
    assert!(said.contains(&"installed the route default".into()), "before the second is over: {said:?}");
    assert_eq!(bench.asked, ["Add 10.0.0.50/24 on eth0", "Add the route default"]);
}

#[test]
fn a_route_of_somebody_elses_in_its_place_is_told_and_tried_again_once_a_second() {
    let mut bench = Bench::new();
    let (route, spec) = default_route(0, [10, 0, 0, 254]);
    bench.table.want(route.clone(), spec);
    let (requests, _) = bench.plan();
    let failed = bench.answer(&requests[0], Ok(Outcome::AlreadySo));
    assert_eq!(words(&failed.into_iter().collect::<Vec<_>>()), ["failed the route default"]);
    assert_eq!((bench.plan().0, bench.table.deadline()), (vec![], Some(bench.now + RETRY)));
    bench.table.unwant(&route);
    bench.settle();
    assert!(bench.table.is_settled() && bench.asked.is_empty(), "and it is not ours to remove");
}

#[test]
fn nothing_is_done_about_routes_before_somebody_has_looked_what_there_is() {
    let mut bench = Bench::new();
    bench.table = Table::default();
    let (route, spec) = default_route(0, [10, 0, 0, 254]);
    let Spec::Route(value) = spec.clone() else { unreachable!() };
    bench.table.want(route, spec);
    assert_eq!(bench.plan().0, []);
    assert!(!bench.table.wants_plan(bench.now), "no spinning");
    bench.routing_event(&RouteNetlinkMessage::NewRoute(message::route(&value, Some(2))));
    bench.table.looked(BTreeSet::from([rule()]));
    assert_eq!(words(&bench.settle()), ["installed the route default"], "it was there, from a former run");
}

#[test]
fn routes_and_rules_left_behind_are_removed_and_others_are_not() {
    let mut bench = Bench::new();
    let (_, spec) = default_route(0, [10, 0, 0, 254]);
    let Spec::Route(value) = spec else { unreachable!() };
    bench.routing_event(&RouteNetlinkMessage::NewRoute(message::route(&value, Some(2))));
    let Object::Rule(inner) = rule() else { unreachable!() };
    bench.routing_event(&RouteNetlinkMessage::NewRule(message::rule(&inner)));
    assert_eq!(
        words(&bench.settle()),
        ["left behind the route default", "left behind the rule 100 from all table 100"]
    );
    assert!(bench.routing.route(&value.key).is_none() && bench.routing.rule(&inner).is_none());
    assert!(bench.table.is_settled());
}

#[test]
fn what_the_kernel_takes_along_with_a_primary_address_is_put_back_ours_and_others() {
    let mut bench = Bench::new();
    bench.want(50);
    bench.settle();
    bench.want(51);
    bench.assign_secondary(51, OUR_TAG);
    bench.settle();
    bench.assign_secondary(1, 0);
    bench.settle();
    bench.along = vec![51, 1];
    bench.unwant(50);
    let said = words(&bench.settle());
    assert_eq!(said, ["taken along 10.0.0.1", "installed 10.0.0.51"]);
    assert!(!bench.has(50) && bench.has(51) && bench.has(1));
    assert_ne!(bench.interfaces.find(&virtual_address(1)).unwrap().tag, OUR_TAG);
}

#[test]
fn where_the_kernel_promotes_secondaries_nothing_happens_to_them_and_nothing_is_said() {
    let mut bench = Bench::new();
    bench.want(50);
    bench.settle();
    bench.assign_secondary(1, 0);
    bench.settle();
    bench.unwant(50);
    assert_eq!(words(&bench.settle()), [""; 0]);
    assert!(!bench.has(50) && bench.has(1));
}

#[test]
fn ten_thousand_addresses_cost_a_turn_that_is_not_about_them_nothing() {
    let mut bench = Bench::new();
    for number in 0..10_000_u32 {
        let address = IpAddr::from(Ipv4Addr::from_bits(0x0a01_0000 + number));
        let address = VirtualAddress { interface: "eth0".into(), address, prefix_len: 32 };
        bench.table.want(Object::Address(address), Spec::Address(Arc::default()));
    }
    assert_eq!(bench.plan().0.len(), 10_000);
    bench.want(50);
    assert_eq!(bench.table.touched.len(), 1, "only what was touched is looked at");
    assert_eq!(bench.plan().0.len(), 1);
    assert_eq!(bench.table.deadline(), None);
    assert!(!bench.table.wants_plan(bench.now));
}
