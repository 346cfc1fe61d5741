//! The wire form of IPVS: generic netlink family `IPVS`, version 1, as the kernel header linux/ip_vs.h defines it.
//!
//! Bytes in, meaning out, and back; no socket here (that is `kernel.rs`). Nothing that a datagram can hold makes this
//! panic.

mod attributes;
mod decode;
mod encode;

use std::net::SocketAddr;

use crate::sync::{Link, SyncChange, SyncState};
use crate::table::{Change, Connections, Server, Service, ServiceKey};
use crate::tuning::{Timeouts, TimeoutsFound};

/// `IPVS_GENL_NAME`
const FAMILY_NAME: &str = "IPVS";
/// `IPVS_GENL_VERSION`, and the version of the controller family.
const FAMILY_VERSION: u8 = 1;
/// `AF_INET` and `AF_INET6`, as the attributes carry them.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `struct nlmsghdr`
const HEADER_LENGTH: usize = 16;

/// `NLMSG_…` of linux/netlink.h
mod kind {
    pub(super) const ERROR: u16 = 2;
    pub(super) const DONE: u16 = 3;
}

/// `GENL_ID_CTRL`, `CTRL_CMD_…`, `CTRL_ATTR_…` of linux/genetlink.h
mod control {
    pub(super) const ID: u16 = 16;
    pub(super) const NEW_FAMILY: u8 = 1;
    pub(super) const GET_FAMILY: u8 = 3;
    pub(super) const FAMILY_ID: u16 = 1;
    pub(super) const FAMILY_NAME: u16 = 2;
}

/// `IPVS_CMD_…`
mod command {
    pub(super) const NEW_SERVICE: u8 = 1;
    pub(super) const SET_SERVICE: u8 = 2;
    pub(super) const DEL_SERVICE: u8 = 3;
    pub(super) const GET_SERVICE: u8 = 4;
    pub(super) const NEW_DEST: u8 = 5;
    pub(super) const SET_DEST: u8 = 6;
    pub(super) const DEL_DEST: u8 = 7;
    pub(super) const GET_DEST: u8 = 8;
    pub(super) const NEW_DAEMON: u8 = 9;
    pub(super) const DEL_DAEMON: u8 = 10;
    pub(super) const GET_DAEMON: u8 = 11;
    pub(super) const SET_CONFIG: u8 = 12;
    pub(super) const GET_CONFIG: u8 = 13;
    pub(super) const SET_INFO: u8 = 14;
    pub(super) const GET_INFO: u8 = 15;
}

/// `IPVS_CMD_ATTR_…` and `IPVS_INFO_ATTR_VERSION`
mod top {
    pub(super) const SERVICE: u16 = 1;
    pub(super) const DEST: u16 = 2;
    pub(super) const DAEMON: u16 = 3;
    pub(super) const INFO_VERSION: u16 = 1;
}

/// `IPVS_CMD_ATTR_TIMEOUT_…`
mod config {
    pub(super) const TCP: u16 = 4;
    pub(super) const TCP_FIN: u16 = 5;
    pub(super) const UDP: u16 = 6;
}

/// `IPVS_DAEMON_ATTR_…`
mod daemon {
    pub(super) const STATE: u16 = 1;
    pub(super) const MCAST_IFN: u16 = 2;
    pub(super) const SYNC_ID: u16 = 3;
    pub(super) const SYNC_MAXLEN: u16 = 4;
    pub(super) const MCAST_GROUP: u16 = 5;
    pub(super) const MCAST_GROUP6: u16 = 6;
    pub(super) const MCAST_PORT: u16 = 7;
    pub(super) const MCAST_TTL: u16 = 8;
}

/// `NLM_F_…` of linux/netlink.h
mod flag {
    pub(super) const REQUEST: u16 = 0x0001;
    pub(super) const ACK: u16 = 0x0004;
    pub(super) const DUMP: u16 = 0x0300;
}

/// `IPVS_SVC_ATTR_…`
mod svc {
    pub(super) const AF: u16 = 1;
    pub(super) const PROTOCOL: u16 = 2;
    pub(super) const ADDR: u16 = 3;
    pub(super) const PORT: u16 = 4;
    pub(super) const FWMARK: u16 = 5;
    pub(super) const SCHED_NAME: u16 = 6;
    pub(super) const FLAGS: u16 = 7;
    pub(super) const TIMEOUT: u16 = 8;
    pub(super) const NETMASK: u16 = 9;
    pub(super) const PE_NAME: u16 = 11;
}

/// `IPVS_DEST_ATTR_…`
mod dest {
    pub(super) const ADDR: u16 = 1;
    pub(super) const PORT: u16 = 2;
    pub(super) const FWD_METHOD: u16 = 3;
    pub(super) const WEIGHT: u16 = 4;
    pub(super) const U_THRESH: u16 = 5;
    pub(super) const L_THRESH: u16 = 6;
    pub(super) const ACTIVE_CONNS: u16 = 7;
    pub(super) const INACT_CONNS: u16 = 8;
    pub(super) const PERSIST_CONNS: u16 = 9;
    pub(super) const ADDR_FAMILY: u16 = 11;
    pub(super) const TUN_TYPE: u16 = 13;
    pub(super) const TUN_PORT: u16 = 14;
    pub(super) const TUN_FLAGS: u16 = 15;
}

/// A datagram that is not what the kernel sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// A message ends before its header says so, or its header is impossible.
    Framing,
    /// An attribute does not fit in the message that holds it.
    Attributes,
    /// An attribute that must be there is not, or is too short.
    Missing(&'static str),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Framing => f.write_str("a netlink message is truncated"),
            Self::Attributes => f.write_str("the attributes of a netlink message overlap its end"),
            Self::Missing(what) => write!(f, "a message about IPVS has no valid {what}"),
        }
    }
}

impl std::error::Error for WireError {}

/// What can be asked of the kernel.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// The number of the family `IPVS`; the only request that needs no number.
    Family,
    /// The version of IPVS.
    Info,
    /// All virtual services, as several answers.
    Services,
    /// All real servers of a service, as several answers; none if there is no such service.
    Servers(&'a ServiceKey),
    /// The synchronisation threads, as several answers.
    Daemons,
    /// The timeouts of connections.
    Timeouts,
    Change(&'a Change),
    SetSync(&'a SyncChange),
    SetTimeouts(&'a Timeouts),
}

/// One netlink message of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    kind: u16,
    pub sequence: u32,
    payload: &'a [u8],
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The number of the family `IPVS`.
    Family(u16),
    /// The version of IPVS, such as 1.2.1.
    Version(u8, u8, u8),
    Service(ServiceKey, Service),
    Server(SocketAddr, Server, Connections),
    Daemon(SyncState, Link),
    Timeouts(TimeoutsFound),
    /// The request of this number was done (0) or failed (the errno).
    Result(i32),
    /// The last message of several; an errno if the dump broke off.
    Done(i32),
    /// Nothing that we asked for.
    Ignored,
}

/// The messages of one datagram. Ends after the first broken one, since what follows cannot be found.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

#[cfg(test)]
mod tests;
