//! Who watches what, as the bus tells it, taken in one after the other: tens of thousands of targets a portion a turn,
//! so that no probe waits for them. What comes later about a watcher waits for what came before it.

use std::collections::VecDeque;
use std::time::Instant;

use daemon::bus::Reply;

use crate::registry::{Key, Registry, Standing, Watch};

/// Targets taken in in one turn: some hundred microseconds of work.
const ROOM: usize = 512;

type Answer = Reply<(u64, Vec<Standing>)>;

/// The oldest first. The bus thread asks for one watch at a time.
#[derive(Debug, Default)]
pub struct Intake(VecDeque<Order>);

#[derive(Debug)]
enum Order {
    /// All names mean nothing any more.
    NewBus,
    Watch {
        watch: Watch,
        reply: Answer,
    },
    /// A watcher has left the bus.
    Gone {
        caller: String,
    },
}

impl Intake {
    pub fn new_bus(&mut self) {
        self.0.push_back(Order::NewBus);
    }

    pub fn watch(&mut self, caller: String, keys: Vec<Key>, reply: Answer) {
        log::debug!("{caller} watches {} targets", keys.len());
        self.0.push_back(Order::Watch { watch: Watch::new(caller, keys), reply });
    }

    pub fn gone(&mut self, caller: String) {
        self.0.push_back(Order::Gone { caller });
    }

    /// Whether [`Intake::advance`] has something to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One portion of the oldest watch, and what needs no portions before it. Whether there are other watchers, or
    /// watchers of something else, now.
    pub fn advance(&mut self, now: Instant, registry: &mut Registry) -> bool {
        let mut others = false;
        while let Some(order) = self.0.pop_front() {
            match order {
                Order::NewBus => registry.on_new_bus(now),
                Order::Gone { caller } => {
                    registry.on_watcher_gone(now, &caller);
                    log::debug!("{caller} has left the bus");
                }
                Order::Watch { mut watch, reply } => {
                    match registry.on_watch(now, &mut watch, ROOM) {
                        // Nobody may wait any more: the set is taken in all the same, until its watcher is gone.
                        Some(answer) => drop(reply.send(answer)),
                        None => self.0.push_front(Order::Watch { watch, reply }),
                    }
                    return true;
                }
            }
            others = true;
        }
        others
    }
}

#[cfg(test)]
mod tests {
    use futures_channel::oneshot;

    use super::*;
    use crate::check::Check;
    use crate::probe::Kind;
    use crate::registry::{Checks, Wanted};

    fn keys(count: usize) -> Vec<Key> {
        let mut wanted = Wanted::default();
        for number in 0..count {
            wanted.add("tcp", &format!("10.0.{}.{}:80", number / 256, number % 256));
        }
        wanted.take_keys()
    }

    #[test]
    fn a_large_set_is_taken_in_over_many_turns_and_what_comes_after_it_waits() {
        let now = daemon::event_loop::Clock::new().unwrap().now();
        let checks = Checks::from([("tcp".to_owned(), Check::with_defaults(Kind::Tcp).into())]);
        let mut registry = Registry::new(checks, 1, now);
        let mut intake = Intake::default();
        let (reply, mut answer) = oneshot::channel();
        intake.watch(":1.1".into(), keys(5 * ROOM), reply);
        intake.gone(":1.1".into());
        let mut turns = 0;
        while answer.try_recv().unwrap().is_none_or(|(_, answers)| {
            assert_eq!(answers.len(), 5 * ROOM);
            false
        }) {
            assert!(intake.advance(now, &mut registry));
            turns += 1;
            assert!(registry.counts()[0] <= turns * ROOM, "more than a portion in a turn");
            assert!(turns < 100, "it does not end");
        }
        assert!(turns >= 15, "found, begun and read in {turns} turns");
        assert_eq!((registry.watcher_count(), registry.counts()[0]), (1, 5 * ROOM));
        assert!(intake.advance(now, &mut registry) && intake.is_empty());
        assert_eq!(registry.watcher_count(), 0, "it leaves after it came");
    }
    #[test]
    #[ignore = "a measurement"]
    fn what_a_watch_costs() {
        const MANY: usize = 37_205;
        let clock = daemon::event_loop::Clock::new().unwrap();
        let checks = Checks::from([("tcp".to_owned(), Check::with_defaults(Kind::Tcp).into())]);
        for (what, again) in [("new", false), ("the same again", true)] {
            let mut registry = Registry::new(checks.clone(), 1, clock.now());
            let mut intake = Intake::default();
            let (mut turns, mut longest, mut all) = (0, std::time::Duration::ZERO, std::time::Duration::ZERO);
            for measured in [!again, again] {
                (turns, longest, all) = Default::default();
                let before = clock.now();
                let keys = keys(MANY);
                println!("{what}: {:?} to read {MANY} rows, on the bus thread", clock.now() - before);
                let (reply, _answer) = oneshot::channel();
                intake.watch(":1.1".into(), keys, reply);
                while !intake.is_empty() {
                    let now = clock.now();
                    intake.advance(now, &mut registry);
                    let took = clock.now() - now;
                    (turns, longest, all) = (turns + 1, longest.max(took), all + took);
                }
                if measured {
                    break;
                }
            }
            println!("{what}: {turns} turns, the longest {longest:?}, {all:?} in all");
        }
    }
}
