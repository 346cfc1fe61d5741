//! The rows of RFC 9568 section 6.4: event, actions, no more actions.

use std::time::Duration;

use super::settings::Garp;
use super::*;
use crate::types::VirtualAddress;

const US: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const GREATER: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 1);
const SMALLER: Ipv4Addr = Ipv4Addr::new(9, 255, 255, 255);
const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
fn start() -> Instant {
    Instant::now()
}

fn address(last: u8) -> VirtualAddress {
    VirtualAddress { interface: "eth0".into(), address: Ipv4Addr::new(10, 0, 0, last), prefix_len: 24 }
}

fn settings(priority: u8) -> Settings {
    Settings {
        version: Version::V3,
        priority: Priority(priority),
        preempt: true,
        advert_interval: Centiseconds(100),
        addresses: vec![address(50)],
        garp: Garp { repeat: 2, ..Garp::default() },
    }
}

/// A router, its clock, and what it answered.
struct Bench {
    router: Router,
    now: Instant,
}

impl Bench {
    fn initialize(settings: Settings) -> Self {
        let now = start();
        Self { router: Router::new(now, settings), now }
    }

    fn backup(settings: Settings) -> Self {
        let mut bench = Self::initialize(settings);
        bench.event(Event::Ready { source: US });
        assert_eq!(bench.router.state(), StateName::Backup);
        bench
    }

    /// Active, its address installed, the first bursts over, and a second before its next advertisement.
    fn active(settings: Settings) -> Self {
        let mut bench = Self::initialize(settings);
        bench.event(Event::Ready { source: US });
        if !bench.router.is_active() {
            bench.fire();
        }
        for address in bench.router.settings().addresses.clone() {
            bench.event(Event::Installed(address));
        }
        let settled = bench.now + 10 * SECOND;
        while bench.now < settled {
            bench.fire();
        }
        bench
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        self.router.on_event(self.now, event).into_iter().collect()
    }

    fn hear(&mut self, from: Ipv4Addr, priority: u8) -> Vec<Action> {
        self.hear_interval(from, priority, 100)
    }

    fn hear_interval(&mut self, from: Ipv4Addr, priority: u8, interval: u16) -> Vec<Action> {
        let interval = Centiseconds(interval);
        self.event(Event::Advertisement { from, priority: Priority(priority), interval })
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// Jump to the next deadline.
    fn fire(&mut self) -> Vec<Action> {
        self.now = self.router.deadline().expect("there is a deadline").max(self.now);
        self.event(Event::Timer)
    }

    /// Time until the next deadline.
    fn wait(&self) -> Duration {
        self.router.deadline().expect("there is a deadline") - self.now
    }
}

fn send(priority: u8) -> Action {
    Action::SendAdvertisement(Priority(priority))
}

fn transition(from: StateName) -> Action {
    Action::Transition { from }
}

fn announce(last: u8) -> Action {
    Action::Announce(address(last))
}

fn takes_over(from: StateName, priority: u8) -> Vec<Action> {
    vec![send(priority), Action::InstallAddresses, transition(from)]
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

// 6.4.1 Initialize

#[test]
fn an_owner_is_active_from_the_start() {
    let mut bench = Bench::initialize(settings(255));
    let actions = bench.event(Event::Ready { source: US });
    assert_eq!(actions, takes_over(StateName::Initialize, 255));
    assert_eq!(bench.wait(), SECOND);
    assert_eq!(*bench.router.reason(), Reason::Owner);
}

#[test]
fn anybody_else_starts_as_backup_and_listens_for_active_down_interval() {
    let mut bench = Bench::initialize(settings(100));
    assert_eq!(bench.router.deadline(), None);
    assert_eq!(bench.event(Event::Ready { source: US }), [transition(StateName::Initialize)]);
    assert_eq!(bench.wait(), micros(3_609_375));
}

// 6.4.2 Backup

#[test]
fn a_backup_shuts_down_without_a_word() {
    let mut bench = Bench::backup(settings(100));
    assert_eq!(bench.event(Event::Shutdown), [transition(StateName::Backup)]);
    assert_eq!((bench.router.state(), bench.router.deadline()), (StateName::Initialize, None));
}

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

#[test]
fn priority_zero_shortens_the_wait_to_the_skew_time_of_the_learned_interval() {
    let mut bench = Bench::backup(settings(100));
    bench.hear_interval(GREATER, 200, 10);
    assert_eq!(bench.hear_interval(GREATER, 0, 10), []);
    assert_eq!(bench.wait(), micros(60_937) + Duration::from_nanos(500));
    assert_eq!(bench.fire(), takes_over(StateName::Backup, 100));
    assert_eq!(*bench.router.reason(), Reason::Released(GREATER));
}

#[test]
fn a_greater_or_equal_priority_restarts_the_timer_whatever_the_address() {
    for (from, priority) in [(SMALLER, 100), (GREATER, 100), (SMALLER, 101), (SMALLER, 255)] {
        let mut bench = Bench::backup(settings(100));
        assert_eq!(bench.after(SECOND).hear(from, priority), []);
        assert_eq!(bench.wait(), micros(3_609_375));
        assert_eq!(bench.router.active_peer(), Some(from));
    }
}

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

#[test]
fn two_lost_advertisements_change_nothing() {
    let mut bench = Bench::backup(settings(254));
    for _ in 0..10 {
        assert_eq!(bench.after(3 * SECOND).event(Event::Timer), []);
        assert_eq!(bench.hear(GREATER, 255), []);
    }
}

// 6.4.3 Active

#[test]
fn an_active_router_shuts_down_with_priority_zero_before_its_addresses_go() {
    let mut bench = Bench::active(settings(100));
    let expected = [send(0), Action::RemoveAddresses, transition(StateName::Active)];
    assert_eq!(bench.event(Event::Shutdown), expected);
    assert_eq!((bench.router.state(), bench.router.deadline()), (StateName::Initialize, None));
}

#[test]
fn adver_timer_sends_an_advertisement_each_interval() {
    let mut bench = Bench::active(settings(100));
    for _ in 0..20 {
        assert_eq!(bench.fire(), [send(100)]);
        assert_eq!(bench.wait(), SECOND);
    }
}

#[test]
fn priority_zero_is_answered_with_an_advertisement_and_the_timer_set_anew() {
    let mut bench = Bench::active(settings(100));
    assert_eq!(bench.after(SECOND / 2).hear(GREATER, 0), [send(100)]);
    assert_eq!(bench.wait(), SECOND);
    assert!(bench.router.is_active());
}

#[test]
fn a_greater_priority_ends_the_active_state_and_its_interval_is_learned() {
    let mut bench = Bench::active(Settings { preempt: false, ..settings(100) });
    let expected = [send(100), Action::RemoveAddresses, transition(StateName::Active)];
    assert_eq!(bench.hear_interval(SMALLER, 101, 200), expected);
    assert_eq!(bench.wait(), 2 * micros(3_609_375));
    assert_eq!(bench.router.active_peer(), Some(SMALLER));
}

#[test]
fn a_tie_goes_to_the_greater_address_compared_without_sign() {
    for (theirs, yields) in [
        (GREATER, true),
        (SMALLER, false),
        (Ipv4Addr::new(128, 0, 0, 1), true),
        (Ipv4Addr::new(10, 0, 0, 2), true),
        (Ipv4Addr::new(10, 0, 0, 0), false),
    ] {
        let mut bench = Bench::active(settings(100));
        bench.hear(theirs, 100);
        assert_eq!(bench.router.is_active(), !yields, "{theirs}");
    }
}

#[test]
fn a_lesser_router_is_answered_at_once_with_an_advertisement_and_gratuitous_arps_and_arps_again_later() {
    for (from, priority) in [(GREATER, 99), (SMALLER, 100)] {
        for preempt in [true, false] {
            let mut bench = Bench::active(Settings { preempt, ..settings(100) });
            let conflict = Report::Conflict { peer: from, priority: Priority(priority) };
            let expected = [Action::Report(conflict), send(100), announce(50), announce(50)];
            assert_eq!(bench.hear(from, priority), expected);
            assert_eq!(bench.wait(), SECOND);
            let until = bench.now + 5 * SECOND;
            let mut later = Vec::new();
            while bench.now < until {
                later = bench.fire();
            }
            assert!(later.contains(&announce(50)), "{later:?}");
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
        if bench.fire().contains(&announce(50)) {
            announced = Some(bench.now);
        }
    }
    assert!(announced.is_some_and(|at| at >= last_word + SECOND));
}

#[test]
fn our_own_packet_come_back_is_reported_and_not_answered() {
    let mut bench = Bench::active(settings(100));
    assert_eq!(bench.hear(US, 100), [Action::Report(Report::OwnAddress)]);
    assert!(bench.router.is_active());
}

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

// Gratuitous ARP

#[test]
fn an_address_is_announced_when_it_is_installed_and_again_after_the_delay_and_then_refreshed() {
    let mut bench = Bench::backup(settings(100));
    assert!(!bench.fire().contains(&announce(50)), "not before the kernel has it");
    let taken = bench.now;
    assert_eq!(bench.event(Event::Installed(address(50))), [announce(50), announce(50)]);
    let mut times = Vec::new();
    while bench.now < taken + 190 * SECOND {
        let frames = bench.fire().iter().filter(|action| **action == announce(50)).count();
        if frames > 0 {
            times.push(((bench.now - taken).as_secs(), frames));
        }
    }
    assert_eq!(times, [(5, 2), (60, 1), (120, 1), (180, 1)]);
}

#[test]
fn paced_announcements_never_hold_up_an_advertisement() {
    let garp = Garp { interval: SECOND * 3 / 10, repeat: 5, ..Garp::default() };
    let mut bench = Bench::backup(Settings { garp, ..settings(100) });
    bench.fire();
    let taken = bench.now;
    assert_eq!(bench.event(Event::Installed(address(50))), [announce(50)]);
    let mut adverts = Vec::new();
    let mut frames = 1;
    while bench.now < taken + 4 * SECOND {
        let actions = bench.fire();
        frames += actions.iter().filter(|action| **action == announce(50)).count();
        if actions.contains(&send(100)) {
            assert_eq!(actions[0], send(100), "the advertisement comes first");
            adverts.push((bench.now - taken).as_millis());
        }
    }
    assert_eq!(adverts, [1000, 2000, 3000, 4000]);
    assert_eq!(frames, 5);
}

#[test]
fn thousands_of_frames_leave_in_small_portions_with_advertisements_between() {
    let addresses: Vec<_> = (0..200).map(address).collect();
    let mut bench = Bench::backup(Settings { addresses: addresses.clone(), ..settings(100) });
    bench.fire();
    for address in addresses {
        bench.event(Event::Installed(address));
    }
    bench.after(SECOND);
    let mut first = true;
    while bench.router.deadline().unwrap() <= bench.now {
        let actions = bench.event(Event::Timer);
        assert!(actions.len() <= 65, "{}", actions.len());
        if first {
            assert_eq!(actions[0], send(100));
        }
        first = false;
    }
}

#[test]
fn an_address_that_was_lost_is_not_announced_until_it_is_back() {
    let mut bench = Bench::active(settings(100));
    assert_eq!(bench.event(Event::Lost(address(50))), []);
    assert_eq!(bench.event(Event::Announce), []);
    assert_eq!(bench.event(Event::Installed(address(50))), [announce(50), announce(50)]);
    assert_eq!(bench.event(Event::Announce), [announce(50), announce(50)]);
}

#[test]
fn a_backup_announces_nothing() {
    let mut bench = Bench::backup(settings(100));
    assert_eq!(bench.event(Event::Installed(address(50))), []);
    assert_eq!(bench.event(Event::Announce), []);
}

// Late

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
    assert_eq!(bench.event(Event::Installed(address(51))), [announce(51), announce(51)]);
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
            count += bench.fire().iter().filter(|action| matches!(action, Action::Announce(_))).count();
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
