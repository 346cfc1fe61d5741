//! `type = "tcp"`: the server is up if it accepts a connection within the time limit. keepalived's TCP_CHECK.

use super::{Conversation, Outcome};

#[derive(Debug)]
pub struct Probe;

impl Conversation for Probe {
    fn on_connected(&mut self) -> Option<Outcome> {
        Some(Outcome::Pass("connected".to_owned()))
    }

    fn unsent(&self) -> &[u8] {
        &[]
    }

    fn on_sent(&mut self, _count: usize) {}

    fn on_received(&mut self, _bytes: &[u8]) -> Option<Outcome> {
        None
    }

    fn on_closed(&mut self) -> Outcome {
        Outcome::Fail("the server closed the connection".to_owned())
    }

    fn progress(&self) -> String {
        "nothing to wait for".to_owned()
    }
}
