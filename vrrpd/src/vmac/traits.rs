//! What of a link concerns virtual MAC interfaces, read from rtnetlink messages.

use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoKind, LinkAttribute, LinkInfo,
    LinkMessage,
};

use super::MARK;

/// Of any link; the settings are the kernel's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// A macvlan with our mark.
    pub ours: bool,
    /// The index of the link that it sits on (IFLA_LINK).
    pub parent: Option<u32>,
    /// The index of the bridge, bond or VRF that it belongs to (IFLA_MASTER).
    pub controller: Option<u32>,
    /// The kernel has IPv6 there.
    pub ipv6: bool,
    pub settings: Settings,
}

/// The settings of a macvlan that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// net.ipv4.conf.*.forwarding
    pub forwarding: bool,
    /// net.ipv4.conf.*.arp_ignore
    pub arp_ignore: i32,
    /// net.ipv4.conf.*.arp_announce
    pub arp_announce: i32,
    /// net.ipv4.conf.*.rp_filter
    pub rp_filter: i32,
    /// No address is made from the MAC address (RFC 9568, 7.4).
    pub no_generated_address: bool,
}

impl Settings {
    /// What a virtual MAC interface needs; it forwards if its parent does.
    ///
    /// * `arp_ignore` 1: answer for an address of its own only, never for the parent's with the virtual MAC address.
    /// * `arp_announce` 2: ask in the name of an address of its own only, for the same reason.
    /// * `rp_filter` 2: the answer to what comes in here may leave through the parent. The kernel takes the greater of
    ///   this and `all`'s: with `all` at 1 (strict), 0 would drop everything, and 2 (loose) does not.
    pub fn wanted(forwarding: bool) -> Self {
        Self { forwarding, arp_ignore: 1, arp_announce: 2, rp_filter: 2, no_generated_address: true }
    }

    /// Whether nothing that we want is missing. Forwarding that somebody switched on besides is his.
    pub fn satisfy(&self, wanted: &Self) -> bool {
        Self { forwarding: self.forwarding && wanted.forwarding, ..*self } == *wanted
    }

    /// As IFLA_AF_SPEC of a request; `ipv6`: the kernel has it. A value of 0 is not sent.
    pub fn attribute(&self, ipv6: bool) -> LinkAttribute {
        let mut conf = InetDevConf::default();
        conf.forwarding = i32::from(self.forwarding);
        conf.arp_ignore = self.arp_ignore;
        conf.arp_announce = self.arp_announce;
        conf.rp_filter = self.rp_filter;
        let mut families = vec![AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(conf)])];
        // The kernel refuses what is for a family that it has not.
        if self.no_generated_address && ipv6 {
            families.push(AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]));
        }
        LinkAttribute::AfSpecUnspec(families)
    }
}

impl Traits {
    pub fn read(message: &LinkMessage) -> Self {
        let mut traits = Self::default();
        let (mut macvlan, mut marked) = (false, false);
        for attribute in &message.attributes {
            #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's attributes, not ours")]
            match attribute {
                LinkAttribute::LinkInfo(infos) => {
                    macvlan = infos.contains(&LinkInfo::Kind(InfoKind::MacVlan));
                }
                LinkAttribute::Group(group) => marked = *group == MARK,
                LinkAttribute::Link(index) => traits.parent = Some(*index),
                LinkAttribute::Controller(index) => traits.controller = Some(*index),
                LinkAttribute::AfSpecUnspec(families) => {
                    traits.settings = settings(families);
                    traits.ipv6 = families.iter().any(|family| matches!(family, AfSpecUnspec::Inet6(_)));
                }
                _ => {}
            }
        }
        traits.ours = macvlan && marked;
        traits
    }
}

fn settings(families: &[AfSpecUnspec]) -> Settings {
    // Without IPv6 in the kernel there is nothing to switch off.
    let no_generated_address = !families.iter().any(|family| matches!(family, AfSpecUnspec::Inet6(_)));
    let mut settings = Settings { no_generated_address, ..Settings::default() };
    for family in families {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's attributes, not ours")]
        match family {
            AfSpecUnspec::Inet(values) => {
                let conf = values.iter().find_map(|value| {
                    let AfSpecInet::DevConf(conf) = value else { return None };
                    Some(conf)
                });
                let Some(conf) = conf else { continue };
                settings.forwarding = conf.forwarding != 0;
                settings.arp_ignore = conf.arp_ignore;
                settings.arp_announce = conf.arp_announce;
                settings.rp_filter = conf.rp_filter;
            }
            AfSpecUnspec::Inet6(values) => {
                settings.no_generated_address =
                    values.contains(&AfSpecInet6::AddrGenMode(In6AddrGenMode::None));
            }
            _ => {}
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 9568: +7.4
    #[test]
    fn no_address_is_generated_from_the_virtual_mac_address_where_there_is_ipv6() {
        let none = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)]);
        let families = |ipv6| {
            let attribute = Settings::wanted(false).attribute(ipv6);
            let LinkAttribute::AfSpecUnspec(families) = attribute else { panic!("{attribute:?}") };
            families
        };
        assert!(families(true).contains(&none));
        assert!(!families(false).contains(&none));
        let eui64 = AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::Eui64)]);
        assert!(settings(&[none]).no_generated_address);
        assert!(!settings(&[eui64]).no_generated_address);
    }
}
