//! The effects of one event, in order. The first few lie in the value itself: an advertisement that is due, a takeover
//! or a hand-over asks the allocator for nothing; a burst of announcements does.

use super::event::Action;

/// A takeover has three; the answer to a lesser router two, and its announcements.
const INLINE: usize = 4;

/// Effects in order.
#[must_use = "an action that is not performed leaves the machine in another state than the router believes"]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Actions {
    first: [Option<Action>; INLINE],
    len: usize,
    /// Those that do not fit into `first`.
    rest: Vec<Action>,
}

impl Actions {
    pub(super) fn push(&mut self, action: Action) {
        match self.first.get_mut(self.len) {
            Some(place) => *place = Some(action),
            None => self.rest.push(action),
        }
        self.len += 1;
    }
}

impl IntoIterator for Actions {
    type Item = Action;
    type IntoIter = std::iter::Chain<
        std::iter::Flatten<std::array::IntoIter<Option<Action>, INLINE>>,
        std::vec::IntoIter<Action>,
    >;

    fn into_iter(self) -> Self::IntoIter {
        self.first.into_iter().flatten().chain(self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Priority;

    #[test]
    fn actions_come_out_in_the_order_in_which_they_went_in_however_many_there_are() {
        for count in 0..20 {
            let mut actions = Actions::default();
            let expected: Vec<_> = (0..count).map(|n| Action::SendAdvertisement(Priority(n))).collect();
            for action in &expected {
                actions.push(action.clone());
            }
            assert_eq!(actions.rest.is_empty(), expected.len() <= INLINE, "{count}");
            assert_eq!(actions.into_iter().collect::<Vec<_>>(), expected);
        }
    }
}
