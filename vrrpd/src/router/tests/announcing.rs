//! Gratuitous ARP: when, how often, and never before an advertisement.

use super::*;

// RFC 9568: +8.1.2
#[test]
fn an_address_is_announced_when_it_is_installed_and_again_after_the_delay_and_then_refreshed() {
    let mut bench = Bench::backup(settings(100));
    bench.fire();
    assert_eq!(bench.frames, [], "not before the kernel has it");
    let taken = bench.now;
    assert_eq!(bench.announced(Event::Installed(address(50))), [address(50), address(50)]);
    let mut times = Vec::new();
    while bench.now < taken + 190 * SECOND {
        bench.fire();
        if !bench.frames.is_empty() {
            times.push(((bench.now - taken).as_secs(), bench.frames.len()));
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
    assert_eq!(bench.announced(Event::Installed(address(50))), [address(50)]);
    let mut adverts = Vec::new();
    let mut frames = 1;
    while bench.now < taken + 4 * SECOND {
        let actions = bench.fire();
        frames += bench.frames.len();
        if actions.contains(&send(100)) {
            assert_eq!(actions[0], send(100), "the advertisement comes first");
            adverts.push((bench.now - taken).as_millis());
        }
    }
    assert_eq!(adverts, [1000, 2000, 3000, 4000]);
    assert_eq!(frames, 5);
}

#[test]
fn every_address_is_announced_once_before_one_is_announced_again() {
    let addresses: Vec<_> = (0..200).map(address).collect();
    let mut bench = Bench::backup(Settings { addresses: addresses.clone(), ..settings(100) });
    bench.fire();
    for address in &addresses {
        let _ = bench.router.on_event(bench.now, Event::Installed(address.clone()));
    }
    let frames: Vec<_> = std::iter::from_fn(|| bench.router.next_announcement(bench.now)).collect();
    assert_eq!(frames, [addresses.as_slice(), addresses.as_slice()].concat());
}

/// Whoever fetches the frames paces them: nothing asks him for more while he does, and nobody else waits for it.
#[test]
fn while_frames_are_fetched_the_only_deadline_is_that_of_the_next_advertisement() {
    let mut bench = Bench::active(settings(100));
    let next = bench.router.deadline();
    let fetch = bench.router.on_event(bench.now, Event::Announce);
    assert_eq!(fetch.into_iter().collect::<Vec<_>>(), [Action::Announce]);
    assert_eq!(bench.router.next_announcement(bench.now), Some(address(50)));
    assert_eq!(bench.router.deadline(), next);
    let more = bench.router.on_event(bench.now, Event::Announce);
    assert_eq!(more.into_iter().count(), 0, "they are being fetched already");
    assert_eq!(bench.router.next_announcement(bench.now), Some(address(50)));
    assert_eq!(bench.router.next_announcement(bench.now), None);
    assert_eq!(bench.announced(Event::Announce), [address(50), address(50)], "and then again");
}

#[test]
fn a_frame_that_could_not_be_sent_is_sent_later_unless_the_address_is_given_up_meanwhile() {
    let mut bench = Bench::active(Settings { garp: Garp { repeat: 1, ..Garp::default() }, ..settings(100) });
    let _ = bench.router.on_event(bench.now, Event::Announce);
    let frame = bench.router.next_announcement(bench.now).unwrap();
    bench.router.put_back_announcement(frame.clone());
    assert_eq!(bench.router.next_announcement(bench.now), Some(frame.clone()));
    bench.event(Event::Lost(frame.clone()));
    bench.router.put_back_announcement(frame.clone());
    assert_eq!(bench.router.next_announcement(bench.now), None);
    bench.event(Event::Installed(frame.clone()));
    bench.hear(GREATER, 200);
    bench.router.put_back_announcement(frame);
    assert_eq!(bench.router.next_announcement(bench.now), None, "a Backup has nothing to announce");
}

// RFC 9568: -8.1.2
#[test]
fn an_address_that_was_lost_is_not_announced_until_it_is_back() {
    let mut bench = Bench::active(settings(100));
    assert_eq!(bench.event(Event::Lost(address(50))), []);
    assert_eq!(bench.event(Event::Announce), []);
    assert_eq!(bench.announced(Event::Installed(address(50))), [address(50), address(50)]);
    assert_eq!(bench.announced(Event::Announce), [address(50), address(50)]);
}

// RFC 9568: -8.1.2
#[test]
fn a_backup_announces_nothing() {
    let mut bench = Bench::backup(settings(100));
    assert_eq!(bench.event(Event::Installed(address(50))), []);
    assert_eq!(bench.event(Event::Announce), []);
}
