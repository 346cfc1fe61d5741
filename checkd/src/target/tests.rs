use std::sync::OnceLock;

use daemon::event_loop::Clock;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const TOOK: Duration = Duration::from_millis(3);

fn rules(rise: u32, fall: u32) -> Rules {
    let count = |count| NonZeroU32::new(count).unwrap();
    Rules { thresholds: Thresholds { rise: count(rise), fall: count(fall) }, damping: None }
}

/// So many minutes after the beginning of time.
fn at(minute: u32) -> Moment {
    static START: OnceLock<Instant> = OnceLock::new();
    let now = *START.get_or_init(|| Clock::new().unwrap().now()) + minute * MINUTE;
    Moment { now, wall: wall(minute) }
}

fn wall(minute: u32) -> WallClock {
    WallClock(u64::from(minute) * 60_000_000)
}

/// Feeds one letter per result: p(ass), f(ail), l(ocal); returns one letter per state after it.
fn states(rise: u32, fall: u32, results: &str) -> String {
    let mut judgement = Judgement::unknown(NOT_PROBED_YET);
    let mut states = String::new();
    for (step, result) in (1..).zip(results.chars()) {
        let outcome = match result {
            'p' => Outcome::Pass("connected".into()),
            'f' => Outcome::Fail("connection refused".into()),
            _ => Outcome::Local("too many open files".into()),
        };
        let before = judgement.state();
        let change = judgement.on_outcome(rules(rise, fall), outcome, TOOK, at(step));
        assert_eq!(change == Change::State, before != judgement.state());
        assert_eq!(change == Change::State, judgement.since() == wall(step));
        states.push(match judgement.state() {
            State::Unknown => '?',
            State::Up => 'U',
            State::Down => 'D',
        });
    }
    states
}

#[test]
fn the_first_result_decides_at_once_whatever_rise_and_fall_say() {
    assert_eq!(states(3, 3, "p"), "U");
    assert_eq!(states(3, 3, "f"), "D");
}

#[test]
fn later_changes_need_rise_or_fall_results_in_a_row() {
    assert_eq!(states(2, 3, "pffpfffpfpp"), "UUUUUUDDDDU");
    assert_eq!(states(1, 1, "pfpf"), "UDUD");
    assert_eq!(states(1, 2, "pfpfpfpff"), "UUUUUUUUD");
}

#[test]
fn a_probe_that_could_not_run_here_never_counts_in_either_direction() {
    assert_eq!(states(1, 2, "lll"), "???");
    assert_eq!(states(1, 2, "pllllflf"), "UUUUUUUD");
    assert_eq!(states(1, 2, "flllp"), "DDDDU");
}

#[test]
fn the_reason_tells_what_is_under_way_and_what_was_before() {
    let mut judgement = Judgement::unknown(NOT_PROBED_YET);
    let two = rules(2, 2);
    let fail = |text: &str, judgement: &mut Judgement| {
        judgement.on_outcome(two, Outcome::Fail(text.into()), TOOK, at(9))
    };
    assert_eq!(judgement.on_outcome(two, Outcome::Pass("status 200".into()), TOOK, at(1)), Change::State);
    assert_eq!(judgement.reason(), "status 200");
    assert_eq!(fail("status 500", &mut judgement), Change::Reason);
    assert_eq!(judgement.reason(), "status 500 (failure 1 of 2); before: status 200");
    assert!(judgement.is_changing());
    assert_eq!(fail("status 502", &mut judgement), Change::State);
    assert_eq!(judgement.reason(), "status 502");
    assert_eq!(fail("status 502", &mut judgement), Change::Nothing);
    assert_eq!(fail("status 503", &mut judgement), Change::Reason);
    let local = Outcome::Local("too many open files".into());
    assert_eq!(judgement.on_outcome(two, local.clone(), TOOK, at(9)), Change::Reason);
    assert_eq!(judgement.on_outcome(two, local, TOOK, at(9)), Change::Nothing);
    assert_eq!(judgement.reason(), "could not probe: too many open files; before: status 503");
    assert_eq!(judgement.state(), State::Down);
}

#[test]
fn a_weight_is_that_of_the_last_pass_and_there_is_none_while_the_server_is_down() {
    let mut judgement = Judgement::unknown(NOT_PROBED_YET);
    let mut see = |outcome| {
        let change = judgement.on_outcome(rules(1, 2), outcome, TOOK, at(1));
        (change, judgement.weight())
    };
    let pass = |weight| Outcome::PassWithWeight("load is low".into(), weight);
    let fail = || Outcome::Fail("exit 1".into());
    assert_eq!(see(pass(30)), (Change::State, Some(30)));
    assert_eq!(see(pass(30)), (Change::Nothing, Some(30)));
    assert_eq!(see(pass(7)), (Change::Reason, Some(7)), "a weight is told, though nothing else changed");
    assert_eq!(see(fail()), (Change::Reason, Some(7)), "it is still up");
    assert_eq!(see(fail()), (Change::State, None));
    assert_eq!(see(pass(9)), (Change::State, Some(9)));
    assert_eq!(see(Outcome::Pass("load is low".into())), (Change::Reason, None));
}

#[test]
fn a_changed_check_keeps_the_state_until_its_first_result_which_decides() {
    let mut judgement = Judgement::unknown(NOT_PROBED_YET);
    let three = rules(3, 3);
    let _ = judgement.on_outcome(three, Outcome::Pass("status 200".into()), TOOK, at(1));
    assert_eq!(judgement.on_check_changed(), Change::Reason);
    assert_eq!(judgement.state(), State::Up);
    assert!(judgement.reason().contains("changed") && judgement.reason().contains("status 200"));
    let fail = Outcome::Fail("status 404".into());
    assert_eq!(judgement.on_outcome(three, fail, TOOK, at(2)), Change::State);
    assert_eq!((judgement.state(), judgement.since()), (State::Down, wall(2)));
}

#[test]
fn progress_tells_how_many_results_speak_against_the_state_and_how_many_it_takes() {
    let mut judgement = Judgement::unknown(NOT_PROBED_YET);
    let rules = rules(2, 3);
    let mut see = |outcome| {
        let _ = judgement.on_outcome(rules, outcome, TOOK, at(1));
        let Progress { against, needed } = judgement.progress(rules.thresholds);
        (against, needed, judgement.probes(), judgement.changes())
    };
    let (pass, fail) = (Outcome::Pass(String::new()), Outcome::Fail(String::new()));
    assert_eq!(see(pass.clone()), (0, 3, 1, 1));
    assert_eq!(see(fail.clone()), (1, 3, 2, 1));
    assert_eq!(see(Outcome::Local(String::new())), (1, 3, 2, 1), "what could not be probed is no probe");
    assert_eq!(see(fail.clone()), (2, 3, 3, 1));
    assert_eq!(see(fail), (0, 2, 4, 2));
    assert_eq!(see(pass), (1, 2, 5, 2));
    assert_eq!(judgement.on_check_changed(), Change::Reason);
    assert_eq!(judgement.progress(rules.thresholds), Progress { against: 0, needed: 1 });
}

/// A judgement that damping keeps down: it was up and down in turn, and passed again in minute 4.
fn held() -> (Judgement, Rules) {
    let damping = Damping { changes: NonZeroU32::new(3).unwrap(), within: 5 * MINUTE, hold: 10 * MINUTE };
    let rules = Rules { damping: Some(damping), ..rules(1, 1) };
    let mut judgement = Judgement::unknown(NOT_PROBED_YET);
    for (minute, outcome) in [
        (0, Outcome::Pass("status 200".into())),
        (1, Outcome::Fail("status 500".into())),
        (2, Outcome::Pass("status 200".into())),
        (3, Outcome::Fail("status 500".into())),
    ] {
        assert_eq!(
            judgement.on_outcome(rules, outcome, TOOK, at(minute)),
            Change::State,
            "nothing is delayed"
        );
    }
    assert_eq!((judgement.is_held(), judgement.held_until(rules)), (false, None));
    let pass = Outcome::Pass("status 200".into());
    assert_eq!(judgement.on_outcome(rules, pass, TOOK, at(4)), Change::Reason);
    assert_eq!((judgement.state(), judgement.since()), (State::Down, wall(3)));
    assert!(judgement.is_held() && !judgement.is_changing(), "there is no hurry");
    assert_eq!(judgement.held_until(rules), Some(wall(14)));
    (judgement, rules)
}

#[test]
fn who_flaps_stays_down_until_it_was_good_for_the_whole_hold_and_says_so() {
    let (mut judgement, rules) = held();
    assert_eq!(
        judgement.reason(),
        "status 200; kept down after 3 changes within 5min: passes since 1970-01-01 00:04:00 UTC, up at \
         1970-01-01 00:14:00 UTC if it goes on so; before: status 500"
    );
    let pass = || Outcome::Pass("status 200".into());
    assert_eq!(judgement.on_outcome(rules, pass(), TOOK, at(12)), Change::Nothing, "told once");
    let fail = Outcome::Fail("status 503".into());
    assert_eq!(judgement.on_outcome(rules, fail, TOOK, at(13)), Change::Reason);
    assert_eq!((judgement.reason().as_str(), judgement.held_until(rules)), ("status 503", None));
    assert!(judgement.is_held());
    assert_eq!(judgement.on_outcome(rules, pass(), TOOK, at(14)), Change::Reason);
    assert_eq!(judgement.on_outcome(rules, pass(), TOOK, at(23)), Change::Nothing);
    assert_eq!(judgement.on_outcome(rules, pass(), TOOK, at(24)), Change::State);
    assert_eq!((judgement.state(), judgement.since(), judgement.is_held()), (State::Up, wall(24), false));
}

#[test]
fn damping_ends_with_a_check_that_asks_something_else_or_does_not_damp_any_more() {
    let pass = || Outcome::Pass("status 200".into());
    let (mut judgement, rules) = held();
    assert_eq!(judgement.on_rules_changed(rules), Change::Nothing);
    assert!(judgement.is_held(), "other rules that damp go on damping");
    assert_eq!(judgement.on_check_changed(), Change::Reason);
    assert_eq!(judgement.on_outcome(rules, pass(), TOOK, at(5)), Change::State);
    let (mut judgement, rules) = held();
    let without = Rules { damping: None, ..rules };
    assert_eq!(judgement.on_rules_changed(without), Change::Reason);
    assert!(judgement.reason().starts_with("damping was taken out of the check"), "{}", judgement.reason());
    assert_eq!(judgement.on_outcome(without, pass(), TOOK, at(5)), Change::State);
}

#[test]
fn what_a_later_run_remembers_counts_as_if_there_had_been_no_restart() {
    let mut judgement = Judgement::unknown(NOT_PROBED_YET);
    let two = rules(2, 2);
    assert_eq!(judgement.memory(), None, "there is nothing to remember");
    let _ = judgement.on_outcome(two, Outcome::PassWithWeight("calm".into(), 7), TOOK, at(1));
    let mut later = Judgement::remembered(judgement.memory().unwrap());
    assert_eq!((later.state(), later.since(), later.weight()), (State::Up, wall(1), Some(7)));
    assert_eq!(later.reason(), "not probed since checkd's restart; before: calm");
    assert_eq!((later.probes(), later.last_duration()), (0, None));
    assert_eq!(later.memory(), judgement.memory(), "and once more");
    let fail = || Outcome::Fail("refused".into());
    assert_eq!(later.on_outcome(two, fail(), TOOK, at(2)), Change::Reason, "one failure is not two");
    assert_eq!(later.reason(), "refused (failure 1 of 2); before: calm");
    assert_eq!(later.on_outcome(two, fail(), TOOK, at(3)), Change::State);
    // With another check the first result decides.
    let memory = Memory { provisional: true, ..judgement.memory().unwrap() };
    let mut later = Judgement::remembered(memory);
    assert!(later.reason().starts_with("the check was changed"), "{}", later.reason());
    assert_eq!(later.on_outcome(two, fail(), TOOK, at(2)), Change::State);
}

#[test]
fn a_restart_ends_no_damping() {
    let (judgement, rules) = held();
    let mut later = Judgement::remembered(judgement.memory().unwrap());
    assert_eq!(later.held_until(rules), Some(wall(14)));
    let pass = || Outcome::Pass("status 200".into());
    assert_eq!(later.on_outcome(rules, pass(), TOOK, at(13)), Change::Reason);
    assert!(later.reason().contains("kept down after 3 changes"), "{}", later.reason());
    assert_eq!(later.on_outcome(rules, pass(), TOOK, at(14)), Change::State);
}
