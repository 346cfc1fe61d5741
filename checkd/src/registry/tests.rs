use daemon::event_loop::Clock;

use super::*;
use crate::probe::Kind;
use crate::probe::http::{Request, Settings};
use crate::transport::connect::Connect;
use crate::watchers::LINGER;

const SECOND: Duration = Duration::from_secs(1);
pub(super) const WALL: WallClock = WallClock(1_000_000);
const NO_LIMIT: usize = usize::MAX;

pub(super) fn start() -> Instant {
    Clock::new().unwrap().now()
}

pub(super) fn tcp() -> Check {
    Check::with_defaults(Kind::Tcp)
}

pub(super) fn http(path: &str) -> Check {
    let request = Request { path: path.into(), ..Request::default() };
    Check::with_defaults(Kind::Http(Settings::new(vec![request])))
}

pub(super) fn checks(list: &[(&str, Check)]) -> Checks {
    list.iter().map(|(name, check)| ((*name).to_owned(), Arc::new(check.clone()))).collect()
}

fn registry() -> Registry {
    Registry::new(checks(&[("tcp", tcp()), ("web", http("/"))]), 1, start())
}

/// All rows of a check, in the order of their addresses.
fn details(registry: &Registry, check: &str) -> Vec<Detail> {
    let (mut details, _) = registry.details(check, Cursor::default(), NO_LIMIT);
    details.sort_by_key(|detail| detail.address);
    details
}

fn wanted(rows: &[(&str, &str)]) -> Vec<(String, String)> {
    rows.iter().map(|(check, address)| ((*check).to_owned(), (*address).to_owned())).collect()
}

pub(super) fn pass() -> Outcome {
    Outcome::Pass("connected".into())
}

pub(super) fn fail() -> Outcome {
    Outcome::Fail("connection refused".into())
}

/// The ids of the probes that start at `now`; panics at any other action.
fn started(registry: &mut Registry, now: Instant) -> Vec<TargetId> {
    let id = |action| match action {
        Action::Start { id, .. } => id,
        Action::TimeOut { .. } | Action::Cancel(_) | Action::Gone(_) => panic!("{action:?}"),
    };
    registry.on_time(now, NO_LIMIT).into_iter().map(id).collect()
}

/// Watch one target and let its first probe end with `outcome`; the time after it.
fn first_result(registry: &mut Registry, now: Instant, check: &str, outcome: Outcome) -> (TargetId, Instant) {
    let (_, _, actions) = registry.watch_at_once(now, ":1.1", &wanted(&[(check, "10.0.0.5:80")]));
    assert_eq!(actions, []);
    let now = registry.deadline().unwrap();
    let ids = started(registry, now);
    registry.on_outcome(now, WALL, ids[0], outcome).unwrap();
    let _ = registry.take_changes(NO_LIMIT);
    (ids[0], now)
}

#[test]
fn a_watch_is_answered_for_every_row_in_its_order_and_spelling() {
    let mut registry = registry();
    let rows = [("web", "10.0.0.5:80"), ("nope", "10.0.0.5:80"), ("tcp", "web1:80"), ("tcp", "[0:0::1]:80")];
    let (generation, answers, actions) = registry.watch_at_once(start(), ":1.1", &wanted(&rows));
    assert_eq!((generation, actions), (0, vec![]));
    let told: Vec<_> =
        answers.iter().map(|row| (row.check.as_str(), row.address.as_str(), row.reason.as_str())).collect();
    assert_eq!(
        told,
        [
            ("web", "10.0.0.5:80", "not probed yet"),
            ("nope", "10.0.0.5:80", "no check 'nope' is configured"),
            (
                "tcp",
                "web1:80",
                "'web1:80' is not an address, such as 192.0.2.1:80, [2001:db8::1]:80 or 192.0.2.1"
            ),
            ("tcp", "[0:0::1]:80", "not probed yet"),
        ]
    );
    assert!(answers.iter().all(|row| row.state == State::Unknown && row.since == WallClock(0)));
    assert_eq!(registry.counts(), [3, 0, 0]);
}

#[test]
fn a_target_may_have_no_port_and_an_interface_and_is_told_as_it_was_named() {
    let ping = Kind::Ping(crate::probe::ping::Settings::default());
    let mut registry =
        Registry::new(checks(&[("ping", Check::with_defaults(ping)), ("tcp", tcp())]), 1, start());
    let addresses = ["10.0.0.1", "10.0.0.1:80", "2001:db8::1", "fe80::1%7", "[fe80::1%7]:80", ""];
    let rows: Vec<_> =
        addresses.iter().map(|address| ("ping", *address)).chain([("tcp", "10.0.0.1")]).collect();
    let (_, answers, _) = registry.watch_at_once(start(), ":1.1", &wanted(&rows));
    let told: Vec<_> = answers.iter().map(|row| (row.address.as_str(), row.reason.as_str())).collect();
    let fine = |address| (address, "not probed yet");
    let expected = [
        fine("10.0.0.1"),
        fine("10.0.0.1:80"),
        fine("2001:db8::1"),
        fine("fe80::1%7"),
        fine("[fe80::1%7]:80"),
        ("", "a check of type \"ping\" needs a target's address"),
        ("10.0.0.1", "'10.0.0.1' names no port, and a check of type \"tcp\" needs one"),
    ];
    assert_eq!(told, expected);
    let mut changed = Vec::new();
    while changed.len() < 5 {
        let now = registry.deadline().unwrap();
        for id in started(&mut registry, now) {
            registry.on_outcome(now, WALL, id, pass()).unwrap();
        }
        changed.extend(registry.take_changes(NO_LIMIT).unwrap().1.into_iter().map(|row| row.address));
    }
    changed.sort();
    assert_eq!(changed, ["10.0.0.1", "10.0.0.1:80", "2001:db8::1", "[fe80::1%7]:80", "fe80::1%7"]);
}

#[test]
fn a_result_is_published_once_with_a_growing_generation() {
    let mut registry = registry();
    let now = start();
    let (_, _, _) =
        registry.watch_at_once(now, ":1.1", &wanted(&[("tcp", "10.0.0.5:80"), ("tcp", "10.0.0.6:80")]));
    let now = now + SECOND;
    let ids = started(&mut registry, now);
    assert_eq!(ids.len(), 2);
    let judged = registry.on_outcome(now + SECOND, WALL, ids[0], pass()).unwrap();
    assert_eq!((judged.before, judged.row.state, judged.took), (State::Unknown, State::Up, SECOND));
    assert!(registry.on_outcome(now + SECOND, WALL, ids[1], fail()).is_some());
    let (generation, rows) = registry.take_changes(NO_LIMIT).unwrap();
    assert_eq!((generation, rows.len()), (1, 2));
    assert!(rows.iter().all(|row| row.since == WALL));
    assert_eq!(registry.take_changes(NO_LIMIT), None);
    let (generation, answers, _) = registry.watch_at_once(now, ":1.2", &wanted(&[("tcp", "10.0.0.5:80")]));
    assert_eq!((generation, answers[0].state), (1, State::Up));
}

#[test]
fn two_watchers_share_one_probe_and_the_last_to_leave_ends_it() {
    let mut registry = registry();
    let now = start();
    let both = wanted(&[("tcp", "10.0.0.5:80")]);
    for watcher in [":1.1", ":1.2"] {
        let (_, _, actions) = registry.watch_at_once(now, watcher, &both);
        assert_eq!(actions, []);
    }
    let ids = started(&mut registry, now + SECOND);
    assert_eq!(ids.len(), 1);
    assert_eq!(registry.watch_at_once(now, ":1.1", &[]).2, []);
    assert_eq!(registry.watch_at_once(now, ":1.2", &[]).2, [Action::Cancel(ids[0])]);
    assert_eq!(registry.on_outcome(now, WALL, ids[0], pass()), None, "nobody wants this any more");
    assert_eq!((registry.deadline(), registry.watcher_count()), (None, 0));
}

#[test]
fn a_watcher_that_replaces_its_set_keeps_the_results_of_what_stays() {
    let mut registry = registry();
    let (_, now) = first_result(&mut registry, start(), "tcp", pass());
    let rows = wanted(&[("tcp", "10.0.0.6:80"), ("tcp", "10.0.0.5:80")]);
    let (_, answers, _) = registry.watch_at_once(now, ":1.1", &rows);
    let states: Vec<_> = answers.iter().map(|row| row.state).collect();
    assert_eq!(states, [State::Unknown, State::Up]);
    let (_, answers, _) = registry.watch_at_once(now, ":1.1", &wanted(&[("tcp", "10.0.0.6:80")]));
    assert_eq!((answers.len(), registry.counts()), (1, [1, 0, 0]));
}

#[test]
fn the_same_row_twice_is_one_target_and_two_answers() {
    let mut registry = registry();
    let (_, answers, _) =
        registry.watch_at_once(start(), ":1.1", &wanted(&[("tcp", "10.0.0.5:80"), ("tcp", "10.0.0.5:80")]));
    assert_eq!((answers.len(), registry.counts()), (2, [1, 0, 0]));
    let _ = registry.watch_at_once(start(), ":1.1", &[]);
    assert_eq!(registry.counts(), [0, 0, 0]);
}

#[test]
fn a_watcher_that_vanishes_is_forgotten_and_one_that_returns_is_answered_at_once() {
    let mut registry = registry();
    let (_, now) = first_result(&mut registry, start(), "tcp", pass());
    assert!(!registry.on_watcher_gone(now, ":1.99"));
    assert!(registry.on_watcher_gone(now, ":1.1"));
    assert_eq!(registry.watcher_count(), 0);
    let (_, answers, _) =
        registry.watch_at_once(now + LINGER / 2, ":1.7", &wanted(&[("tcp", "10.0.0.5:80")]));
    assert_eq!(answers[0].state, State::Up);
    assert!(registry.on_watcher_gone(now + LINGER / 2, ":1.7"));
    let _ = registry.on_time(now + LINGER * 2, NO_LIMIT);
    assert_eq!((registry.deadline(), registry.counts()), (None, [0, 0, 0]));
}

#[test]
fn a_new_bus_makes_all_names_void_but_keeps_the_results_for_who_returns() {
    let mut registry = registry();
    let (_, now) = first_result(&mut registry, start(), "tcp", fail());
    registry.on_new_bus(now);
    assert!(!registry.on_watcher_gone(now, ":1.1"), "the old name is nobody's");
    let (_, answers, _) = registry.watch_at_once(now, ":1.1", &wanted(&[("tcp", "10.0.0.5:80")]));
    assert_eq!(answers[0].state, State::Down);
}

#[test]
fn probes_follow_each_other_at_the_interval_from_start_to_start() {
    let mut registry = registry();
    let (id, first) = first_result(&mut registry, start(), "tcp", pass());
    let second = registry.deadline().unwrap();
    assert!(second - first > SECOND * 3 && second - first <= SECOND * 6, "{:?}", second - first);
    assert_eq!(started(&mut registry, second), [id]);
    registry.on_outcome(second + SECOND, WALL, id, pass()).unwrap();
    // The third is in its place; from then on each is, to the microsecond, however late the loop is.
    let third = registry.deadline().unwrap();
    assert!(third - second > SECOND * 3 && third - second <= SECOND * 6, "{:?}", third - second);
    let late = third + SECOND / 50;
    assert_eq!(started(&mut registry, late), [id]);
    registry.on_outcome(late + SECOND, WALL, id, pass()).unwrap();
    assert_eq!(registry.deadline(), Some(third + SECOND * 6));
}

#[test]
fn a_server_that_is_down_is_probed_at_its_own_interval() {
    let patient = Check { down_interval: Some(SECOND * 60), ..tcp() };
    let mut registry = Registry::new(checks(&[("tcp", patient)]), 1, start());
    let (id, mut now) = first_result(&mut registry, start(), "tcp", fail());
    for _ in 0..3 {
        let next = registry.deadline().unwrap();
        assert!(next - now > SECOND * 30 && next - now <= SECOND * 60, "{:?}", next - now);
        now = next;
        assert_eq!(started(&mut registry, now), [id]);
        registry.on_outcome(now, WALL, id, fail()).unwrap();
    }
    let now = registry.deadline().unwrap();
    assert_eq!(started(&mut registry, now), [id]);
    assert_eq!(registry.on_outcome(now, WALL, id, pass()).unwrap().row.state, State::Up);
    assert!(registry.deadline().unwrap() <= now + SECOND * 6);
}

#[test]
fn a_result_that_may_change_the_state_is_checked_again_soon() {
    let mut registry = registry();
    let (id, _) = first_result(&mut registry, start(), "tcp", pass());
    let second = registry.deadline().unwrap();
    assert_eq!(started(&mut registry, second), [id]);
    let judged = registry.on_outcome(second + SECOND / 2, WALL, id, fail()).unwrap();
    assert_eq!(judged.row.state, State::Up);
    let third = registry.deadline().unwrap();
    let wait = third - (second + SECOND / 2);
    assert!(wait > SECOND * 3 / 4 && wait <= SECOND, "{wait:?}");
    assert_eq!(started(&mut registry, third), [id]);
    let judged = registry.on_outcome(third, WALL, id, fail()).unwrap();
    assert_eq!((judged.before, judged.row.state), (State::Up, State::Down));
    let fourth = registry.deadline().unwrap();
    assert!(fourth - third > SECOND * 3 && fourth - third <= SECOND * 6, "{:?}", fourth - third);
}

#[test]
fn probes_of_one_target_never_overlap_however_long_the_timeout() {
    let slow = Check { interval: SECOND, timeout: SECOND * 10, ..tcp() };
    let mut registry = Registry::new(checks(&[("tcp", slow)]), 1, start());
    let _ = registry.watch_at_once(start(), ":1.1", &wanted(&[("tcp", "10.0.0.5:80")]));
    let now = registry.deadline().unwrap();
    let ids = started(&mut registry, now);
    assert_eq!(registry.on_time(now + SECOND * 9, NO_LIMIT), []);
    let end = now + SECOND * 10;
    assert_eq!(registry.on_time(end, NO_LIMIT), [Action::TimeOut { id: ids[0], late: Duration::ZERO }]);
    assert_eq!(registry.on_time(end, NO_LIMIT), [], "told once");
    registry.on_outcome(end, WALL, ids[0], fail()).unwrap();
    assert_eq!(started(&mut registry, end), ids);
}

#[test]
fn a_timeout_tells_how_late_it_is_noticed() {
    let mut registry = registry();
    let _ = registry.watch_at_once(start(), ":1.1", &wanted(&[("tcp", "10.0.0.5:80")]));
    let now = registry.deadline().unwrap();
    let ids = started(&mut registry, now);
    let late = SECOND * 30;
    assert_eq!(registry.on_time(now + SECOND * 5 + late, NO_LIMIT), [Action::TimeOut { id: ids[0], late }]);
}

#[test]
fn a_probe_that_cannot_start_here_keeps_the_state_and_is_tried_again_soon_and_then_less_and_less() {
    let mut registry = registry();
    let (id, _) = first_result(&mut registry, start(), "tcp", pass());
    for at_most in [1, 2, 4, 6, 6, 6] {
        let now = registry.deadline().unwrap();
        assert_eq!(started(&mut registry, now), [id]);
        let judged =
            registry.on_outcome(now, WALL, id, Outcome::Local("too many open files".into())).unwrap();
        assert_eq!(judged.row.state, State::Up);
        assert!(judged.row.reason.contains("too many open files"), "{}", judged.row.reason);
        let wait = registry.deadline().unwrap() - now;
        assert!(wait <= SECOND * at_most && wait >= SECOND * at_most / 2, "{wait:?}, not {at_most}s");
    }
    let now = registry.deadline().unwrap();
    assert_eq!(started(&mut registry, now), [id]);
    registry.on_outcome(now, WALL, id, pass()).unwrap();
    let now = registry.deadline().unwrap();
    assert_eq!(started(&mut registry, now), [id]);
    registry.on_outcome(now, WALL, id, Outcome::Local("too many open files".into())).unwrap();
    assert!(registry.deadline().unwrap() - now <= SECOND, "from the beginning again");
}

#[test]
fn a_turn_does_a_bounded_number_of_probes_and_the_rest_is_still_due() {
    let mut registry = registry();
    let rows: Vec<_> = (1..=100).map(|port| ("tcp".to_owned(), format!("10.0.0.5:{port}"))).collect();
    let now = start();
    let _ = registry.watch_at_once(now, ":1.1", &rows);
    let now = now + SECOND;
    assert_eq!(registry.on_time(now, 30).len(), 30);
    assert!(registry.deadline().unwrap() <= now);
    assert_eq!(registry.on_time(now, 1_000).len(), 70);
}

#[test]
fn a_reload_that_changes_nothing_touches_nothing() {
    let mut registry = registry();
    let (id, now) = first_result(&mut registry, start(), "web", pass());
    let before = (registry.deadline(), details(&registry, "web"));
    assert_eq!(registry.on_reload(now, WALL, checks(&[("tcp", tcp()), ("web", http("/"))])), []);
    assert_eq!((registry.deadline(), details(&registry, "web")), before);
    assert_eq!(registry.take_changes(NO_LIMIT), None);
    assert_eq!(started(&mut registry, before.0.unwrap()), [id]);
    let changed = checks(&[("tcp", Check { interval: SECOND, ..tcp() }), ("web", http("/"))]);
    assert_eq!(registry.on_reload(now, WALL, changed), [], "another check's probe runs on");
}

#[test]
fn a_changed_check_is_probed_anew_and_keeps_its_state_until_the_result() {
    let mut registry = registry();
    let (id, _) = first_result(&mut registry, start(), "web", pass());
    let now = registry.deadline().unwrap();
    assert_eq!(started(&mut registry, now), [id]);
    let changed = checks(&[("tcp", tcp()), ("web", http("/other"))]);
    assert_eq!(registry.on_reload(now, WALL, changed), [Action::Cancel(id)]);
    let (_, rows) = registry.take_changes(NO_LIMIT).unwrap();
    assert_eq!(rows[0].state, State::Up);
    assert!(rows[0].reason.contains("the check was changed"), "{}", rows[0].reason);
    let now = registry.deadline().unwrap();
    let actions = registry.on_time(now, NO_LIMIT);
    let expected = Arc::new(http("/other"));
    assert_eq!(actions, [Action::Start { id, check: expected, address: "10.0.0.5:80".parse().unwrap() }]);
    let judged = registry.on_outcome(now, WallClock(7), id, fail()).unwrap();
    assert_eq!((judged.row.state, judged.row.since), (State::Down, WallClock(7)), "the first result decides");
}

#[test]
fn a_command_that_a_reload_gives_up_has_time_to_end_before_the_next_one_begins() {
    let exec = |name: &str| {
        let command = vec![name.to_owned()];
        let settings = crate::probe::exec::Settings { check: "x".into(), command, status_is_weight: false };
        checks(&[("x", Check::with_defaults(Kind::Exec(settings)))])
    };
    for (before, after, at_once) in [
        (exec("/bin/a"), exec("/bin/b"), false),
        (exec("/bin/a"), checks(&[("x", tcp())]), false),
        (checks(&[("x", tcp())]), exec("/bin/a"), true),
    ] {
        let mut registry = Registry::new(before, 1, start());
        let _ = registry.watch_at_once(start(), ":1.1", &wanted(&[("x", "10.0.0.5:80")]));
        let now = registry.deadline().unwrap();
        let id = started(&mut registry, now)[0];
        assert_eq!(registry.on_reload(now, WALL, after), [Action::Cancel(id)]);
        let wait = registry.deadline().unwrap() - now;
        assert_eq!(wait < SECOND / 10, at_once, "{wait:?}");
        assert!(at_once || wait > crate::exec::TERM_GRACE && wait < SECOND, "{wait:?}");
    }
    // Who was waiting has nobody to wait for.
    let mut registry = Registry::new(exec("/bin/a"), 1, start());
    let (_, now) = first_result(&mut registry, start(), "x", pass());
    assert_eq!(registry.on_reload(now, WALL, exec("/bin/b")), []);
    assert!(registry.deadline().unwrap() - now < SECOND / 10);
}

#[test]
fn a_removed_check_leaves_its_targets_unknown_and_a_returning_one_takes_them_up() {
    let mut registry = registry();
    let (id, now) = first_result(&mut registry, start(), "web", pass());
    assert_eq!(registry.on_reload(now, WallClock(5), checks(&[("tcp", tcp())])), []);
    let (_, rows) = registry.take_changes(NO_LIMIT).unwrap();
    assert_eq!((rows[0].state, rows[0].since), (State::Unknown, WallClock(5)));
    assert_eq!(rows[0].reason, "no check 'web' is configured");
    assert_eq!(registry.deadline(), None);
    assert_eq!(registry.on_reload(now, WALL, checks(&[("web", http("/"))])), []);
    let now = registry.deadline().unwrap();
    assert_eq!(started(&mut registry, now), [id]);
}

#[test]
fn a_probe_now_uses_the_watched_target_and_leaves_no_trace_of_another() {
    let mut registry = registry();
    let (id, now) = first_result(&mut registry, start(), "tcp", pass());
    assert_eq!(registry.on_probe_wanted(now, "tcp", "10.0.0.5:80"), Ok(id));
    assert_eq!(started(&mut registry, now), [id]);
    let other = registry.on_probe_wanted(now, "tcp", "10.0.0.9:80").unwrap();
    assert_eq!(started(&mut registry, now), [other]);
    assert_eq!(registry.counts(), [0, 1, 0]);
    assert_eq!(registry.on_outcome(now, WALL, other, fail()).unwrap().row.state, State::Down);
    assert_eq!((registry.take_changes(NO_LIMIT), details(&registry, "tcp").len()), (None, 1));
    assert_eq!(registry.on_outcome(now, WALL, other, fail()), None);
    assert!(registry.on_probe_wanted(now, "nope", "10.0.0.5:80").unwrap_err().contains("no check 'nope'"));
    assert!(
        registry.on_probe_wanted(now, "tcp", "web1:80").unwrap_err().contains("'web1:80' is not an address")
    );
    assert!(registry.on_probe_wanted(now, "tcp", "10.0.0.5:0").is_err());
}

#[test]
fn who_asked_for_a_probe_is_told_when_its_check_goes() {
    let mut registry = registry();
    let now = start();
    let id = registry.on_probe_wanted(now, "web", "10.0.0.9:80").unwrap();
    assert_eq!(registry.on_reload(now, WALL, checks(&[])), [Action::Gone(id)]);
}

#[test]
fn details_tell_how_long_the_last_probe_took_and_when_the_next_one_is() {
    let mut registry = registry();
    let _ =
        registry.watch_at_once(start(), ":1.1", &wanted(&[("tcp", "10.0.0.6:80"), ("tcp", "10.0.0.5:80")]));
    let now = start() + SECOND;
    let ids = started(&mut registry, now);
    assert!(details(&registry, "tcp").iter().all(|detail| detail.next.is_none()));
    for id in &ids {
        registry.on_outcome(now + SECOND, WALL, *id, pass()).unwrap();
    }
    let details = details(&registry, "tcp");
    assert_eq!(details[0].row.address, "10.0.0.5:80");
    assert!(details.iter().all(|detail| detail.last_duration == Some(SECOND) && detail.next > Some(now)));
}

#[test]
fn a_target_may_leave_out_the_port_where_the_check_has_one_and_is_told_where_it_has_none() {
    let elsewhere = Check { connect: Connect { port: Some(8080), ..Connect::default() }, ..tcp() };
    let mut registry = Registry::new(checks(&[("tcp", tcp()), ("elsewhere", elsewhere)]), 1, start());
    let now = start();
    let rows = wanted(&[("elsewhere", "10.0.0.5"), ("tcp", "10.0.0.5"), ("tcp", ""), ("tcp", "10.0.0.5:0")]);
    let (_, answers, _) = registry.watch_at_once(now, ":1.1", &rows);
    let reasons: Vec<_> = answers.iter().map(|row| (row.address.as_str(), row.reason.as_str())).collect();
    assert_eq!(
        reasons,
        [
            ("10.0.0.5", NOT_PROBED_YET),
            ("10.0.0.5", "'10.0.0.5' names no port, and a check of type \"tcp\" needs one"),
            ("", "a check of type \"tcp\" needs a target's address"),
            ("10.0.0.5:0", "'10.0.0.5:0' has port 0, which nothing listens on"),
        ]
    );
    assert_eq!(started(&mut registry, now + SECOND).len(), 1, "only the one that can be probed is");
    // A reload may give the check a port, and take it away again.
    let with_port = Check { connect: Connect { port: Some(8080), ..Connect::default() }, ..tcp() };
    let _ = registry.on_reload(now, WALL, checks(&[("tcp", with_port), ("elsewhere", tcp())]));
    assert_eq!(details(&registry, "tcp")[1].row.reason, NOT_PROBED_YET);
    assert!(details(&registry, "elsewhere")[0].row.reason.contains("names no port"));
}
