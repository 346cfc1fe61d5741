//! What goes into a router's state machine and what comes out of it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::reason::Fault;
use super::settings::Settings;
use crate::types::{Centiseconds, Priority, VirtualAddress};

/// What a router hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Its interfaces are usable; `source` is the primary address. The first one is the RFC's Startup.
    Ready {
        source: IpAddr,
    },
    /// As `Ready`, the first one, of a router that was Active `silence` ago in a former run of the daemon, and whose
    /// place nobody can have taken meanwhile.
    Resume {
        source: IpAddr,
        silence: Duration,
    },
    /// It cannot take part.
    Fault(Fault),
    /// A deadline has come, or might have.
    Timer,
    /// An advertisement that passed all checks.
    Advertisement {
        from: IpAddr,
        priority: Priority,
        interval: Centiseconds,
    },
    /// The kernel has an address that we asked for (again).
    Installed(VirtualAddress),
    /// The kernel lost an address that it had.
    Lost(VirtualAddress),
    /// What is tracked makes the effective priority this. An owner's (255) never changes.
    Priority(Priority),
    /// The configuration changed; a changed priority moves the effective one as far, until the next
    /// [`Event::Priority`].
    Reconfigure(Settings),
    /// The operator wants the addresses announced.
    Announce,
    /// Its sync group may become Active, all together.
    Permit,
    /// A member of its sync group, named here, left the Active state: all do.
    Yield(Arc<str>),
    Shutdown,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    SendAdvertisement(Priority),
    /// Have all addresses of the settings; each is answered by [`Event::Installed`].
    InstallAddresses,
    RemoveAddresses,
    /// Fetch frames with [`Router::next_announcement`](super::Router::next_announcement), at any pace, until there is none.
    Announce,
    /// For the log and the bus; the new state and reason can be read from the router.
    Transition {
        from: StateName,
    },
    Report(Report),
}

/// What an operator should know, and what changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// Two Actives: another one was heard that must yield to us.
    Conflict { peer: IpAddr, priority: Priority },
    /// An advertisement with our own source address and priority: looped, or the address is used twice.
    OwnAddress,
    /// Version 3: the Active router has another interval than ours; we follow it.
    IntervalLearned { peer: IpAddr, theirs: Centiseconds },
    /// Another router says that it owns the addresses as well (section 8.3.2).
    SecondOwner(IpAddr),
}

/// The state without what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateName {
    Initialize,
    Fault,
    Backup,
    Active,
}

impl StateName {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "Initialize",
            Self::Fault => "Fault",
            Self::Backup => "Backup",
            Self::Active => "Active",
        }
    }
}
