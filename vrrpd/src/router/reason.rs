//! Why a router is in the state in which it is: the answer to an operator who asks the object itself.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use daemon::units::format_duration;

use crate::types::{Family, Priority};
use crate::vmac::Trouble;

/// Why a router cannot take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    Missing(Arc<str>),
    Down(Arc<str>),
    NoCarrier(Arc<str>),
    /// No address of the family to send from.
    NoAddress(Arc<str>, Family),
    /// IPv6: its link-local address may not be used before the kernel knows that nobody else has it.
    Tentative(Arc<str>, IpAddr),
    /// IPv6: another machine has the same link-local address.
    Duplicate(Arc<str>, IpAddr),
    /// No interface has the address from which unicast peers are sent to.
    NoSource(IpAddr),
    /// IPv6 unicast: no address that peers beyond the link can answer.
    NoGlobalAddress(Arc<str>),
    /// The interface is there, but its socket could not be opened.
    Socket(Arc<str>, String),
    /// Its virtual MAC interface is not there.
    Vmac(Arc<str>, Trouble),
    /// The nftables rules that it needs are not in force.
    Rules(String),
    /// What it tracks, and in which way that is down.
    Tracked(Arc<str>, String),
    /// Nothing was heard yet of this, which it tracks.
    Untold(Arc<str>),
    /// An operator took it out of service.
    Maintenance {
        by: String,
        why: String,
    },
    /// A member of its sync group cannot take part: its name, and why.
    Group(Arc<str>, String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "interface {name} does not exist"),
            Self::Down(name) => write!(f, "interface {name} is down"),
            Self::NoCarrier(name) => write!(f, "interface {name} has no carrier"),
            Self::NoAddress(name, Family::V4) => {
                write!(f, "interface {name} has no IPv4 address of its own to send advertisements from")
            }
            Self::NoAddress(name, Family::V6) => write!(
                f,
                "interface {name} has no IPv6 link-local address to send advertisements from; is IPv6 disabled there?"
            ),
            Self::Tentative(name, address) => {
                write!(f, "waiting for duplicate address detection of {address} on interface {name}")
            }
            Self::Duplicate(name, address) => write!(
                f,
                "another machine has {address}, the link-local address of interface {name}: the kernel does not use it"
            ),
            Self::Tracked(what, why) => write!(f, "{what} {why}"),
            Self::Untold(what) => write!(f, "waiting to hear of {what}, which it tracks"),
            Self::Maintenance { by, why } if why.is_empty() => write!(f, "in maintenance by order of {by}"),
            Self::Maintenance { by, why } => write!(f, "in maintenance by order of {by}: {why}"),
            Self::Group(member, why) => write!(f, "{member} of the same sync group cannot take part: {why}"),
            Self::NoSource(address) => write!(
                f,
                "this machine does not have {address}, the source of its unicast advertisements (key 'source')"
            ),
            Self::NoGlobalAddress(name) => write!(
                f,
                "interface {name} has no global IPv6 address, and its unicast peers are beyond the link (key 'source')"
            ),
            Self::Vmac(name, trouble) => write!(f, "the virtual MAC interface {name} {trouble}"),
            Self::Rules(why) => write!(f, "its nftables rules are not in force: {why}"),
            Self::Socket(name, error) => write!(f, "no VRRP socket on interface {name}: {error}"),
        }
    }
}

/// What brought a router into its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    Starting,
    Stopped,
    Fault(Fault),
    /// Initialize: it could take part, and is told to wait.
    StartupDelay(Duration),
    /// Backup: listening whether somebody is Active.
    Listening(Duration),
    /// Active from the start.
    Owner,
    /// Active: it was, so long ago, when the daemon was restarted.
    Resumed(Duration),
    /// Active: nobody was heard for so long.
    Silence {
        last_peer: Option<IpAddr>,
        interval: Duration,
    },
    /// Active: the Active router gave up with priority 0.
    Released(IpAddr),
    /// Active: the Active router has a lower priority than ours.
    Preempted {
        peer: IpAddr,
        priority: Priority,
    },
    /// Backup: another has a higher priority.
    Higher {
        peer: IpAddr,
        priority: Priority,
    },
    /// Backup: another has the same priority and the higher address.
    Tie(IpAddr),
    /// Backup: this member of the sync group left the Active state.
    Group(Arc<str>),
    /// Backup: we were silent for so long that another must have taken over.
    Late(Duration),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Stopped => f.write_str("stopped"),
            Self::Fault(fault) => fault.fmt(f),
            Self::StartupDelay(delay) => {
                write!(f, "waiting for {} before it takes part (startup_delay)", format_duration(*delay))
            }
            Self::Listening(interval) => {
                write!(f, "started, listening for an Active router for {}", format_duration(*interval))
            }
            Self::Resumed(silence) => {
                write!(f, "goes on as Active: the daemon was restarted within {}", format_duration(*silence))
            }
            Self::Owner => f.write_str("owns the addresses (priority 255)"),
            Self::Silence { last_peer: Some(peer), interval } => {
                write!(f, "no advertisement from {peer} for {}", format_duration(*interval))
            }
            Self::Silence { last_peer: None, interval } => {
                write!(f, "no Active router was heard for {}", format_duration(*interval))
            }
            Self::Released(peer) => write!(f, "{peer} gave up (priority 0)"),
            Self::Preempted { peer, priority } => {
                write!(f, "preempted {peer}, which has priority {priority}")
            }
            Self::Higher { peer, priority } => write!(f, "{peer} has the higher priority {priority}"),
            Self::Tie(peer) => write!(f, "{peer} has the same priority and the higher address"),
            Self::Group(member) => {
                write!(f, "{member} of the same sync group is not Active any more, and they move together")
            }
            Self::Late(silence) => {
                let silence = format_duration(*silence);
                write!(f, "could not run for {silence}: another router must have taken over")
            }
        }
    }
}
