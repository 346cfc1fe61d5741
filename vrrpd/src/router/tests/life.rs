//! What the RFC leaves open: being late, faults, and a configuration that changes.

use super::*;

// Late

// RFC 9568: +2.5
#[test]
fn an_active_router_that_slept_too_long_steps_down_before_it_speaks() {
    let mut bench = Bench::active(settings(100));
    let expected = [Action::RemoveAddresses, transition(StateName::Active)];
    let slept = Duration::from_secs(60);
    assert_eq!(bench.after(slept).event(Event::Timer), expected);
    assert_eq!(bench.router.state(), StateName::Backup);
    assert!(matches!(bench.router.reason(), Reason::Late(by) if *by >= slept));
    assert_eq!(bench.wait(), micros(3_609_375));
}

#[test]
fn an_active_router_that_slept_too_long_does_not_argue_with_the_one_that_took_over() {
    let mut bench = Bench::active(settings(101));
    let expected = [Action::RemoveAddresses, transition(StateName::Active)];
    assert_eq!(bench.after(20 * SECOND).hear(SMALLER, 100), expected, "no advertisement");
    assert_eq!(bench.router.active_peer(), Some(SMALLER));
    // It preempts later, as configured.
    assert_eq!(bench.fire(), takes_over(StateName::Backup, 101));
}

#[test]
fn an_active_router_that_is_a_little_late_goes_on() {
    let mut bench = Bench::active(settings(100));
    assert_eq!(bench.after(3 * SECOND).event(Event::Timer), [send(100)]);
}

#[test]
fn a_backup_that_slept_listens_once_more_and_only_once() {
    let mut bench = Bench::backup(settings(100));
    assert_eq!(bench.after(60 * SECOND).event(Event::Timer), []);
    assert_eq!(bench.wait(), micros(1_609_375));
    // Somebody is there.
    bench.hear(GREATER, 200);
    assert_eq!(bench.wait(), micros(3_609_375));

    let mut alone = Bench::backup(settings(100));
    alone.after(60 * SECOND).event(Event::Timer);
    assert_eq!(alone.after(60 * SECOND).event(Event::Timer), takes_over(StateName::Backup, 100));
}

#[test]
fn a_backup_that_slept_through_less_than_an_interval_believes_its_timer() {
    for (late, active) in [(SECOND, true), (SECOND + micros(1), false), (3 * SECOND, false)] {
        let mut bench = Bench::backup(settings(100));
        bench.after(micros(3_609_375) + late).event(Event::Timer);
        assert_eq!(bench.router.is_active(), active, "{late:?}");
    }
}

// Fault

#[test]
fn a_fault_ends_everything_with_priority_zero_and_recovery_is_a_new_start() {
    let mut bench = Bench::active(settings(100));
    let fault = Fault::Down("eth1".into());
    let expected = [send(0), Action::RemoveAddresses, transition(StateName::Active)];
    assert_eq!(bench.event(Event::Fault(fault.clone())), expected);
    assert_eq!(bench.event(Event::Fault(fault.clone())), [], "the same fault again");
    assert_eq!(*bench.router.reason(), Reason::Fault(fault));
    assert_eq!(bench.router.deadline(), None);
    assert_eq!(bench.hear(GREATER, 1), []);
    assert_eq!(bench.event(Event::Fault(Fault::Missing("eth1".into()))), [transition(StateName::Fault)]);
    assert_eq!(bench.event(Event::Ready { source: US }), [transition(StateName::Fault)]);
    assert_eq!(bench.router.state(), StateName::Backup);
}

// Reload

#[test]
fn the_same_settings_again_touch_nothing() {
    for mut bench in [Bench::backup(settings(100)), Bench::active(settings(100))] {
        let (deadline, since) = (bench.router.deadline(), bench.router.since());
        bench.after(SECOND / 3);
        assert_eq!(bench.event(Event::Reconfigure(settings(100))), []);
        assert_eq!((bench.router.deadline(), bench.router.since()), (deadline, since));
    }
}

#[test]
fn a_changed_priority_moves_a_backups_deadline_by_the_difference_of_the_skews() {
    let mut bench = Bench::backup(settings(100));
    bench.after(SECOND);
    assert_eq!(bench.event(Event::Reconfigure(settings(228))), []);
    assert_eq!(bench.wait(), micros(2_109_375));
}

#[test]
fn an_active_router_advertises_its_new_priority_and_addresses_at_once() {
    let mut bench = Bench::active(settings(100));
    let new = Settings { addresses: vec![address(51)], ..settings(120) };
    let expected = [send(120), Action::InstallAddresses];
    assert_eq!(bench.event(Event::Reconfigure(new)), expected);
    assert_eq!(bench.event(Event::Announce), [], "the old address is gone, the new one not there yet");
    assert_eq!(bench.announced(Event::Installed(address(51))), [address(51), address(51)]);
}

#[test]
fn what_tracking_made_of_the_priority_is_not_forgotten_by_an_advertisement_in_between() {
    for (base, effective, new, advertised) in
        [(100, 200, 90, 190), (100, 40, 110, 50), (100, 1, 50, 1), (100, 40, 255, 255)]
    {
        let mut bench = Bench::active(settings(base));
        bench.event(Event::Priority(Priority(effective)));
        assert_eq!(bench.event(Event::Reconfigure(settings(new)))[0], send(advertised));
    }
    let mut bench = Bench::active(settings(255));
    assert_eq!(bench.event(Event::Reconfigure(settings(100)))[0], send(100), "no owner any more");
}

#[test]
fn a_changed_interval_counts_for_a_backup_that_has_learned_no_other() {
    let mut bench = Bench::backup(settings(100));
    bench.event(Event::Reconfigure(Settings { advert_interval: Centiseconds(200), ..settings(100) }));
    assert_eq!(bench.wait(), micros(7_218_750));
    let mut learned = Bench::backup(settings(100));
    learned.hear_interval(GREATER, 200, 10);
    learned.event(Event::Reconfigure(Settings { advert_interval: Centiseconds(200), ..settings(100) }));
    assert_eq!(learned.wait().as_micros(), 360_937);
}

#[test]
fn a_changed_refresh_is_heeded_by_a_router_that_is_active_already() {
    let refresh = |seconds| Garp { refresh: seconds * SECOND, ..settings(100).garp };
    let with = |seconds| Settings { garp: refresh(seconds), ..settings(100) };
    let announced = |bench: &mut Bench, seconds| {
        let end = bench.now + seconds * SECOND;
        let mut count = 0;
        while bench.now < end {
            bench.fire();
            count += bench.frames.len();
        }
        count
    };
    let mut bench = Bench::active(with(0));
    assert_eq!(announced(&mut bench, 60), 0);
    assert_eq!(bench.event(Event::Reconfigure(with(20))), []);
    assert_eq!(announced(&mut bench, 61), 3);
    assert_eq!(bench.event(Event::Reconfigure(with(0))), []);
    assert_eq!(announced(&mut bench, 60), 0);
}
