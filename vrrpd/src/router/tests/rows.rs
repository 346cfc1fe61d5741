//! Section 6.4 row by row: what starts, what a Backup and what an Active router answers.

use super::*;

// 6.4.1 Initialize

// RFC 9568: +6.4.1-owner +5.2.4
#[test]
fn an_owner_is_active_from_the_start() {
    let mut bench = Bench::initialize(settings(255));
    let actions = bench.event(Event::Ready { source: US });
    assert_eq!(actions, takes_over(StateName::Initialize, 255));
    assert_eq!(bench.wait(), SECOND);
    assert_eq!(*bench.router.reason(), Reason::Owner);
}

// RFC 9568: +6.4.1-backup +6.1-down
#[test]
fn anybody_else_starts_as_backup_and_listens_for_active_down_interval() {
    let mut bench = Bench::initialize(settings(100));
    assert_eq!(bench.router.deadline(), None);
    assert_eq!(bench.event(Event::Ready { source: US }), [transition(StateName::Initialize)]);
    assert_eq!(bench.wait(), micros(3_609_375));
}

// 6.4.2 Backup

// RFC 9568: +6.4.2-shutdown
#[test]
fn a_backup_shuts_down_without_a_word() {
    let mut bench = Bench::backup(settings(100));
    assert_eq!(bench.event(Event::Shutdown), [transition(StateName::Backup)]);
    assert_eq!((bench.router.state(), bench.router.deadline()), (StateName::Initialize, None));
}

// RFC 9568: +6.4.2-timer
#[test]
fn active_down_timer_makes_a_backup_active_advertisement_first() {
    let mut bench = Bench::backup(settings(100));
    assert_eq!(bench.fire(), takes_over(StateName::Backup, 100));
    assert_eq!(bench.wait(), SECOND);
    assert_eq!(bench.router.active_peer(), None);
}

#[test]
fn a_timer_that_fires_early_does_nothing() {
    let mut bench = Bench::backup(settings(100));
    assert_eq!(bench.after(micros(3_609_374)).event(Event::Timer), []);
    assert_eq!(bench.router.state(), StateName::Backup);
}

// RFC 9568: +6.4.2-zero +6.1-learned
#[test]
fn priority_zero_shortens_the_wait_to_the_skew_time_of_the_learned_interval() {
    let mut bench = Bench::backup(settings(100));
    bench.hear_interval(GREATER, 200, 10);
    assert_eq!(bench.hear_interval(GREATER, 0, 10), []);
    assert_eq!(bench.wait(), micros(60_937) + Duration::from_nanos(500));
    assert_eq!(bench.fire(), takes_over(StateName::Backup, 100));
    assert_eq!(*bench.router.reason(), Reason::Released(GREATER));
}

// RFC 9568: +6.4.2-follow +6.4.2-equal -6.4.2-lesser
#[test]
fn a_greater_or_equal_priority_restarts_the_timer_whatever_the_address() {
    for (from, priority) in [(SMALLER, 100), (GREATER, 100), (SMALLER, 101), (SMALLER, 255)] {
        let mut bench = Bench::backup(settings(100));
        assert_eq!(bench.after(SECOND).hear(from, priority), []);
        assert_eq!(bench.wait(), micros(3_609_375));
        assert_eq!(bench.router.active_peer(), Some(from));
    }
}

// RFC 9568: +6.4.2-lesser
#[test]
fn a_lesser_priority_is_discarded_and_preempted_at_the_old_deadline() {
    let mut bench = Bench::backup(settings(100));
    for _ in 0..3 {
        assert_eq!(bench.after(SECOND).hear(GREATER, 99), []);
    }
    assert_eq!(bench.wait(), micros(609_375));
    assert_eq!(bench.fire(), takes_over(StateName::Backup, 100));
    assert_eq!(*bench.router.reason(), Reason::Preempted { peer: GREATER, priority: Priority(99) });
}

// RFC 9568: +6.4.2-follow +6.4.2-owner
#[test]
fn without_preemption_a_lesser_priority_is_followed_but_not_by_an_owner() {
    let mut bench = Bench::backup(Settings { preempt: false, ..settings(100) });
    bench.after(SECOND).hear(GREATER, 1);
    assert_eq!(bench.wait(), micros(3_609_375));

    let mut owner = Bench::active(Settings { preempt: false, ..settings(255) });
    owner.hear(GREATER, 255);
    assert_eq!(owner.router.state(), StateName::Backup);
    let before = owner.router.deadline();
    owner.after(SECOND).hear(GREATER, 254);
    assert_eq!(owner.router.deadline(), before);
}

// RFC 9568: +6.1-learned +7.1-other-interval
#[test]
fn version_3_learns_the_interval_and_computes_skew_and_down_interval_from_it() {
    let mut bench = Bench::backup(settings(100));
    let learned = Report::IntervalLearned { peer: GREATER, theirs: Centiseconds(10) };
    assert_eq!(bench.hear_interval(GREATER, 200, 10), [Action::Report(learned)]);
    assert_eq!(bench.wait().as_micros(), 360_937);
    assert_eq!(bench.hear_interval(GREATER, 200, 10), [], "reported once");
    // When it becomes Active itself, its own interval counts again.
    bench.fire();
    assert_eq!(bench.wait(), SECOND);
}

#[test]
fn version_2_never_learns_an_interval() {
    let mut bench = Bench::backup(Settings { version: Version::V2, ..settings(100) });
    assert_eq!(bench.hear_interval(GREATER, 200, 500), []);
    assert_eq!(bench.wait(), micros(3_609_375));
}

// RFC 9568: +sim-loss
#[test]
fn two_lost_advertisements_change_nothing() {
    let mut bench = Bench::backup(settings(254));
    for _ in 0..10 {
        assert_eq!(bench.after(3 * SECOND).event(Event::Timer), []);
        assert_eq!(bench.hear(GREATER, 255), []);
    }
}

// 6.4.3 Active

// RFC 9568: +6.4.3-shutdown +5.2.4
#[test]
fn an_active_router_shuts_down_with_priority_zero_before_its_addresses_go() {
    let mut bench = Bench::active(settings(100));
    let expected = [send(0), Action::RemoveAddresses, transition(StateName::Active)];
    assert_eq!(bench.event(Event::Shutdown), expected);
    assert_eq!((bench.router.state(), bench.router.deadline()), (StateName::Initialize, None));
}

// RFC 9568: +6.4.3-timer
#[test]
fn adver_timer_sends_an_advertisement_each_interval() {
    let mut bench = Bench::active(settings(100));
    for _ in 0..20 {
        assert_eq!(bench.fire(), [send(100)]);
        assert_eq!(bench.wait(), SECOND);
    }
}

// RFC 9568: +6.4.3-zero
#[test]
fn priority_zero_is_answered_with_an_advertisement_and_the_timer_set_anew() {
    let mut bench = Bench::active(settings(100));
    assert_eq!(bench.after(SECOND / 2).hear(GREATER, 0), [send(100)]);
    assert_eq!(bench.wait(), SECOND);
    assert!(bench.router.is_active());
}

// RFC 9568: +6.4.3-greater
#[test]
fn a_greater_priority_ends_the_active_state_and_its_interval_is_learned() {
    let mut bench = Bench::active(Settings { preempt: false, ..settings(100) });
    let expected = [send(100), Action::RemoveAddresses, transition(StateName::Active)];
    assert_eq!(bench.hear_interval(SMALLER, 101, 200), expected);
    assert_eq!(bench.wait(), 2 * micros(3_609_375));
    assert_eq!(bench.router.active_peer(), Some(SMALLER));
}

// RFC 9568: +6.4.3-greater -6.4.3-greater
#[test]
fn a_tie_goes_to_the_greater_address_compared_without_sign() {
    for (theirs, yields) in [
        (GREATER, true),
        (SMALLER, false),
        (IpAddr::V4(Ipv4Addr::new(128, 0, 0, 1)), true),
        (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), true),
        (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), false),
    ] {
        let mut bench = Bench::active(settings(100));
        bench.hear(theirs, 100);
        assert_eq!(bench.router.is_active(), !yields, "{theirs}");
    }
}

// RFC 9568: +6.4.3-lesser
#[test]
fn a_lesser_router_is_answered_at_once_with_an_advertisement_and_gratuitous_arps_and_arps_again_later() {
    for (from, priority) in [(GREATER, 99), (SMALLER, 100)] {
        for preempt in [true, false] {
            let mut bench = Bench::active(Settings { preempt, ..settings(100) });
            let conflict = Report::Conflict { peer: from, priority: Priority(priority) };
            let expected = [Action::Report(conflict), send(100), Action::Announce];
            assert_eq!(bench.hear(from, priority), expected);
            assert_eq!(bench.frames, [address(50), address(50)]);
            assert_eq!(bench.wait(), SECOND);
            let until = bench.now + 5 * SECOND;
            while bench.now < until {
                bench.fire();
            }
            assert!(bench.frames.contains(&address(50)), "{:?}", bench.frames);
        }
    }
}

#[test]
fn the_last_word_of_a_preempted_router_is_no_conflict_but_more_words_are() {
    let mut bench = Bench::backup(settings(100));
    bench.after(SECOND).hear(GREATER, 99);
    bench.fire();
    assert_eq!(bench.hear(GREATER, 99), []);
    let actions = bench.after(SECOND).hear(GREATER, 99);
    assert_eq!(actions[1], send(100), "{actions:?}");
}

// RFC 9568: -sim-rate
#[test]
fn however_much_a_lesser_router_says_it_is_answered_once_an_interval() {
    for priority in [0, 99] {
        let mut bench = Bench::active(settings(100));
        let mut sent = 0;
        for _ in 0..10_000 {
            let actions = bench.after(Duration::from_millis(1)).hear(GREATER, priority);
            sent += actions.iter().filter(|action| **action == send(100)).count();
            sent += bench.event(Event::Timer).iter().filter(|action| **action == send(100)).count();
        }
        assert!((9..=21).contains(&sent), "{sent} advertisements in ten seconds");
    }
}

#[test]
fn a_conflict_ends_with_gratuitous_arps_even_when_the_last_word_was_not_answered() {
    let mut bench =
        Bench::active(Settings { garp: Garp { delay: Duration::ZERO, ..Garp::default() }, ..settings(100) });
    bench.hear(GREATER, 99);
    let actions = bench.after(SECOND / 10).hear(GREATER, 99);
    assert!(!actions.contains(&send(100)));
    let last_word = bench.now;
    let mut announced = None;
    while bench.now < last_word + 3 * SECOND {
        bench.fire();
        if bench.frames.contains(&address(50)) {
            announced = Some(bench.now);
        }
    }
    assert!(announced.is_some_and(|at| at >= last_word + SECOND));
}

// RFC 9568: +6.4.3-own
#[test]
fn our_own_packet_come_back_is_reported_and_not_answered() {
    let mut bench = Bench::active(settings(100));
    assert_eq!(bench.hear(US, 100), [Action::Report(Report::OwnAddress)]);
    assert!(bench.router.is_active());
}

// RFC 9568: +7.1-owner +8.3.2
#[test]
fn two_owners_run_the_election_and_say_so() {
    let mut bench = Bench::active(settings(255));
    let report = Action::Report(Report::SecondOwner(GREATER));
    let expected = [report, send(255), Action::RemoveAddresses, transition(StateName::Active)];
    assert_eq!(bench.hear(GREATER, 255), expected);
    let mut bench = Bench::active(settings(255));
    bench.hear(SMALLER, 255);
    assert!(bench.router.is_active());
}
