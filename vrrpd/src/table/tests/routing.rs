use super::*;

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
