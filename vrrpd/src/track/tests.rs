use std::collections::BTreeSet;

use super::knowledge::Heard;
use super::*;

fn start() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
    Instant::now()
}

fn unit(name: &str) -> What {
    What::Unit(name.into())
}

fn tracker(name: &str, weight: Option<i16>) -> Tracker {
    Tracker { what: unit(name), weight, reverse: false }
}

fn up() -> Told {
    Told::Up { reason: "active (running)".into(), since: 5 }
}

fn down() -> Told {
    Told::Down { reason: "failed (failed)".into(), since: 6 }
}

fn nothing() -> Told {
    Told::Nothing { reason: "the bus is gone".into() }
}

/// A router of priority 100 that starts now.
struct Scene {
    now: Instant,
    tracking: Tracking,
    knowledge: Knowledge,
}

impl Scene {
    fn new(trackers: &[Tracker]) -> Self {
        let now = start();
        let mut knowledge = Knowledge::default();
        knowledge.want(trackers.iter().map(|tracker| tracker.what.clone()).collect());
        Self { now, tracking: Tracking::new(now, trackers), knowledge }
    }

    fn hear(&mut self, name: &str, told: Told) -> Heard {
        self.knowledge.hear(1, &unit(name), told)
    }

    fn standing(&self) -> Standing {
        self.tracking.standing(self.now, Priority(100), &self.knowledge)
    }

    fn priority(&self) -> u8 {
        let standing = self.standing();
        let Standing::Fit(priority) = standing else { panic!("{standing:?}") };
        priority.0
    }
}

#[test]
fn a_positive_weight_is_added_while_up_and_a_negative_one_taken_while_down() {
    let mut scene = Scene::new(&[tracker("a", Some(20)), tracker("b", Some(-30))]);
    for (a, b, priority) in [(up(), up(), 120), (down(), up(), 100), (up(), down(), 90), (down(), down(), 70)]
    {
        scene.hear("a", a);
        scene.hear("b", b);
        assert_eq!(scene.priority(), priority);
    }
}

#[test]
fn a_reversed_tracker_counts_down_as_up() {
    let reversed = |weight| Tracker { reverse: true, ..tracker("a", weight) };
    let mut scene = Scene::new(&[reversed(Some(-30))]);
    scene.hear("a", down());
    assert_eq!(scene.priority(), 100);
    scene.hear("a", up());
    assert_eq!(scene.priority(), 70);
    let mut scene = Scene::new(&[reversed(None)]);
    scene.hear("a", down());
    assert_eq!(scene.priority(), 100);
    scene.hear("a", up());
    assert_eq!(scene.standing(), Standing::Down(unit("a"), "is up: active (running)".into()));
}

#[test]
fn the_sum_stays_between_1_and_254_and_an_owner_stays_an_owner() {
    let mut scene = Scene::new(&[tracker("a", Some(253)), tracker("b", Some(-253))]);
    scene.hear("a", up());
    scene.hear("b", up());
    assert_eq!(scene.priority(), 254);
    scene.hear("a", down());
    scene.hear("b", down());
    assert_eq!(scene.priority(), 1);
    let owner = scene.tracking.standing(scene.now, Priority::OWNER, &scene.knowledge);
    assert_eq!(owner, Standing::Fit(Priority::OWNER));
}

#[test]
fn without_a_weight_down_is_a_fault_that_says_why() {
    let mut scene = Scene::new(&[tracker("a", None), tracker("b", Some(10))]);
    scene.hear("b", up());
    scene.hear("a", down());
    assert_eq!(scene.standing(), Standing::Down(unit("a"), "is down: failed (failed)".into()));
    scene.hear("a", up());
    assert_eq!(scene.priority(), 110);
}

#[test]
fn a_router_that_starts_waits_to_hear_and_is_then_the_last_choice() {
    let mut scene = Scene::new(&[tracker("a", None), tracker("b", Some(10))]);
    assert_eq!(scene.standing(), Standing::Wait(unit("a")));
    scene.hear("a", nothing());
    assert_eq!(scene.standing(), Standing::Wait(unit("a")), "that nobody answers is no answer");
    scene.now += GRACE;
    assert_eq!(scene.standing(), Standing::LastChoice(unit("a")));
    scene.hear("a", up());
    assert_eq!(scene.priority(), 100, "b is still not known: its weight is not earned");
}

#[test]
fn while_a_router_starts_a_weight_that_is_not_known_counts_as_down() {
    let scene = Scene::new(&[tracker("a", Some(20)), tracker("b", Some(-30))]);
    assert_eq!(scene.priority(), 70);
}

#[test]
fn what_was_known_stays_stale_and_changes_nothing() {
    let mut scene = Scene::new(&[tracker("a", None), tracker("b", Some(-30))]);
    scene.hear("a", up());
    scene.hear("b", down());
    assert_eq!(scene.hear("b", nothing()), Heard::Detail);
    assert_eq!(scene.hear("b", nothing()), Heard::Nothing);
    scene.hear("a", nothing());
    assert_eq!(scene.priority(), 70);
    let known = scene.knowledge.get(&unit("b"));
    assert!(known.stale && known.verdict == Verdict::Down && known.since == 6, "{known:?}");
    assert_eq!(scene.hear("b", up()), Heard::Verdict(Verdict::Down));
    assert!(!scene.knowledge.get(&unit("b")).stale);
}

#[test]
fn a_tracker_that_is_added_to_a_running_router_changes_nothing_until_it_is_known() {
    let mut scene = Scene::new(&[tracker("a", Some(20))]);
    scene.hear("a", up());
    let trackers = [tracker("a", Some(20)), tracker("b", Some(-30)), tracker("c", None)];
    scene.tracking.reconfigure(&trackers, true);
    scene.knowledge.want(trackers.iter().map(|tracker| tracker.what.clone()).collect());
    assert_eq!(scene.priority(), 120);
    scene.hear("b", down());
    assert_eq!(scene.priority(), 90);
    scene.hear("c", down());
    assert!(matches!(scene.standing(), Standing::Down(..)));
}

#[test]
fn one_that_is_added_before_the_router_runs_is_waited_for() {
    let mut scene = Scene::new(&[]);
    assert_eq!(scene.priority(), 100);
    scene.tracking.reconfigure(&[tracker("a", None)], false);
    assert_eq!(scene.standing(), Standing::Wait(unit("a")));
}

#[test]
fn a_router_that_goes_on_after_a_restart_is_believed_the_best_until_more_is_known() {
    let mut scene = Scene::new(&[tracker("a", None), tracker("b", Some(20)), tracker("c", Some(-30))]);
    scene.tracking.resume();
    assert_eq!(scene.priority(), 120);
    scene.hear("b", down());
    assert_eq!(scene.priority(), 100);
    scene.hear("a", down());
    assert!(matches!(scene.standing(), Standing::Down(..)));
}

#[test]
fn each_part_says_what_it_contributes_and_why() {
    let mut scene = Scene::new(&[tracker("a", Some(20)), tracker("b", None)]);
    scene.hear("a", up());
    let parts: Vec<Part> = scene.tracking.parts(&scene.knowledge).collect();
    assert_eq!((parts[0].contribution, parts[0].known.reason.as_str()), (20, "active (running)"));
    assert_eq!((parts[1].contribution, parts[1].known.verdict), (0, Verdict::Unknown));
}

#[test]
fn nothing_is_kept_of_what_nobody_tracks_any_more() {
    let mut knowledge = Knowledge::default();
    knowledge.want(BTreeSet::from([unit("a"), unit("b")]));
    assert_eq!(
        knowledge.hear(9, &unit("a"), Told::Up { reason: String::new(), since: 0 }),
        Heard::Verdict(Verdict::Unknown)
    );
    assert_eq!(knowledge.get(&unit("a")).since, 9, "a source that does not say since when");
    knowledge.want(BTreeSet::from([unit("b")]));
    assert_eq!(knowledge.hear(9, &unit("a"), up()), Heard::Nothing);
    assert_eq!(knowledge.get(&unit("a")), Known::default());
}
