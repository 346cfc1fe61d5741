//! Virtual MAC addresses (RFC 9568, 7.3): a macvlan on the router's interface has the virtual router's own MAC address,
//! and its addresses, so that no host has to learn anything when they move. Decided by trying it out:
//!
//! * Mode bridge. In mode private a frame that comes from our own MAC address, as the peer's advertisements do, goes to
//!   the macvlan alone when that is up, and to the interface alone when it is down. In mode bridge the interface hears
//!   every advertisement once, whoever is Active, and the macvlans of containers reach the addresses as well.
//! * Up while Active only: an interface that is up speaks (MLD, IGMP), and the switch would send us the Active's frames.
//! * Advertisements and announcements are whole frames from the interface with the virtual MAC as their source
//!   ([`frame`]): the first does not wait for the macvlan, and a switch learns the MAC from it.
//! * Its IPv4 settings are set through rtnetlink (/proc/sys may be read-only): it answers for its own addresses only,
//!   and a reverse path filter of `all` cannot be stricter than loose on it. The interface's own settings are not
//!   touched: that it neither answers ARP for the addresses nor asks in their name is `accept.rs`'s.

pub mod frame;
pub mod table;
pub mod traits;
pub mod worker;

use std::fmt;
use std::sync::Arc;

use crate::arp::MacAddress;
use crate::types::{Family, VirtualRouterId};

/// IFLA_GROUP of the links that we make, "TrVM": a link without it is not ours and is never touched. (An alias cannot
/// be given with the creation, and we may be killed right after it.)
pub const MARK: u32 = u32::from_be_bytes(*b"TrVM");

/// A router's virtual MAC address, as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vmac {
    /// Of the macvlan, at most 15 bytes.
    pub name: Arc<str>,
    pub mac: MacAddress,
    /// Advertisements have the interface's own MAC address (keepalived: `vmac_xmit_base`).
    pub advertise_from_parent: bool,
}

/// RFC 9568, 7.3: 00-00-5E-00-01-{VRID} for IPv4, 00-00-5E-00-02-{VRID} for IPv6.
pub fn virtual_mac(family: Family, vrid: VirtualRouterId) -> MacAddress {
    let of_family = match family {
        Family::V4 => 1,
        Family::V6 => 2,
    };
    [0, 0, 0x5e, 0, of_family, vrid.get()]
}

/// `vrrp.51`, `vrrp6.51`.
pub fn default_name(family: Family, vrid: VirtualRouterId) -> Arc<str> {
    match family {
        Family::V4 => format!("vrrp.{vrid}").into(),
        Family::V6 => format!("vrrp6.{vrid}").into(),
    }
}

/// Why a router has no virtual MAC address to work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A link of that name is not ours.
    Foreign,
    /// The kernel refuses it.
    Refused(String),
}

/// The end of the sentence "the virtual MAC interface vrrp.51 …".
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign => f.write_str(
                "is another interface, not made by vrrpd: remove it, or choose another name (vmac = { name = \"…\" })",
            ),
            Self::Refused(why) => write!(f, "cannot be made: {why}"),
        }
    }
}
