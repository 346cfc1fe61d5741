use super::*;

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
