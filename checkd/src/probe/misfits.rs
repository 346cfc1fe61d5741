//! Datagrams that did not decide: others may follow that do, so what they were is told only if none does.

use super::Reply;

/// How many there were, and what is to be said of the last.
#[derive(Debug, Default)]
pub(super) struct Misfits<T> {
    count: u32,
    last: T,
}

impl<T> Misfits<T> {
    /// Another one.
    pub(super) fn add(&mut self, last: T) -> Reply {
        self.count += 1;
        self.last = last;
        Reply::Another
    }

    /// For [`super::Exchange::progress`]: in the words for one, or for so many.
    pub(super) fn progress(
        &self,
        one: impl FnOnce(&T) -> String,
        several: impl FnOnce(u32, &T) -> String,
    ) -> String {
        match self.count {
            0 => "nothing received".to_owned(),
            1 => one(&self.last),
            count => several(count, &self.last),
        }
    }
}
