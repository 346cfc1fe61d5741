//! Who listens to checkd, as ipvsd does: says on the bus what it wants watched, and takes in what is told of it.

use std::collections::HashMap;
use std::net::SocketAddrV4;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use futures_util::StreamExt as _;
use trivet_tests::clock::pace;
use zbus::connection::Builder;
use zbus::{Connection, MatchRule, MessageStream};

use crate::clock::monotonic;
use crate::plan;

const NAME: &str = "org.trivet.Check1";
const PATH: &str = "/org/trivet/Check1";
const INTERFACE: &str = "org.trivet.Check1.Manager";
/// Before it is asked again whether checkd is there.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Signals that may wait for this thread.
const SIGNALS: usize = 100_000;

/// check, address, state, reason, since, weight
type Row = (String, String, String, String, u64, i32);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    Down,
}

/// What was told of a server, and when that was heard (CLOCK_MONOTONIC, nanoseconds).
#[derive(Debug, Clone, Copy)]
pub(crate) struct News {
    pub(crate) at: i64,
    pub(crate) server: u32,
    pub(crate) state: State,
}

#[derive(Debug, Default)]
struct Heard {
    /// The last of each server and port.
    states: HashMap<(u32, u16), State>,
    news: Vec<News>,
    signals: u64,
}

/// Leaves with the bus.
#[derive(Debug)]
pub(crate) struct Watcher(Arc<Mutex<Heard>>);

impl Watcher {
    pub(crate) fn start(bus: String, targets: Vec<(String, String)>) -> Self {
        let heard = Arc::new(Mutex::new(Heard::default()));
        let shared = Arc::clone(&heard);
        thread::spawn(move || {
            // It ends with the bus: that is how each round of a benchmark ends, and nothing else may end it.
            if let Err(error) = zbus::block_on(listen(&bus, &targets, &shared)) {
                crate::say(&format!("the watcher has ended: {error}"));
            }
        });
        Self(heard)
    }

    /// How many are known to be up or down.
    pub(crate) fn known(&self) -> usize {
        self.heard().states.len()
    }

    pub(crate) fn up(&self) -> usize {
        self.heard().states.values().filter(|state| **state == State::Up).count()
    }

    /// HealthChanged signals so far.
    pub(crate) fn signals(&self) -> u64 {
        self.heard().signals
    }

    /// What was told since this was last asked.
    pub(crate) fn take_news(&self) -> Vec<News> {
        std::mem::take(&mut self.heard().news)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().expect("no panic while locked")
    }
}

async fn listen(bus: &str, targets: &[(String, String)], heard: &Mutex<Heard>) -> zbus::Result<()> {
    let connection = Builder::address(bus).method_timeout(Duration::from_secs(60)).build().await?;
    let signal = MatchRule::builder().msg_type(zbus::message::Type::Signal);
    let rule = signal.path(PATH).interface(INTERFACE).member("HealthChanged").build()?;
    let mut signals = MessageStream::for_match_rule(rule, &connection, NonZeroUsize::new(SIGNALS)).await?;
    take_in(heard, watch(&connection, targets).await?);
    while let Some(signal) = signals.next().await {
        let (_generation, rows): (u64, Vec<Row>) = signal?.body().deserialize()?;
        heard.lock().expect("no panic while locked").signals += 1;
        take_in(heard, rows);
    }
    Ok(())
}

/// As soon as checkd is on the bus.
async fn watch(connection: &Connection, targets: &[(String, String)]) -> zbus::Result<Vec<Row>> {
    loop {
        let answer = connection.call_method(Some(NAME), PATH, Some(INTERFACE), "Watch", &(targets,)).await;
        match answer {
            Ok(answer) => {
                let (_generation, rows): (u64, Vec<Row>) = answer.body().deserialize()?;
                return Ok(rows);
            }
            Err(error) if error.to_string().contains("ServiceUnknown") => pace(LOOK_AGAIN),
            Err(error) => return Err(error),
        }
    }
}

fn take_in(heard: &Mutex<Heard>, rows: Vec<Row>) {
    let at = monotonic();
    let mut heard = heard.lock().expect("no panic while locked");
    for (_check, address, state, ..) in rows {
        let state = match &*state {
            "up" => State::Up,
            "down" => State::Down,
            _ => continue,
        };
        let address: SocketAddrV4 = address.parse().expect("an address of the plan");
        let (server, port) = (plan::server(*address.ip()), address.port());
        heard.states.insert((server, port), state);
        heard.news.push(News { at, server, state });
    }
}
