//! What waits longer than the RFC says, and what waits less: preemption, the start, missed advertisements, and a hostile
//! network that wants us to take over too often.

use super::*;

fn delayed(seconds: u32) -> Settings {
    Settings { preempt_delay: seconds * SECOND, ..settings(100) }
}

/// Hear a lesser Active router each second until it is preempted; after how many seconds.
fn preempted_after(bench: &mut Bench) -> u32 {
    for second in 1..100 {
        bench.after(SECOND);
        if bench.router.deadline().is_some_and(|deadline| deadline <= bench.now) {
            bench.event(Event::Timer);
        }
        if bench.router.is_active() {
            return second;
        }
        bench.hear(GREATER, 50);
    }
    panic!("never")
}

#[test]
fn a_lesser_active_router_may_stay_for_the_delay_after_the_start() {
    // The first advertisement after 10 s is the first that is discarded; Active_Down_Interval runs since 9 s.
    assert_eq!(preempted_after(&mut Bench::backup(delayed(10))), 13);
    assert_eq!(preempted_after(&mut Bench::backup(delayed(0))), 4);
}

#[test]
fn the_delay_begins_anew_when_the_active_router_becomes_a_lesser_one() {
    let mut bench = Bench::backup(delayed(10));
    for _ in 0..100 {
        bench.after(SECOND).hear(GREATER, 200);
    }
    assert_eq!(preempted_after(&mut bench), 14);
}

#[test]
fn a_better_router_that_was_heard_between_ends_the_delay() {
    let mut bench = Bench::backup(delayed(10));
    for _ in 0..8 {
        bench.after(SECOND).hear(SMALLER, 50);
    }
    bench.hear(GREATER, 100);
    assert_eq!(preempted_after(&mut bench), 14, "it counts from the next one");
}

#[test]
fn a_delay_does_not_hold_up_who_finds_nobody_active() {
    let mut bench = Bench::backup(delayed(600));
    assert_eq!(bench.wait(), micros(3_609_375));
    bench.fire();
    assert!(bench.router.is_active());
    let mut bench = Bench::backup(delayed(600));
    bench.after(SECOND).hear(GREATER, 50);
    assert_eq!(bench.wait(), micros(3_609_375), "followed");
    bench.hear(GREATER, 0);
    assert_eq!(bench.fire(), takes_over(StateName::Backup, 100));
    assert_eq!(*bench.router.reason(), Reason::Released(GREATER));
}

#[test]
fn without_preemption_the_delay_is_for_ever() {
    let mut bench = Bench::backup(Settings { preempt: false, ..delayed(1) });
    for _ in 0..100 {
        assert_eq!(bench.after(SECOND).hear(GREATER, 1), []);
        assert_eq!(bench.wait(), micros(3_609_375));
    }
}

#[test]
fn a_router_that_is_told_to_wait_at_the_start_does_and_then_starts() {
    for (priority, started) in
        [(100, vec![transition(StateName::Initialize)]), (255, takes_over(StateName::Initialize, 255))]
    {
        let mut bench = Bench::initialize(Settings { startup_delay: 20 * SECOND, ..settings(priority) });
        assert_eq!(bench.event(Event::Ready { source: US }), [transition(StateName::Initialize)]);
        assert_eq!(*bench.router.reason(), Reason::StartupDelay(20 * SECOND));
        assert_eq!(bench.wait(), 20 * SECOND);
        bench.after(19 * SECOND);
        assert_eq!(bench.event(Event::Ready { source: US }), [], "ready again is no new start");
        assert_eq!(bench.hear(GREATER, 1), []);
        assert_eq!(bench.event(Event::Timer), []);
        assert_eq!(bench.fire(), started);
    }
}

#[test]
fn the_startup_delay_is_waited_for_once_but_in_full() {
    let mut bench = Bench::initialize(Settings { startup_delay: 20 * SECOND, ..settings(100) });
    let fault = || Event::Fault(Fault::NoCarrier("eth0".into()));
    bench.event(Event::Ready { source: US });
    bench.after(15 * SECOND).event(fault());
    assert_eq!(bench.router.deadline(), None);
    bench.event(Event::Ready { source: US });
    assert_eq!((bench.router.state(), bench.wait()), (StateName::Initialize, 20 * SECOND));
    bench.fire();
    assert_eq!(bench.router.state(), StateName::Backup);
    bench.event(fault());
    bench.event(Event::Ready { source: US });
    assert_eq!(bench.router.state(), StateName::Backup, "a fault later is no start");
}

#[test]
fn so_many_advertisements_must_be_missing_as_are_configured() {
    for (adverts, down) in [(1, 1_609_375), (2, 2_609_375), (3, 3_609_375), (100, 100_609_375)] {
        let bench = Bench::backup(Settings { down_timer_adverts: adverts, ..settings(100) });
        assert_eq!(bench.wait(), micros(down), "{adverts}");
    }
}

#[test]
fn with_one_missing_advertisement_a_little_lateness_is_forgiven_all_the_same() {
    let mut bench = Bench::active(Settings { down_timer_adverts: 1, ..settings(254) });
    assert_eq!(bench.after(2 * SECOND).event(Event::Timer), [send(254)]);
    bench.after(3 * SECOND).event(Event::Timer);
    assert!(!bench.router.is_active());
}

#[test]
fn the_effective_priority_decides_and_shifts_the_timer() {
    let mut bench = Bench::backup(settings(100));
    bench.after(SECOND);
    assert_eq!(bench.event(Event::Priority(Priority(228))), []);
    assert_eq!((bench.router.priority(), bench.wait()), (Priority(228), micros(2_109_375)));
    assert_eq!(bench.hear(GREATER, 227), [], "discarded: it is a lesser one now");
    assert_eq!(bench.fire(), takes_over(StateName::Backup, 228));
    assert_eq!(bench.event(Event::Priority(Priority(50))), []);
    bench.fire();
    bench.hear(SMALLER, 51);
    assert_eq!(bench.router.state(), StateName::Backup);
}

// RFC 9568: -5.2.4
#[test]
fn no_effective_priority_is_an_owners_or_gives_up_and_an_owners_stays() {
    let mut bench = Bench::backup(settings(100));
    for (given, taken) in [(0, 1), (255, 254)] {
        bench.event(Event::Priority(Priority(given)));
        assert_eq!(bench.router.priority(), Priority(taken));
    }
    let mut owner = Bench::active(settings(255));
    owner.event(Event::Priority(Priority(1)));
    assert_eq!(owner.router.priority(), Priority(255));
}

// RFC 9568: -sim-rate
#[test]
fn whoever_teaches_a_tiny_interval_and_gives_up_at_once_makes_us_active_once_an_interval_at_most() {
    let mut bench = Bench::active(settings(254));
    let start = bench.now;
    let mut sent = 0;
    while bench.now < start + 20 * SECOND {
        let mut actions = bench.hear_interval(GREATER, 255, 1);
        actions.extend(bench.hear_interval(GREATER, 0, 1));
        actions.extend(bench.after(Duration::from_micros(100)).event(Event::Timer));
        sent += actions.iter().filter(|action| matches!(action, Action::SendAdvertisement(_))).count();
    }
    assert!((20..=60).contains(&sent), "{sent} advertisements in 20 intervals");
}
