//! Packets that must not be accepted (RFC 9568, 6.1 Accept_Mode, 6.4.3), and ARP that must not betray the interface's
//! own MAC address (8.1.2): the nftables rules that see to it, as text for nft(8).
//!
//! Two tables named `trivet`, ours alone, hold for what is configured and not for what is Active: on a Backup they
//! match nothing, and so no address is ever there before its rule. Neighbour discovery is never dropped, forwarding is
//! not concerned, and IPVS comes first: what it balances is not "accepted".

pub mod keeper;
pub mod nft;
pub mod watch;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The name of our tables.
pub const TABLE: &str = "trivet";
/// After IPVS, which takes what it balances at 98 and 99 (net/netfilter/ipvs/ip_vs_core.c: NF_IP_PRI_NAT_SRC - 1).
const AFTER_IPVS: i32 = 150;

/// What is to be kept out. Two are equal if their rules are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Addresses of routers with `accept = false`, and the interface that each is on.
    refused: BTreeSet<(IpAddr, Arc<str>)>,
    vmacs: Vec<VmacRules>,
    /// Every address that the rules are about.
    addresses: BTreeSet<IpAddr>,
}

/// About one virtual MAC interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmacRules {
    pub name: Arc<str>,
    /// Of its virtual addresses, those of IPv4.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// In whose name the machine asks instead, when it would in the name of a virtual address.
    pub source: Ipv4Addr,
}

impl Rules {
    /// In whatever order the virtual MAC interfaces are.
    pub fn new(refused: BTreeSet<(IpAddr, Arc<str>)>, mut vmacs: Vec<VmacRules>) -> Self {
        vmacs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let of_vmacs = vmacs.iter().flat_map(|vmac| vmac.addresses.iter().copied().map(IpAddr::V4));
        let addresses = refused.iter().map(|(address, _)| *address).chain(of_vmacs).collect();
        Self { refused, vmacs, addresses }
    }

    pub fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.vmacs.is_empty()
    }

    /// Whether an address may only be had when these rules are in force.
    pub fn concern(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }

    /// What nft(8) is to add, by table family; a family that is not needed is not there.
    pub fn tables(&self) -> Vec<(&'static str, String)> {
        let mut tables = Vec::new();
        if !self.is_empty() {
            tables.push(("inet", self.inet()));
        }
        if self.vmacs.iter().any(|vmac| !vmac.addresses.is_empty()) {
            tables.push(("arp", self.arp()));
        }
        tables
    }

    fn inet(&self) -> String {
        let v4: Vec<String> = self
            .refused
            .iter()
            .filter(|(address, _)| address.is_ipv4())
            .map(|(address, _)| address.to_string())
            .collect();
        let global = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if !v6.is_unicast_link_local());
        let v6: Vec<String> = self
            .refused
            .iter()
            .filter(|(address, _)| global(address))
            .map(|(address, _)| address.to_string())
            .collect();
        // A link-local address means another host on each interface.
        let local: Vec<String> = self
            .refused
            .iter()
            .filter_map(|(address, name)| match address {
                IpAddr::V6(v6) if v6.is_unicast_link_local() => Some((v6, name)),
                IpAddr::V6(_) | IpAddr::V4(_) => None,
            })
            .map(|(address, name): (&Ipv6Addr, _)| format!("{} . {address}", quoted(name)))
            .collect();
        let vmacs: Vec<String> = self.vmacs.iter().map(|vmac| quoted(&vmac.name)).collect();
        let mut sets = String::new();
        let mut rules = String::new();
        let write = "writing to a String cannot fail";
        for (name, kind, elements, matching) in [
            ("refused4", "ipv4_addr", &v4, "ip daddr @refused4"),
            ("refused6", "ipv6_addr", &v6, "ip6 daddr @refused6"),
            ("refused_local", "ifname . ipv6_addr", &local, "iifname . ip6 daddr @refused_local"),
        ] {
            if elements.is_empty() {
                continue;
            }
            writeln!(sets, "  set {name} {{ type {kind}; elements = {{ {} }}; }}", elements.join(", "))
                .expect(write);
            writeln!(rules, "    iif != \"lo\" {matching} counter drop").expect(write);
        }
        let mut text = format!("table inet {TABLE} {{\n{sets}  chain input {{\n");
        writeln!(text, "    type filter hook input priority {AFTER_IPVS}; policy accept;").expect(write);
        if !vmacs.is_empty() {
            // Addresses must not be made from the virtual MAC address (RFC 9568, 7.4).
            writeln!(text, "    iifname {{ {} }} icmpv6 type nd-router-advert drop", vmacs.join(", "))
                .expect(write);
        }
        if !(v6.is_empty() && local.is_empty()) {
            text.push_str("    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n");
        }
        text.push_str(&rules);
        text.push_str("  }\n}\n");
        text
    }

    fn arp(&self) -> String {
        let (mut input, mut output) = (String::new(), String::new());
        let write = "writing to a String cannot fail";
        for vmac in self.vmacs.iter().filter(|vmac| !vmac.addresses.is_empty()) {
            let addresses: Vec<String> = vmac.addresses.iter().map(ToString::to_string).collect();
            let (addresses, name) = (addresses.join(", "), quoted(&vmac.name));
            writeln!(
                input,
                "    iifname != {name} arp operation request arp daddr ip {{ {addresses} }} counter drop"
            )
            .expect(write);
            writeln!(
                output,
                "    oifname != {name} arp operation request arp saddr ip {{ {addresses} }} counter arp saddr ip set {}",
                vmac.source
            )
            .expect(write);
        }
        format!(
            "table arp {TABLE} {{\n  chain input {{\n    type filter hook input priority 0; policy accept;\n{input}  }}\n  chain output {{\n    type filter hook output priority 0; policy accept;\n{output}  }}\n}}\n"
        )
    }
}

/// An interface's name can have any character but space, `/` and `:`, and nft has no escape for `"`.
fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        let held = |address: &str, name: &str| (address.parse().unwrap(), name.into());
        Rules::new(
            [held("10.0.0.50", "vrrp.51"), held("2001:db8::50", "eth0"), held("fe80::50", "eth0")].into(),
            vec![VmacRules {
                name: "vrrp.51".into(),
                addresses: [[10, 0, 0, 50].into(), [10, 0, 0, 51].into()].into(),
                source: [10, 0, 0, 1].into(),
            }],
        )
    }

    // RFC 9568: +6.4.3-accept -6.4.3-accept
    #[test]
    fn addresses_are_refused_but_for_neighbour_discovery_which_comes_first() {
        let tables = rules().tables();
        let (family, text) = &tables[0];
        assert_eq!(*family, "inet");
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what:?} in {text}"));
        let discovery = at("icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept");
        assert!(discovery < at("ip6 daddr @refused6 counter drop"));
        assert!(discovery < at("iifname . ip6 daddr @refused_local counter drop"));
        at("elements = { 10.0.0.50 }");
        at("elements = { 2001:db8::50 }");
        at("elements = { \"eth0\" . fe80::50 }");
        at("priority 150;");
    }

    #[test]
    fn only_the_virtual_mac_interface_answers_for_its_addresses_or_asks_in_their_name() {
        let tables = rules().tables();
        let (family, text) = &tables[1];
        assert_eq!(*family, "arp");
        let input =
            "iifname != \"vrrp.51\" arp operation request arp daddr ip { 10.0.0.50, 10.0.0.51 } counter drop";
        let output = "oifname != \"vrrp.51\" arp operation request arp saddr ip { 10.0.0.50, 10.0.0.51 } counter arp saddr ip set 10.0.0.1";
        assert!(text.contains(input) && text.contains(output), "{text}");
    }

    #[test]
    fn no_rule_is_made_that_nobody_needs() {
        assert!(Rules::default().tables().is_empty());
        let families =
            |rules: &Rules| rules.tables().into_iter().map(|(family, _)| family).collect::<Vec<_>>();
        let refusing = Rules::new(rules().refused, Vec::new());
        assert_eq!(families(&refusing), ["inet"], "a kernel without ARP tables can have accept = false");
        let text = &refusing.tables()[0].1;
        assert!(!text.contains("router-advert"), "{text}");
        let only_v4 = Rules::new([([10, 0, 0, 50].into(), "eth0".into())].into(), Vec::new());
        assert!(!only_v4.tables()[0].1.contains("icmpv6"), "nothing of IPv6");
    }

    #[test]
    fn rules_concern_the_addresses_that_they_name_and_no_others() {
        let rules = rules();
        for address in ["10.0.0.50", "10.0.0.51", "fe80::50"] {
            assert!(rules.concern(address.parse().unwrap()), "{address}");
        }
        assert!(!rules.concern([10, 0, 0, 1].into()), "the machine's own");
    }
}
