//! A member of a sync group: it wants, it is permitted, it yields.

use super::*;

fn member(priority: u8) -> Settings {
    Settings { sync_group: Some("g".into()), ..settings(priority) }
}

fn waiting(priority: u8) -> Bench {
    let mut bench = Bench::backup(member(priority));
    assert_eq!(bench.fire(), []);
    assert!(bench.router.waits_for_group().is_some());
    bench
}

#[test]
fn a_member_does_not_become_active_by_itself_but_when_it_is_permitted() {
    let mut bench = waiting(100);
    assert_eq!((bench.router.state(), bench.router.deadline()), (StateName::Backup, None));
    let reason = bench.router.waits_for_group().cloned().unwrap();
    assert_eq!(bench.after(60 * SECOND).event(Event::Permit), takes_over(StateName::Backup, 100));
    assert_eq!(*bench.router.reason(), reason);
    assert_eq!(bench.router.waits_for_group(), None);
    assert_eq!(bench.event(Event::Permit), [], "once");
}

#[test]
fn nobody_is_permitted_that_does_not_want_to() {
    let mut bench = Bench::backup(member(100));
    assert_eq!(bench.event(Event::Permit), []);
    assert_eq!(bench.router.state(), StateName::Backup);
}

#[test]
fn an_owner_waits_for_its_group_as_well() {
    let mut bench = Bench::initialize(member(255));
    assert_eq!(bench.event(Event::Ready { source: US }), [transition(StateName::Initialize)]);
    assert_eq!(bench.router.waits_for_group(), Some(&Reason::Owner));
    assert_eq!(bench.event(Event::Permit), takes_over(StateName::Backup, 255));
}

#[test]
fn whoever_waits_follows_a_better_router_and_goes_on_waiting_for_a_lesser_one_or_none() {
    let mut bench = waiting(100);
    bench.hear(GREATER, 99);
    assert!(bench.router.waits_for_group().is_some());
    bench.hear(GREATER, 0);
    assert!(bench.router.waits_for_group().is_some());
    bench.hear(GREATER, 100);
    assert_eq!(bench.router.waits_for_group(), None);
    assert!(bench.router.follows());
    assert_eq!(bench.wait(), micros(3_609_375));
}

#[test]
fn a_member_yields_with_priority_zero_and_listens_anew() {
    let mut bench = waiting(100);
    bench.event(Event::Permit);
    let expected = [send(0), Action::RemoveAddresses, transition(StateName::Active)];
    assert_eq!(bench.event(Event::Yield("outside".into())), expected);
    assert_eq!(*bench.router.reason(), Reason::Group("outside".into()));
    assert!(bench.router.follows());
    assert_eq!(bench.wait(), micros(3_609_375));
    assert_eq!(bench.event(Event::Yield("outside".into())), [], "a Backup has nothing to give up");
}

#[test]
fn only_who_knows_of_another_follows() {
    let mut bench = Bench::backup(member(100));
    assert!(!bench.router.follows(), "just started");
    bench.hear(GREATER, 99);
    assert!(!bench.router.follows(), "that one is to be preempted");
    bench.hear(GREATER, 100);
    assert!(bench.router.follows());
    let mut active = Bench::active(settings(100));
    active.hear(GREATER, 101);
    assert!(active.router.follows());
}

#[test]
fn a_group_that_is_no_more_makes_nobody_wait() {
    let mut bench = waiting(100);
    bench.event(Event::Reconfigure(settings(100)));
    bench.event(Event::Timer);
    bench.fire();
    assert!(bench.router.is_active());
}
