//! Gratuitous ARP: when, how often, and never before an advertisement.

use super::*;

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
