//! The last transitions of all routers, for the bus's signal: properties show how things are, these show how they went.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::router::{Router, StateName};

/// Kept for a bus thread that is late; one that is later still tells the rest.
const MOST: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Of the first it is 1.
    pub number: u64,
    pub router: Arc<str>,
    pub from: StateName,
    pub to: StateName,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transitions {
    last: VecDeque<Arc<Transition>>,
    count: u64,
}

impl Transitions {
    /// From a fault to another is no transition.
    pub fn push(&mut self, name: &Arc<str>, from: StateName, router: &Router) {
        let (to, reason) = (router.state(), router.reason().to_string());
        if from == to {
            return;
        }
        self.count += 1;
        if self.last.len() == MOST {
            self.last.pop_front();
        }
        let transition = Transition { number: self.count, router: Arc::clone(name), from, to, reason };
        self.last.push_back(Arc::new(transition));
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Those after the one with this number, in their order.
    pub fn after(&self, number: u64) -> impl Iterator<Item = &Arc<Transition>> {
        self.last.iter().filter(move |transition| transition.number > number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_reader_gets_the_last_ones_in_their_order() {
        let router = Router::new(start(), crate::router::settings::Settings::default());
        let mut transitions = Transitions::default();
        for _ in 0..MOST + 10 {
            transitions.push(&"gateway".into(), StateName::Active, &router);
            transitions.push(&"gateway".into(), StateName::Initialize, &router);
        }
        assert_eq!(transitions.count(), 266, "from a state to itself is none");
        let numbers: Vec<u64> = transitions.after(264).map(|transition| transition.number).collect();
        assert_eq!(numbers, [265, 266]);
        assert_eq!(transitions.after(0).count(), MOST);
    }

    #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
    fn start() -> std::time::Instant {
        std::time::Instant::now()
    }
}
