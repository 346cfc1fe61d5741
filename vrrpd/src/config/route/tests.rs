use daemon::testing::TempRoot;

use super::*;
use crate::config::{RouterConfig, load};

fn read(lines: &str) -> (Option<RouterConfig>, String) {
    let root = TempRoot::new();
    let text = format!("interface = 'eth0'\nvirtual_router_id = 1\naddresses = ['10.0.0.50/24']\n{lines}\n");
    root.write("etc/trivet/vrrp.d/gateway.toml", &text);
    let mut report = Report::new();
    let router = load(root.path(), None, &mut report).routers.remove("gateway");
    (router, report.to_string())
}

#[test]
fn a_line_of_ip_route_and_a_table_mean_the_same() {
    let (lines, report) = read(
        "routes = ['default via 10.0.0.1 dev eth0 metric 50 table main src 10.0.0.50 mtu 1400 onlink',
         'blackhole 10.8.0.0/16 table 100', '2001:db8::/32 dev eth1']
         rules = ['from 10.0.0.0/24 to all lookup 100 pref 5 fwmark 0x10 iif eth0', 'prohibit to 10.9.0.0/16 priority 6']",
    );
    assert_eq!(report, "");
    let (tables, report) = read(
        "routes = [
           { to = 'default', via = '10.0.0.1', interface = 'eth0', metric = 50, source = '10.0.0.50', mtu = 1400, onlink = true },
           { to = '10.8.0.0/16', type = 'blackhole', table = 100 }, { to = '2001:db8::/32', interface = 'eth1' } ]
         rules = [ { from = '10.0.0.0/24', table = 100, priority = 5, fwmark = 16, iif = 'eth0' },
           { to = '10.9.0.0/16', type = 'prohibit', priority = 6 } ]",
    );
    assert_eq!(report, "");
    let (lines, tables) = (lines.unwrap(), tables.unwrap());
    assert_eq!((&lines.routes, &lines.rules), (&tables.routes, &tables.rules));
    assert_eq!((lines.routes.len(), lines.rules.len()), (3, 2));
    assert_eq!(lines.routes[2].key.metric, DEFAULT_METRIC_V6, "as the kernel shows it");
    assert_eq!(lines.rules[0].to_string(), "5 from 10.0.0.0/24 fwmark 0x10/0xffffffff iif eth0 table 100");
}

#[test]
fn mistakes_in_routes_and_rules_are_reported_where_they_stand() {
    for (lines, expected) in [
        ("routes = 5", "'routes' must be an array"),
        ("routes = [5]", "toml:4:11: error: a route must be a table or a string"),
        ("routes = ['10.9.0.0/16']", "a route needs 'via', 'interface' or both"),
        ("routes = ['10.9.0.1/16 via 10.0.0.2']", "it would be 10.9.0.0/16"),
        ("routes = ['10.9.0.0/33 via 10.0.0.2']", "its length is 0 to 32"),
        ("routes = ['10.9.0.0/16 via fe80::1']", "'via' is not of the route's family, IPv4"),
        ("routes = ['2001:db8::/32 via fe80::1']", "needs 'interface'"),
        ("routes = ['10.9.0.0/16 via']", "'via' ends a route without its value"),
        ("routes = ['10.9.0.0/16 vja 10.0.0.1']", "did you mean 'via'?"),
        ("routes = ['10.9.0.0/16 via 10.0.0.1 via 10.0.0.2']", "'via' is said twice"),
        ("routes = ['10.9.0.0/16 via 10.0.0.1 proto static']", "protocol number 112: leave it out"),
        ("routes = [{ to = '10.9.0.0/16', dev = 'eth0' }]", "hint: write interface"),
        (
            "routes = [{ to = '10.9.0.0/16', interface = 'eth0', metric = true }]",
            "must be a string or an integer",
        ),
        ("routes = [{ to = '10.9.0.0/16', via = '10.0.0.1', table = 'isp' }]", "/etc/iproute2/rt_tables"),
        ("routes = [{ via = '10.0.0.1' }]", "'to' is missing"),
        (
            "routes = ['blackhole 10.9.0.0/16 via 10.0.0.1']",
            "'via' means nothing to a route of type blackhole",
        ),
        ("routes = ['2001:db8::/32 dev eth0 mtu 1000']", "'mtu' must be from 1280 to 65535"),
        (
            "routes = ['10.9.0.0/16 dev eth0', '10.9.0.0/16 dev eth1']",
            "a route to 10.9.0.0/16 is given twice",
        ),
        ("rules = ['from 10.0.0.0/24 table 100']", "a rule needs a 'priority'"),
        ("rules = ['from 10.0.0.0/24 priority 5']", "either 'table' or 'type'"),
        ("rules = ['from 10.0.0.0/24 to fd00::/8 table 5 priority 5']", "'to' is not of the rule's family"),
        ("rules = ['fwmark 0x100/0xff table 5 priority 5']", "bits outside of its mask"),
        ("rules = [{ table = 5, priority = 5, form = '10.0.0.0/8' }]", "did you mean 'from'?"),
        ("rules = ['table 5 pref 5', 'table 5 pref 5']", "is given twice"),
    ] {
        let (_, report) = read(lines);
        assert!(
            report.contains("error: ") && report.contains(expected),
            "{lines}: {expected:?} is not in:\n{report}"
        );
    }
}

#[test]
fn addresses_have_options_which_are_checked() {
    let (router, report) = read(
        "excluded_addresses = ['10.0.0.51', { address = '10.0.1.52/24', interface = 'eth1', label = 'eth1:a', scope = 'link',
           noprefixroute = true, broadcast = '10.0.1.255' }, { address = 'fd00::50', preferred = true }, 'fd00::51/64']",
    );
    assert_eq!(report, "");
    let router = router.unwrap();
    let held: Vec<String> = router.settings.held().map(ToString::to_string).collect();
    assert_eq!(
        held,
        [
            "10.0.0.50/24 on eth0",
            "10.0.0.51/32 on eth0",
            "10.0.1.52/24 on eth1",
            "fd00::50/128 on eth0",
            "fd00::51/64 on eth0"
        ]
    );
    assert_eq!(router.settings.addresses.len(), 1, "what is advertised");
    assert_eq!(router.address_options.len(), 2);
    for (address, expected) in [
        ("{ address = '10.0.0.51', label = 'eth1:x' }", "must be eth0, or begin with eth0:"),
        ("{ address = '10.0.0.51', label = 'eth0vip' }", "must be eth0, or begin with eth0:"),
        ("{ address = '10.0.0.51', label = 'eth0:0123456789a' }", "has 16 bytes, more than 15"),
        ("{ address = '10.0.0.51', preferred = true }", "'preferred' is for IPv6 addresses only"),
        ("{ address = 'fd00::1', label = 'eth0:x' }", "'label' is for IPv4 addresses only"),
        ("{ address = 'fd00::1', scope = 'link' }", "'scope' is for IPv4 addresses only"),
        ("{ address = '10.0.0.51', scope = 'universe' }", "write \"global\""),
        ("{ address = '10.0.0.51', broadcast = 'x' }", "not the IPv4 address of a broadcast"),
        ("{ address = '10.0.0.51', brd = '10.0.0.255' }", "it is broadcast"),
        ("'fd00::/129'", "is not the length of an IPv6 prefix: 0 to 128"),
        ("'::ffff:10.0.0.1'", "write it as IPv4"),
        ("'10.0.0.50/32'", "the address 10.0.0.50 is used twice"),
        ("'::1'", "a loopback address"),
    ] {
        let (_, report) = read(&format!("excluded_addresses = [{address}]"));
        let report = report.replace("hint: ip-address's brd is broadcast", "hint: it is broadcast");
        assert!(report.contains(expected), "{address}: {expected:?} is not in:\n{report}");
    }
}

#[test]
fn more_addresses_than_an_advertisement_holds_are_an_error_with_their_number() {
    let list = |count: usize, make: fn(usize) -> String| {
        let list: Vec<String> = (1..=count).map(make).collect();
        let root = TempRoot::new();
        let text = format!("interface = 'eth0'\nvirtual_router_id = 1\naddresses = {list:?}\n");
        root.write("etc/trivet/vrrp.d/gateway.toml", &text);
        let mut report = Report::new();
        load(root.path(), None, &mut report);
        report.to_string()
    };
    let v4 = |number: usize| format!("10.0.{}.{}", number / 250, number % 250 + 1);
    let v6 = |number: usize| format!("fe80::{number:x}");
    assert_eq!(list(255, v4), "");
    assert!(list(256, v4).contains("at most 255 IPv4 addresses, not 256"));
    assert_eq!(list(90, v6), "");
    assert!(list(91, v6).contains("at most 90 IPv6 addresses, not 91"));
    let mixed = list(2, |number| if number == 1 { "10.0.0.1".into() } else { "fd00::1".into() });
    assert!(mixed.contains("fd00::1 is not IPv4 as the first address is"), "{mixed}");
}
