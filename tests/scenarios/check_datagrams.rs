//! Checks by datagram in a real network: pings across a router, what routers say of hosts and networks that are not
//! there, a kernel that lets nobody ping, and questions to a real DNS server (NSD).

use trivet_tests::clock::{PATIENCE, wait};
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::servers::Servers;
use trivet_tests::trivet::Trivet;

const UDP: &str = "type = \"udp\"\n";
const QUICK: &str = "type = \"ping\"\ntimeout = \"6s\"\n";
const LARGE: &str = "type = \"ping\"\nsize = 4000\n";

/// The host that checks, a router, and a server behind it.
struct Site {
    trivet: Trivet,
    checker: Host,
    router: Host,
    server: Host,
    _lab: Lab,
}

impl Site {
    fn new(files: &[(&str, &str)]) -> Self {
        let lab = Lab::new();
        lab.segment("near");
        lab.segment("far");
        let checker = lab.host("checker", &[("eth0", "near", "10.0.0.1/24")]);
        let router =
            lab.host("router", &[("eth0", "near", "10.0.0.254/24"), ("eth1", "far", "10.1.0.254/24")]);
        let server = lab.host("server", &[("eth0", "far", "10.1.0.2/24")]);
        router.sh(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.icmp_ratelimit=0 && \
             ip route add blackhole 10.8.0.0/16 && ip route add unreachable 10.7.0.0/16 && ip route add prohibit 10.6.0.0/16",
        );
        checker.sh("ip route add default via 10.0.0.254");
        server.sh("ip route add default via 10.1.0.254");
        for (host, addresses) in [
            (&checker, "eth0 2001:db8::1/64"),
            (&router, "eth0 2001:db8::fe/64 eth1 2001:db8:1::fe/64"),
            (&server, "eth0 2001:db8:1::2/64"),
        ] {
            let words: Vec<&str> = addresses.split(' ').collect();
            for pair in words.chunks(2) {
                host.sh(&format!("ip -6 address add {} dev {} nodad", pair[1], pair[0]));
            }
        }
        checker.sh("ip -6 route add default via 2001:db8::fe");
        server.sh("ip -6 route add default via 2001:db8:1::fe");
        let mut trivet = Trivet::with_files(&checker, files);
        trivet.start_bus(&checker);
        trivet.run(&checker, "checkd");
        let site = Self { trivet, checker, router, server, _lab: lab };
        wait("checkd on the bus", PATIENCE, || site.try_probe("tcp", "10.0.0.1:9").ok());
        site
    }

    fn try_probe(&self, check: &str, target: &str) -> Result<String, String> {
        let path = format!("/org/trivet/Check1/check/{check}");
        let interface = "org.trivet.Check1.Check";
        self.trivet.bus().busctl(&["call", "org.trivet.Check1", &path, interface, "Probe", "s", target])
    }

    /// State and reason of one probe.
    #[track_caller]
    fn probe(&self, check: &str, target: &str) -> (String, String) {
        let told = self.try_probe(check, target).expect("an outcome");
        let mut parts = told.split('"').skip(1).step_by(2).map(str::to_owned);
        (parts.next().expect("a state"), parts.next().expect("a reason"))
    }

    #[track_caller]
    fn expect(&self, check: &str, target: &str, state: &str, reason: &str) {
        let (told, told_reason) = self.probe(check, target);
        assert_eq!((told.as_str(), told_reason.as_str()), (state, reason), "{check} of {target}");
    }

    /// Let every group ping, in the checker's network namespace.
    fn allow_pings(&self) {
        self.checker.sh("sysctl -qw net.ipv4.ping_group_range='0 2147483647'");
    }
}

#[test]
fn a_kernel_that_lets_nobody_ping_is_no_failure_of_the_server_and_the_reason_says_what_to_do() {
    let site = Site::new(&[]);
    site.checker.sh("sysctl -qw net.ipv4.ping_group_range='1 0'");
    for target in ["10.0.0.254", "2001:db8::fe"] {
        let (state, reason) = site.probe("ping", target);
        assert_eq!(state, "unknown", "{reason}");
        for words in ["net.ipv4.ping_group_range", "0 2147483647", "/etc/sysctl.d/", "sysctl --system"] {
            assert!(reason.contains(words), "{words} is not in: {reason}");
        }
    }
    let range = site.checker.sh("cat /proc/sys/net/ipv4/ping_group_range");
    assert_eq!(range.split_whitespace().collect::<Vec<_>>(), ["1", "0"], "checkd sets no sysctl");
    site.allow_pings();
    site.expect("ping", "10.0.0.254", "up", "echo reply");
}

#[test]
fn hosts_near_and_far_answer_pings_over_both_families_whatever_the_port_and_the_size() {
    let site = Site::new(&[("check.d/large.toml", LARGE)]);
    site.allow_pings();
    let index = site.checker.sh("ip -o link show dev eth0 | cut -d: -f1");
    let local = site.router.sh("ip -6 -o address show dev eth0 scope link | grep -o 'fe80[^/]*'");
    let local = format!("{}%{}", local.trim(), index.trim());
    for target in ["10.0.0.254", "10.1.0.2", "10.1.0.2:80", "2001:db8:1::2", "[2001:db8:1::2]:80", &local] {
        site.expect("ping", target, "up", "echo reply");
    }
    site.expect("large", "10.1.0.2", "up", "echo reply");
    site.expect("large", "2001:db8:1::2", "up", "echo reply");
}

#[test]
fn what_routers_say_of_hosts_that_are_not_there_is_the_reason() {
    let site = Site::new(&[("check.d/quick.toml", QUICK), ("check.d/udp.toml", UDP)]);
    site.allow_pings();
    let beside = "host unreachable: it does not answer on the local network (ARP, ND)";
    let silence = "no answer within 6s: 3 requests sent, nothing received";
    for (check, target, reason) in [
        ("ping", "10.1.0.77", "host unreachable (ICMP from 10.0.0.254)"),
        ("ping", "10.0.0.77", beside),
        ("ping", "2001:db8::77", beside),
        ("ping", "10.7.0.1", "host unreachable (ICMP from 10.0.0.254)"),
        ("ping", "10.6.0.1", "communication administratively prohibited (ICMP from 10.0.0.254)"),
        ("quick", "10.8.0.1", silence),
        ("udp", "10.7.0.1:53", "host unreachable (ICMP from 10.0.0.254)"),
        ("udp", "10.1.0.2:53", "port unreachable: nothing listens on it (ICMP from the server)"),
        ("udp", "[2001:db8:1::2]:53", "port unreachable: nothing listens on it (ICMP from the server)"),
    ] {
        site.expect(check, target, "down", reason);
    }
    site.server.cut();
    site.expect("quick", "10.1.0.2", "down", silence);
    site.server.plug();
    site.expect("ping", "10.1.0.2", "up", "echo reply");
}

const ZONE: &str = "$ORIGIN example.test.\n$TTL 60\n@ SOA ns hostmaster 7 3600 600 86400 60\n NS ns\n MX 10 mail\n \
     TXT \"v=spf1 -all\"\nns A 10.1.0.2\nwww A 10.1.0.80\nwww A 10.1.0.81\nmail A 10.1.0.25\nweb CNAME www\n";
const NSD: &str = "server:\n  username: root\n  zonesdir: /lab\n  pidfile: /run/nsd.pid\n  zonelistfile: /run/zone.list\n  \
     xfrdfile: /run/xfrd.state\n  server-count: 1\nremote-control:\n  control-enable: no\nzone:\n  name: example.test\n  \
     zonefile: example.zone\n";

#[test]
fn a_real_dns_server_is_up_with_the_records_that_it_should_have() {
    let check = |name: &str, record: &str, more: &str| {
        format!("type = \"dns\"\nname = \"{name}\"\nrecord = \"{record}\"\n{more}")
    };
    let checks = [
        (
            "www",
            check("www.example.test", "A", "answer = [\"10.1.0.80\", \"10.1.0.81\"]\nauthoritative = true\n"),
        ),
        ("alias", check("web.example.test", "A", "answer = \"10.1.0.80\"\nprotocol = \"tcp\"\n")),
        ("mail", check("example.test", "MX", "answer = \"10 mail.example.test\"\n")),
        ("wrong", check("www.example.test", "A", "answer = \"10.1.0.9\"\n")),
        ("large", check("large.example.test", "TXT", "min_answers = 12\n")),
        ("nobody", check("nobody.example.test", "A", "")),
        ("foreign", check("example.org", "A", "")),
    ];
    let names: Vec<String> = checks.iter().map(|(name, _)| format!("check.d/{name}.toml")).collect();
    let files: Vec<(&str, &str)> =
        names.iter().zip(&checks).map(|(name, (_, text))| (name.as_str(), text.as_str())).collect();
    let site = Site::new(&files);
    let lab = site.server.directory();
    let large: String =
        (0..12).map(|number| format!("large TXT \"{number} {}\"\n", "x".repeat(200))).collect();
    std::fs::write(lab.join("example.zone"), format!("{ZONE}{large}")).expect("writing the zone");
    std::fs::write(lab.join("nsd.conf"), NSD).expect("writing NSD's configuration");
    let nsd = Servers::of_tree().start(&site.server, "nsd", "exec nsd -d -c /lab/nsd.conf");
    wait("NSD's first answer", PATIENCE, || (site.probe("www", "10.1.0.2").0 == "up").then_some(()));
    for target in ["10.1.0.2", "2001:db8:1::2", "10.1.0.2:53"] {
        site.expect("www", target, "up", "NOERROR, 2 A records");
    }
    site.expect("alias", "10.1.0.2", "up", "NOERROR, 2 A records");
    site.expect("mail", "10.1.0.2", "up", "NOERROR, 1 MX record");
    // Truncated over UDP: fetched over TCP.
    site.expect("large", "10.1.0.2", "up", "NOERROR, 12 TXT records");
    let wrong = site.probe("wrong", "10.1.0.2");
    assert!(
        wrong.0 == "down" && wrong.1.starts_with("NOERROR, but not 10.1.0.9 in the answer: 10.1.0.8"),
        "{wrong:?}"
    );
    site.expect("nobody", "10.1.0.2", "down", "NXDOMAIN (there is no such name), expected NOERROR");
    site.expect("foreign", "10.1.0.2", "down", "REFUSED (it refuses to answer this), expected NOERROR");
    drop(nsd);
    wait("the end of NSD", PATIENCE, || (site.probe("www", "10.1.0.2").0 == "down").then_some(()));
    site.expect("www", "10.1.0.2", "down", "port unreachable: nothing listens on it (ICMP from the server)");
    site.expect("alias", "10.1.0.2", "down", "connection refused");
}
