//! Addresses that outlive the daemon that added them: kept for the next one, for seconds only, or removed.
//!
//! What is kept gets a finite lifetime, and the kernel itself removes it when nobody comes to renew it: whether the
//! next vrrpd is missing, refuses its configuration, is not started any more or systemd itself is stuck, no address
//! is left behind. (All the time it would be a nuisance: every renewal is an event for whoever listens to addresses,
//! and a daemon that is late with it would lose what it holds.)

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::join_all;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use netlink_packet_route::link::LinkAttribute;
use rtnetlink::Handle;

use crate::interfaces::OUR_TAG;
use crate::types::VirtualAddress;

/// A lifetime that does not end (INFINITY_LIFE_TIME, linux/if_addr.h).
const FOREVER: u32 = u32::MAX;

/// What is to become of an address with our tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Remove,
    /// Until somebody removes it.
    Stay,
    /// For so long. The kernel counts whole seconds, and looks about once a second.
    Lease(Duration),
}

impl Fate {
    /// Seconds; at least one: the kernel refuses none.
    fn lifetime(self) -> u32 {
        match self {
            Self::Remove | Self::Stay => FOREVER,
            Self::Lease(time) => u32::try_from(time.as_secs()).unwrap_or(FOREVER - 1).max(1),
        }
    }
}

/// Give each address with our tag, on whichever interface, its fate. Blocks until the kernel has done it: milliseconds.
/// Returns what was done.
///
/// # Errors
/// If the kernel refuses to list them, or one of them its fate; the others have theirs nevertheless.
pub fn settle(fate: impl Fn(&VirtualAddress) -> Fate) -> io::Result<Vec<(VirtualAddress, Fate)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(async {
        let (connection, handle, _messages) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let (held, others) = held(&handle).await.map_err(io::Error::other)?;
        let mut company = Vec::new();
        let requests = held.into_iter().map(|(address, message)| {
            let fate = fate(&address);
            if fate == Fate::Remove {
                company.extend(others.iter().filter(|other| goes_with(other, &message)).cloned());
            }
            let handle = &handle;
            async move { carry_out(handle, message, address.address, fate).await.map(|()| (address, fate)) }
        });
        let done = join_all(requests).await;
        join_all(company.into_iter().map(|message| put_back(&handle, message))).await;
        done.into_iter().collect()
    })
}

/// Whether the kernel may take the secondary address `other` along when it removes a primary one: it does with the sysctl
/// promote_secondaries at 0.
fn goes_with(other: &AddressMessage, removed: &AddressMessage) -> bool {
    let prefix_len = removed.header.prefix_len;
    let host_bits = 32_u32.saturating_sub(u32::from(prefix_len));
    let subnet = |message| match local(message) {
        Some(IpAddr::V4(address)) => Some(address.to_bits().checked_shr(host_bits)),
        Some(IpAddr::V6(_)) | None => None,
    };
    (other.header.index, other.header.prefix_len) == (removed.header.index, prefix_len)
        && !is_secondary(removed)
        && subnet(other).is_some_and(|of| Some(of) == subnet(removed))
}

/// An address that is not ours, exactly as it was. That it was not taken along is the rule, and no error.
async fn put_back(handle: &Handle, message: AddressMessage) {
    let Some(address) = local(&message) else { return };
    let mut again = handle.address().add(message.header.index, address, message.header.prefix_len);
    *again.message_mut() = message;
    let _ = again.execute().await;
}

/// Every address with our tag, and how the kernel describes it; and the secondary ones of others.
type Held = (Vec<(VirtualAddress, AddressMessage)>, Vec<AddressMessage>);

async fn held(handle: &Handle) -> Result<Held, rtnetlink::Error> {
    let mut names = BTreeMap::new();
    let mut links = handle.link().get().execute();
    while let Some(link) = links.try_next().await? {
        for attribute in link.attributes {
            if let LinkAttribute::IfName(name) = attribute {
                names.insert(link.header.index, Arc::<str>::from(name));
            }
        }
    }
    let messages: Vec<AddressMessage> = handle.address().get().execute().try_collect().await?;
    let tag = AddressAttribute::Protocol(AddressProtocol::Other(OUR_TAG));
    let (ours, others): (Vec<_>, Vec<_>) =
        messages.into_iter().partition(|message| message.attributes.contains(&tag));
    let ours = ours.into_iter().filter_map(|message| {
        let interface = Arc::clone(names.get(&message.header.index)?);
        let address = local(&message)?;
        let prefix_len = message.header.prefix_len;
        Some((VirtualAddress { interface, address, prefix_len }, message))
    });
    Ok((ours.collect(), others.into_iter().filter(is_secondary).collect()))
}

/// IPv4: another address of its subnet came first. (In IPv6 the bit says that it is temporary; nothing goes with that.)
fn is_secondary(message: &AddressMessage) -> bool {
    message.attributes.iter().any(
        |attribute| matches!(attribute, AddressAttribute::Flags(flags) if flags.contains(AddressFlags::Secondary)),
    )
}

/// On a point-to-point link IFA_ADDRESS is the peer's.
fn local(message: &AddressMessage) -> Option<IpAddr> {
    let mut address = None;
    for attribute in &message.attributes {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's attributes, not ours")]
        match attribute {
            AddressAttribute::Local(value) => return Some(*value),
            AddressAttribute::Address(value) => address = Some(*value),
            _ => {}
        }
    }
    address
}

async fn carry_out(handle: &Handle, message: AddressMessage, address: IpAddr, fate: Fate) -> io::Result<()> {
    let result = match fate {
        Fate::Remove => handle.address().del(message).execute().await,
        Fate::Stay | Fate::Lease(_) => {
            let mut again =
                handle.address().add(message.header.index, address, message.header.prefix_len).replace();
            *again.message_mut() = with_lifetime(message, fate.lifetime());
            again.execute().await
        }
    };
    let Err(error) = result else { return Ok(()) };
    let rtnetlink::Error::NetlinkError(message) = error else { return Err(io::Error::other(error)) };
    let error = message.to_io();
    // Gone by itself, or with its link.
    let gone = [nix::libc::EADDRNOTAVAIL, nix::libc::ENODEV].map(Some).contains(&error.raw_os_error());
    if gone { Ok(()) } else { Err(error) }
}

/// The same address; one that is not to be preferred as a source (preferred lifetime 0) stays so.
fn with_lifetime(mut message: AddressMessage, seconds: u32) -> AddressMessage {
    let mut preferred = seconds;
    message.attributes.retain(|attribute| {
        let AddressAttribute::CacheInfo(former) = attribute else { return true };
        if former.ifa_preferred == 0 {
            preferred = 0;
        }
        false
    });
    let mut lifetime = CacheInfo::default();
    (lifetime.ifa_valid, lifetime.ifa_preferred) = (seconds, preferred);
    message.attributes.push(AddressAttribute::CacheInfo(lifetime));
    message
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Command;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    fn sh(script: &str) -> String {
        let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// One line for each address, with its lifetimes; without the machine's own.
    fn addresses() -> String {
        sh("ip -o address show dev lo | grep -v ' 127.0.0.1/8 \\| ::1/128 ' | tr -s ' \\\\' ' ' || true")
    }

    fn add(address: &str, prefix_len: u8, options: AddressMessage) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, handle, _messages) = rtnetlink::new_connection().unwrap();
            tokio::spawn(connection);
            let mut add = handle.address().add(1, address.parse().unwrap(), prefix_len);
            add.message_mut().attributes.extend(options.attributes);
            add.execute().await.unwrap();
        });
    }

    fn ours() -> AddressMessage {
        let mut message = AddressMessage::default();
        message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(OUR_TAG)));
        message
    }

    #[test]
    fn what_is_ours_is_leased_renewed_and_removed_and_what_is_not_is_not_touched() {
        // Of this thread only.
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            let _ = writeln!(io::stderr(), "LEFT OUT (leases): a network namespace needs root");
            return;
        }
        sh("ip link set lo up && ip address add 10.0.0.1/24 dev lo");
        add("10.0.0.50", 24, ours());
        add("10.0.0.51", 24, ours());
        let mut quiet = ours();
        let mut lifetime = CacheInfo::default();
        (lifetime.ifa_valid, lifetime.ifa_preferred) = (FOREVER, 0);
        quiet.attributes.push(AddressAttribute::CacheInfo(lifetime));
        quiet.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        add("fd00::50", 64, quiet);
        let before = addresses();

        let done = settle(|address| {
            if address.address == IpAddr::from([10, 0, 0, 51]) {
                Fate::Remove
            } else {
                Fate::Lease(Duration::from_secs(300))
            }
        });
        assert_eq!(done.unwrap().len(), 3);
        let leased = addresses();
        let line =
            |address: &str| leased.lines().find(|line| line.contains(address)).unwrap_or_default().to_owned();
        assert!(line("10.0.0.50/24").contains(" valid_lft 300sec preferred_lft 300sec"), "{leased}");
        assert!(line("fd00::50/64").contains(" valid_lft 300sec preferred_lft 0sec"), "{leased}");
        assert!(line("10.0.0.1/24").contains(" valid_lft forever preferred_lft forever"), "{leased}");
        assert!(!leased.contains("10.0.0.51"), "{leased}");

        settle(|_| Fate::Stay).unwrap();
        let without: String =
            before.lines().filter(|line| !line.contains(".51")).map(|line| format!("{line}\n")).collect();
        assert_eq!(addresses(), without, "as if nothing had been");

        settle(|_| Fate::Remove).unwrap();
        assert!(addresses().lines().all(|line| line.contains("10.0.0.1/24")), "{}", addresses());
    }
    #[test]
    fn what_the_kernel_takes_along_with_an_address_of_ours_is_put_back_if_it_is_not_ours() {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            let _ = writeln!(io::stderr(), "LEFT OUT (leases): a network namespace needs root");
            return;
        }
        sh(
            "ip link set lo up && sysctl -q net.ipv4.conf.all.promote_secondaries=0 net.ipv4.conf.lo.promote_secondaries=0",
        );
        add("10.0.0.50", 24, ours());
        sh("ip address add 10.0.0.1/24 dev lo label lo:own && ip address add 10.0.1.1/24 dev lo");
        add("10.0.0.51", 24, ours());
        settle(
            |address| {
                if address.address == IpAddr::from([10, 0, 0, 50]) { Fate::Remove } else { Fate::Stay }
            },
        )
        .unwrap();
        let left = addresses();
        for there in ["10.0.0.1/24 scope global secondary lo:own", "10.0.1.1/24", "10.0.0.51/24"] {
            assert!(left.contains(there), "{there} is not in\n{left}");
        }
        assert!(!left.contains("10.0.0.50/24"), "{left}");
    }
}
