//! What the record of a former run means: which of its routers may go on as Active, and what is to be done with
//! addresses when a run has ended. Pure; `record.rs` writes the file.
//!
//! A router goes on only as long as no Backup can have taken over, so that two routers are never Active by our doing.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::RouterConfig;
use crate::lease::Fate;
use crate::record::{self, PRECISION, TITLE};
use crate::router::settings::Settings;
use crate::types::{Centiseconds, Family, Priority, Version, VirtualAddress};

/// After more crashes than this within [`CRASHES_WITHIN`], routers begin as Backups: an Active that lives for moments
/// only would keep a sound Backup from taking over.
pub const CRASHES: usize = 3;
const CRASHES_WITHIN: Duration = Duration::from_secs(60);
/// The interval that the last advertisement of a daemon that is about to be replaced carries, where version 3 lets it
/// say so and the router's own is shorter: Backups adopt it (RFC 9568, 6.4.2), and wait three times as long.
const HAND_OVER_INTERVAL: Centiseconds = Centiseconds(100);

/// A run of the daemon, as the next one finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Past {
    /// The kernel's boot id; `-` where it cannot be read. (Then it is the tmpfs that no reboot survives.)
    pub boot: String,
    /// When it was last alive, CLOCK_BOOTTIME.
    pub alive: Duration,
    /// It ended to be followed at once by another, and told the Backups to wait.
    pub handed_over: bool,
    /// When routers went on as Active after a crash, CLOCK_BOOTTIME; the last [`CRASHES`] times.
    pub resumed: Vec<Duration>,
    pub routers: Vec<Held>,
}

/// A router, and what it holds while it is Active.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub name: String,
    pub active: bool,
    /// When the state was entered, microseconds of CLOCK_REALTIME.
    pub since: u64,
    /// So long after the last sign of life no Backup can have taken over.
    pub safe: Duration,
    pub interface: Arc<str>,
    pub family: Family,
    pub vrid: u8,
    pub version: u8,
    pub addresses: Vec<VirtualAddress>,
}

impl Held {
    pub fn new(name: &str, config: &RouterConfig, active: bool, since: u64) -> Self {
        // The last advertisement may have been sent a whole interval before the last sign of life.
        let uncertain = config.settings.advert_interval.duration() + PRECISION;
        let safe =
            earliest_takeover(&config.settings, config.settings.advert_interval).saturating_sub(uncertain);
        Self {
            name: name.to_owned(),
            active,
            since,
            safe,
            interface: Arc::clone(&config.interface),
            family: config.family,
            vrid: config.vrid.get(),
            version: config.settings.version.number(),
            addresses: config.settings.held().cloned().collect(),
        }
    }

    /// Its last advertisement has just been sent, and said [`hand_over_interval`].
    pub fn handed_over(self, settings: &Settings) -> Self {
        Self { safe: earliest_takeover(settings, hand_over_interval(settings)), ..self }
    }

    /// Whether it is the same router of the same group as one that is configured.
    pub fn is(&self, name: &str, config: &RouterConfig) -> bool {
        self.name == name
            && (&self.interface, self.family) == (&config.interface, config.family)
            && (self.vrid, self.version) == (config.vrid.get(), config.settings.version.number())
    }
}

/// The interval that the last advertisement before a restart carries.
pub fn hand_over_interval(settings: &Settings) -> Centiseconds {
    match settings.version {
        // Another interval than its own is an error there (RFC 3768, 7.1); and it is a second at least.
        Version::V2 => settings.advert_interval,
        Version::V3 => settings.advert_interval.max(HAND_OVER_INTERVAL),
    }
}

/// How long after an advertisement the best possible Backup takes over: Active_Down_Interval of the highest priority
/// that is not the owner's, who does not wait at all.
fn earliest_takeover(settings: &Settings, interval: Centiseconds) -> Duration {
    settings.active_down_interval(Priority(Priority::OWNER.0 - 1), interval)
}

impl Past {
    /// The record below `root`; `None`: there is none.
    ///
    /// # Errors
    /// It cannot be read, or it is not what a vrrpd of this version writes: it is to be ignored.
    pub fn read(root: &Path) -> io::Result<Option<Self>> {
        let text = match std::fs::read_to_string(record::path(root)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged =
            |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("not understood: {line:?}"));
        parse(&text).map(Some).map_err(damaged)
    }

    /// The routers that may go on as Active, and for how long nobody can take over yet.
    pub fn resumable(&self, boot: &str, now: Duration) -> Vec<(&Held, Duration)> {
        let (true, Some(silence)) = (self.boot == boot, now.checked_sub(self.alive)) else {
            return Vec::new();
        };
        if !self.handed_over && self.crashes(now).count() >= CRASHES {
            return Vec::new();
        }
        let active = self.routers.iter().filter(|router| router.active);
        let left = |router| -> Option<(&Held, Duration)> { Some((router, Held::safe_for(router, silence)?)) };
        active.filter_map(left).collect()
    }

    /// How long which address may stay without a daemon.
    pub fn leases(&self, boot: &str, now: Duration) -> BTreeMap<VirtualAddress, Fate> {
        let resumable = self.resumable(boot, now).into_iter();
        let lease = |left| move |address: &VirtualAddress| (address.clone(), Fate::Lease(left));
        resumable.flat_map(|(held, left)| held.addresses.iter().map(lease(left))).collect()
    }

    /// When routers went on after a crash, as far as it matters at `now`.
    pub fn crashes(&self, now: Duration) -> impl Iterator<Item = Duration> + '_ {
        let recent = move |at: &Duration| now.saturating_sub(*at) < CRASHES_WITHIN;
        self.resumed.iter().copied().filter(recent)
    }
}

impl Held {
    fn safe_for(&self, silence: Duration) -> Option<Duration> {
        self.safe.checked_sub(silence).filter(|left| !left.is_zero())
    }
}

/// The kernel's id of this boot, or `-`: in a unit with ProcSubset=pid it cannot be read.
pub fn boot_id() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("-").to_owned()
}

/// `Err`: the first line that cannot be understood.
fn parse(text: &str) -> Result<Past, &str> {
    let mut lines = text.lines();
    let mut next = || lines.next().unwrap_or_default();
    let title = next();
    if title != TITLE {
        return Err(title);
    }
    let line = next();
    let boot = line.strip_prefix("boot ").ok_or(line)?.to_owned();
    let line = next();
    let alive = line.strip_prefix("alive ").and_then(nanoseconds).ok_or(line)?;
    let mut past = Past { boot, alive, handed_over: false, resumed: Vec::new(), routers: Vec::new() };
    loop {
        let line = next();
        match line.split_once(' ') {
            None if line == "end" => return Ok(past),
            Some(("handed", "over")) => past.handed_over = true,
            Some(("resumed", at)) => past.resumed.push(nanoseconds(at).ok_or(line)?),
            Some(("router", router)) => past.routers.push(held(router).ok_or(line)?),
            Some(_) | None => return Err(line),
        }
    }
}

fn nanoseconds(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_nanos)
}

fn held(text: &str) -> Option<Held> {
    let (facts, name) = text.split_once(" = ")?;
    let mut words = facts.split(' ');
    let active = match words.next()? {
        "+" => true,
        "-" => false,
        _ => return None,
    };
    let since = words.next()?.parse().ok()?;
    let safe = Duration::from_micros(words.next()?.parse().ok()?);
    let interface = Arc::from(words.next()?);
    let family = match words.next()? {
        "IPv4" => Family::V4,
        "IPv6" => Family::V6,
        _ => return None,
    };
    let (vrid, version) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let addresses = words.map(address).collect::<Option<_>>()?;
    Some(Held { name: name.to_owned(), active, since, safe, interface, family, vrid, version, addresses })
}

/// `eth1:192.168.100.10/22`: no interface has a colon in its name.
fn address(text: &str) -> Option<VirtualAddress> {
    let (interface, address) = text.split_once(':')?;
    let (address, prefix_len) = address.split_once('/')?;
    let (address, prefix_len): (IpAddr, u8) = (address.parse().ok()?, prefix_len.parse().ok()?);
    Some(VirtualAddress { interface: Arc::from(interface), address, prefix_len })
}

/// How a run has ended, in the words of systemd ($SERVICE_RESULT, $EXIT_CODE and $EXIT_STATUS, systemd.exec(5)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nobody says: somebody wants everything to be removed.
    Unknown,
    /// In order: it was told to stop, or to make room for the next.
    Clean,
    /// It crashed, and systemd is about to start it again.
    Crash(String),
    /// It hung, could not be started, or cannot be: it does not come back in time.
    Gone(String),
}

impl Ending {
    /// From the environment of ExecStopPost=.
    pub fn of(result: Option<&str>, status: Option<&str>) -> Self {
        let status = status.unwrap_or_default();
        let Some(result) = result else { return Self::Unknown };
        // systemd's own statuses: it could not even execute the program.
        let not_executed = |number: u8| number >= 200;
        let said = || format!("{result} {status}").trim_end().to_owned();
        match result {
            "success" => Self::Clean,
            "signal" | "core-dump" | "oom-kill" => Self::Crash(said()),
            "exit-code" => match status.parse() {
                Ok(daemon::cli::EXIT_CONFIG | daemon::cli::EXIT_USAGE) => Self::Gone(said()),
                Ok(number) if not_executed(number) => Self::Gone(said()),
                Ok(_) | Err(_) => Self::Crash(said()),
            },
            // watchdog, timeout, protocol, resources, start-limit-hit, and what later versions may add.
            _ => Self::Gone(said()),
        }
    }

    /// Whether routers that may go on as Active are to keep their addresses for the next run.
    pub fn keeps(&self, past: &Past) -> bool {
        match self {
            Self::Unknown | Self::Gone(_) => false,
            Self::Clean => past.handed_over,
            Self::Crash(_) => true,
        }
    }
}

/// `after a crash (signal KILL)`
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("as asked"),
            Self::Clean => f.write_str("after its end"),
            Self::Crash(how) => write!(f, "after a crash ({how})"),
            Self::Gone(how) => write!(f, "after its end ({how})"),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
