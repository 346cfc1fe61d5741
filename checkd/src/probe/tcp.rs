//! `type = "tcp"`: the server is up if it accepts a connection within the time limit. keepalived's TCP_CHECK.

use super::Outcome;

#[derive(Debug)]
pub struct Probe;

impl Probe {
    pub fn on_connected(&self) -> Outcome {
        Outcome::Pass("connected".to_owned())
    }
}
