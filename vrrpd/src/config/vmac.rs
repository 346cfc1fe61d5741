//! The keys `vmac` and `accept`: `vmac = true`, or `vmac = { name = "vrrp.51", advertise_from_parent = true }`.

use std::collections::BTreeMap;
use std::sync::Arc;

use daemon::diagnostic::Location;
use daemon::document::{Kind, Table};
use daemon::reader::{Located, Reader};

use super::virtual_address::Addresses;
use crate::arp::MacAddress;
use crate::interfaces::Interfaces;
use crate::types::{Family, Priority, VirtualRouterId};
use crate::vmac::{Vmac, default_name, virtual_mac};

const EXAMPLE: &str = "vmac = true, or vmac = { name = \"vrrp.51\" }";
const OTHER_KEYS: &[(&str, &str)] = &[
    ("use_vmac", "keepalived's use_vmac NAME is vmac = { name = \"NAME\" } here"),
    ("vmac_xmit_base", "keepalived's vmac_xmit_base is advertise_from_parent = true here"),
    ("mac", "write address = \"00:00:5e:00:01:33\""),
];

/// The subnet stays reached through the router's interface, if that has an address of it, whichever of the two came
/// first: a greater metric than anybody's.
const PREFIX_ROUTE_METRIC: u32 = 1_000_000;

/// The router that has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Of<'a> {
    pub(super) interface: &'a str,
    pub(super) family: Family,
    pub(super) vrid: VirtualRouterId,
    /// It has peers of its own instead of the multicast group.
    pub(super) unicast: bool,
}

/// `names` has every macvlan of all files so far.
pub(super) fn read(
    reader: &mut Reader<'_>,
    of: Option<Of<'_>>,
    names: &mut BTreeMap<Arc<str>, Location>,
    present: Option<&Interfaces>,
) -> Option<Vmac> {
    let value = reader.value("vmac")?;
    let report = reader.report();
    let wanted = match &value.kind {
        Kind::Boolean(false) => return None,
        Kind::Boolean(true) => Wanted::default(),
        Kind::Table(table) => Wanted::read(table, reader),
        Kind::String(_) | Kind::Integer(_) | Kind::Float(_) | Kind::Datetime(_) | Kind::Array(_) => {
            let message = format!("'vmac' must be true, false or a table, not {}", value.kind.describe());
            report.error(&value.at, message).hint(EXAMPLE);
            return None;
        }
    };
    let of = of?;
    let name = wanted
        .name
        .unwrap_or_else(|| Located { value: default_name(of.family, of.vrid), at: value.at.clone() });
    check_name(&name, of, names, present, reader);
    names.insert(Arc::clone(&name.value), name.at);
    if of.unicast
        && let Some(given) = wanted.advertise_from_parent.as_ref().filter(|given| !given.value)
    {
        let message = "unicast advertisements always leave with the interface's own MAC address";
        reader.report().error(&given.at, message).hint("leave 'advertise_from_parent' out");
    }
    let advertise_from_parent = of.unicast || wanted.advertise_from_parent.is_some_and(|given| given.value);
    let mac = wanted.mac.unwrap_or_else(|| virtual_mac(of.family, of.vrid));
    Some(Vmac { name: name.value, mac, advertise_from_parent })
}

/// A name clash would make two routers fight for one link.
fn check_name(
    name: &Located<Arc<str>>,
    of: Of<'_>,
    names: &BTreeMap<Arc<str>, Location>,
    present: Option<&Interfaces>,
    reader: &mut Reader<'_>,
) {
    let report = reader.report();
    let hint = "choose another: vmac = { name = \"vrrp.lan\" }";
    if let Some(first) = names.get(&name.value) {
        let message = format!("the virtual MAC interface {} is used twice", name.value);
        report.error(&name.at, message).hint(format!("the other is at {first}; {hint}"));
    } else if *name.value == *of.interface {
        let message =
            format!("{} is the router's own interface, not a name for its virtual MAC interface", name.value);
        report.error(&name.at, message).hint(hint);
    } else if present.and_then(|present| present.by_name(&name.value)).is_some_and(|link| !link.traits.ours) {
        let message =
            format!("interface {} exists, and was not made by vrrpd: it will not be touched", name.value);
        report
            .warning(&name.at, message)
            .hint(format!("the router stays in the state Fault until it is gone; or {hint}"));
    }
}

/// The table.
#[derive(Default)]
struct Wanted {
    name: Option<Located<Arc<str>>>,
    mac: Option<MacAddress>,
    advertise_from_parent: Option<Located<bool>>,
}

impl Wanted {
    fn read(table: &Table, reader: &mut Reader<'_>) -> Self {
        let mut reader = Reader::new(table, reader.report());
        let name = reader.parse("name", link_name);
        let mac = reader.parse("address", mac_address).map(|mac| mac.value);
        let advertise_from_parent = reader.boolean("advertise_from_parent");
        reader.finish(OTHER_KEYS);
        Self { name, mac, advertise_from_parent }
    }
}

/// Plain enough for nft as well, where `*` and `"` mean something. The end of the sentence "'name' is …" otherwise.
fn link_name(name: &str) -> Result<Arc<str>, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.len() > 15 {
        return Err(format!("longer than the 15 bytes that the kernel allows: \"{name}\""));
    }
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(format!(
            "not a name for a network interface (letters, digits, '.', '_', '-'): \"{name}\""
        ));
    }
    Ok(Arc::from(name))
}

/// The end of the sentence "'address' is …" otherwise.
fn mac_address(text: &str) -> Result<MacAddress, String> {
    let wrong = || format!("not a MAC address such as \"00:00:5e:00:01:33\": \"{text}\"");
    let bytes: Vec<u8> = text
        .split([':', '-'])
        .map(|part| u8::from_str_radix(part, 16).ok().filter(|_| part.len() == 2 && !part.starts_with('+')))
        .collect::<Option<_>>()
        .ok_or_else(wrong)?;
    let mac = MacAddress::try_from(bytes).map_err(|_| wrong())?;
    if mac[0] & 1 == 1 || mac == [0; 6] {
        return Err(format!("not the MAC address of one station: \"{text}\""));
    }
    Ok(mac)
}

/// The key `accept`; true without it, as in keepalived (RFC 9568's Accept_Mode is false by default, and whoever pings a
/// virtual address wonders).
pub(super) fn read_accept(reader: &mut Reader<'_>, interface: Option<&str>, priority: Priority) -> bool {
    let Some(accept) = reader.boolean("accept") else { return true };
    if accept.value {
        return true;
    }
    if priority == Priority::OWNER {
        let message = "a router of priority 255 owns its addresses and accepts what is sent to them";
        reader.report().warning(&accept.at, message).hint("'accept' changes nothing here");
        return true;
    }
    if interface.is_some_and(|name| link_name(name).is_err()) {
        let message =
            "accept = false needs an interface whose name nft can read (letters, digits, '.', '_', '-')";
        reader.report().error(&accept.at, message);
    }
    false
}

/// The addresses of the router's interface are on its virtual MAC interface, if it has one; those of others stay.
pub(super) fn place(
    addresses: Option<Addresses>,
    interface: Option<&Arc<str>>,
    vmac: Option<&Vmac>,
) -> Option<Addresses> {
    let mut addresses = addresses?;
    for address in addresses.advertised.iter_mut().chain(&mut addresses.excluded) {
        if let Some(vmac) = vmac
            && Some(&address.interface) == interface
        {
            address.interface = Arc::clone(&vmac.name);
            let options = addresses.options.entry(address.address).or_default();
            Arc::make_mut(options).metric = Some(PREFIX_ROUTE_METRIC);
        }
    }
    Some(addresses)
}

#[cfg(test)]
mod tests {
    use daemon::diagnostic::Report;
    use daemon::testing::TempRoot;

    use crate::config::{Configuration, load};

    /// The configuration of routers `a`, `b` and so on, and all diagnostics.
    fn read(files: &[&str]) -> (Configuration, String) {
        let root = TempRoot::new();
        for (name, text) in ["a", "b"].iter().zip(files) {
            root.write(&format!("etc/trivet/vrrp.d/{name}.toml"), text);
        }
        let mut report = Report::new();
        let configuration = load(root.path(), None, &mut report);
        (configuration, report.to_string())
    }

    fn router(interface: &str, last: u8, keys: &str) -> String {
        format!(
            "interface = \"{interface}\"\nvirtual_router_id = 51\naddresses = [\"10.0.0.{last}/24\"]\n{keys}\n"
        )
    }

    #[test]
    fn vmac_true_has_the_rfcs_address_and_the_virtual_addresses_are_on_it() {
        let text = "interface = \"eth0\"\nvirtual_router_id = 51\nvmac = true\naccept = false\n\
                    addresses = [\"10.0.0.50/24\", { address = \"10.1.0.50/24\", interface = \"eth1\" }]";
        let (configuration, said) = read(&[text]);
        assert_eq!(said, "");
        let config = &configuration.routers["a"];
        let vmac = config.vmac.as_ref().unwrap();
        assert_eq!((&*vmac.name, vmac.mac), ("vrrp.51", [0, 0, 0x5e, 0, 1, 51]));
        assert!(!vmac.advertise_from_parent && !config.accept);
        let places: Vec<&str> = config.settings.addresses.iter().map(|held| &*held.interface).collect();
        assert_eq!(places, ["vrrp.51", "eth1"], "an address on another interface stays there");
        assert_eq!(&**config.wire(&"vrrp.51".into()), "eth0");
    }

    #[test]
    fn everything_about_it_can_be_chosen() {
        let keys =
            "vmac = { name = \"lan-v\", address = \"02:00:00:00:00:51\", advertise_from_parent = true }";
        let (configuration, said) = read(&[&router("eth0", 50, keys)]);
        assert_eq!(said, "");
        let vmac = configuration.routers["a"].vmac.clone().unwrap();
        assert_eq!((&*vmac.name, vmac.mac), ("lan-v", [2, 0, 0, 0, 0, 0x51]));
        assert!(vmac.advertise_from_parent);
        let (configuration, _) = read(&[&router("eth0", 50, "vmac = false")]);
        assert_eq!((&configuration.routers["a"].vmac, configuration.routers["a"].accept), (&None, true));
    }

    #[test]
    fn what_cannot_be_a_link_or_a_mac_address_is_refused_with_the_reason() {
        for (keys, reason) in [
            ("vmac = { name = \"vrrp.of.the.lan.51\" }", "15 bytes"),
            ("vmac = { name = \"v*\" }", "letters, digits"),
            ("vmac = { name = \"eth0\" }", "the router's own interface"),
            ("vmac = { address = \"01:00:5e:00:01:33\" }", "not the MAC address of one station"),
            ("vmac = { address = \"00:00:5e:00:01\" }", "not a MAC address"),
            ("vmac = \"vrrp.51\"", "'vmac' must be true, false or a table"),
            ("vmac = { use_vmac = true }", "keepalived's use_vmac"),
            ("use_vmac = true", "vmac = true"),
            ("no_accept = true", "accept = false"),
        ] {
            let (_, said) = read(&[&router("eth0", 50, keys)]);
            assert!(said.contains(reason), "{keys}: {said}");
        }
    }

    #[test]
    fn two_routers_cannot_have_one_virtual_mac_interface() {
        let files = [router("eth0", 50, "vmac = true"), router("eth1", 51, "vmac = true")];
        let (_, said) = read(&[&files[0], &files[1]]);
        assert!(said.contains("vrrp.51 is used twice") && said.contains("a.toml:4"), "{said}");
        let other = router("eth1", 51, "vmac = { name = \"vrrp-dmz.51\" }");
        assert_eq!(read(&[&files[0], &other]).1, "");
    }

    #[test]
    fn unicast_advertisements_leave_the_interface_with_its_own_mac_address() {
        let unicast = "[unicast]\npeers = [\"10.0.0.2\"]";
        let (configuration, said) = read(&[&router("eth0", 50, &format!("vmac = true\n{unicast}"))]);
        assert_eq!(said, "");
        assert!(configuration.routers["a"].vmac.as_ref().unwrap().advertise_from_parent);
        let keys = format!("vmac = {{ advertise_from_parent = false }}\n{unicast}");
        let (_, said) = read(&[&router("eth0", 50, &keys)]);
        assert!(said.contains("unicast advertisements always leave"), "{said}");
    }

    // RFC 9568: +6.4.3-accept
    #[test]
    fn an_owner_always_accepts() {
        let (configuration, said) = read(&[&router("eth0", 50, "priority = 255\naccept = false")]);
        assert!(configuration.routers["a"].accept && said.contains("accepts what is sent to them"), "{said}");
    }
}
