//! Kernels before 5.18 keep no IFA_PROTO: what a former run left cannot be told by its tag. There the configuration tells:
//! an address that it names, of a router that does not own it, is there for no other reason. (Routes and rules have had
//! their numbers for longer: rules since 4.17.)

use std::fs;

use crate::config::Configuration;
use crate::interfaces::Interfaces;
use crate::types::VirtualAddress;

/// The addresses that a former run must have left, on a kernel that keeps no tags; none on others, where tags tell.
pub fn left_behind(interfaces: &Interfaces, configuration: &Configuration) -> Vec<VirtualAddress> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if keeps_tags(&release, interfaces) { Vec::new() } else { named(interfaces, configuration) }
}

/// Whoever shows one keeps them: such kernels tag their own loopback and link-local addresses, and some distributions
/// have it in older ones. A release that cannot be read is a new one.
fn keeps_tags(release: &str, interfaces: &Interfaces) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|text| text.parse::<u32>().ok());
    let version = numbers.next().zip(numbers.next());
    interfaces.shows_tags() || version.is_none_or(|version| version >= (5, 18))
}

fn named(interfaces: &Interfaces, configuration: &Configuration) -> Vec<VirtualAddress> {
    let others = configuration.routers.values().filter(|router| !router.settings.is_owner());
    others
        .flat_map(|router| router.settings.held())
        .filter(|address| interfaces.find(address).is_some())
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use daemon::diagnostic::Report;
    use daemon::testing::TempRoot;
    use netlink_packet_route::RouteNetlinkMessage;

    use super::*;
    use crate::config;
    use crate::interfaces::OUR_TAG;
    use crate::interfaces::tests::{address, apply, link, up, virtual_address};

    fn with(addresses: &[(u8, u8)]) -> Interfaces {
        let mut interfaces = Interfaces::default();
        apply(&mut interfaces, &link(2, "eth0", up()));
        for (last, tag) in addresses {
            apply(&mut interfaces, &RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, *last], 24, *tag)));
        }
        interfaces
    }

    #[test]
    fn tags_are_kept_since_5_18_and_wherever_one_is_seen() {
        for (release, keeps) in [
            ("5.15.0-91-generic", false),
            ("5.18.0", true),
            ("6.1.0-18-amd64", true),
            ("4.19", false),
            ("", true),
        ] {
            assert_eq!(keeps_tags(release, &with(&[(1, 0)])), keeps, "{release}");
        }
        assert!(keeps_tags("5.14.0-427.el9.x86_64", &with(&[(1, 0), (50, OUR_TAG)])));
    }

    #[test]
    fn without_tags_the_configured_addresses_are_left_behind_but_for_an_owners() {
        let root = TempRoot::new();
        let file = |vrid: u8, last: u8, rest: &str| {
            format!(
                "interface = 'eth0'\nvirtual_router_id = {vrid}\naddresses = ['10.0.0.{last}/24']\n{rest}"
            )
        };
        root.write("etc/trivet/vrrp.d/a.toml", &file(1, 50, "excluded_addresses = ['10.0.0.51/24']"));
        root.write("etc/trivet/vrrp.d/b.toml", &file(2, 60, "priority = 255"));
        let configuration = config::load(root.path(), None, &mut Report::new());
        let interfaces = with(&[(1, 0), (51, 0), (60, 0)]);
        assert_eq!(named(&interfaces, &configuration), [virtual_address(51)]);
    }
}
