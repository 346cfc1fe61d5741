//! ipvsd against the real kernel's IPVS, each test in a network namespace of its own, judged by `ipvsadm -Ln`.
//!
//! Where the kernel has no IPVS the tests are left out, and say so; with TRIVET_FLOOR=4 or REQUIRE_ALL_FLOORS=1 they
//! fail instead. `tests/run 4` runs them; by hand, in a machine that has IPVS:
//! `TRIVET_FLOOR=4 TRIVET_BIN=/payload tests/vm --with target/debug/ipvsd target/debug/deps/kernel-…`

#![allow(clippy::unwrap_used, reason = "as in every test")]

mod common;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::{Bus, FakeCheckd, Ipvsd, own_network, run, wait_for};
use daemon::testing::TempRoot;
use ipvsd::kernel::Kernel;
use ipvsd::service::SCHEDULERS;
use ipvsd::table::{
    Change, Checksum, Entry, FLAG_PERSISTENT, Family, Forward, Protocol, Server, Service, ServiceKey, Table,
    Tunnel,
};
use nix::errno::Errno;
use nix::sys::signal::Signal;

const TUNNEL: Forward = Forward::Tunnel(Tunnel::Ipip);

/// A namespace with IPVS, or the reason to leave the test out.
fn kernel() -> Option<Kernel> {
    let required = std::env::var("TRIVET_FLOOR").is_ok_and(|floor| floor == "4")
        || std::env::var("REQUIRE_ALL_FLOORS").is_ok_and(|all| all == "1");
    let reason = if own_network() {
        let mut kernel = Kernel::open().unwrap();
        match kernel.dump() {
            Ok(dump) => {
                assert!(dump.table.is_empty(), "a fresh namespace has services");
                return Some(kernel);
            }
            Err(fault) => fault.0,
        }
    } else {
        "a network namespace cannot be made: needs root".into()
    };
    assert!(!required, "IPVS is required here, but {reason}");
    // Not eprintln: that is shown only when a test fails.
    let _ = writeln!(std::io::stderr(), "LEFT OUT (floor 4, real IPVS): {reason}");
    None
}

/// `ipvsadm -Ln` without its heading, blanks put together.
fn listing() -> Vec<String> {
    let (ok, text) = run("ipvsadm", &["-Ln"]);
    assert!(ok, "{text}");
    text.lines().skip(3).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What `ipvsadm` prints.
fn ipvsadm_says(arguments: &str) -> String {
    let (ok, text) = run("ipvsadm", &arguments.split_whitespace().collect::<Vec<_>>());
    assert!(ok, "ipvsadm {arguments}: {text}");
    text
}

fn wait_until_ipvsadm_says(arguments: &str, parts: &[&str]) {
    wait_for(&format!("{parts:?} of ipvsadm {arguments}"), || {
        let text = ipvsadm_says(arguments);
        parts.iter().all(|part| text.contains(part)).then_some(())
    });
}

fn ipvsadm(arguments: &str) {
    let (ok, text) = run("ipvsadm", &arguments.split_whitespace().collect::<Vec<_>>());
    assert!(ok, "ipvsadm {arguments}: {text}");
}

fn wait_for_listing(what: &str, expected: &[&str]) {
    let mut last = Vec::new();
    let found = || {
        last = listing();
        (last == expected).then_some(())
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait_for(what, found)));
    assert!(result.is_ok(), "{what}: the table is {last:#?}");
}

fn tcp(address: &str) -> ServiceKey {
    ServiceKey::Address { protocol: Protocol::Tcp, address: address.parse().unwrap() }
}

fn service(scheduler: &str, family: Family) -> Service {
    Service {
        scheduler: scheduler.into(),
        flags: 0,
        timeout: 0,
        netmask: Service::whole_netmask(family),
        persistence_engine: None,
    }
}

fn server(forward: Forward, weight: u32) -> Server {
    Server { forward, weight, upper_threshold: 0, lower_threshold: 0 }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn services_and_servers_are_made_changed_and_removed_and_read_back_as_they_are() {
    let Some(mut kernel) = kernel() else { return };
    let key = tcp("10.0.10.50:80");
    let new = |text, forward, weight| Change::NewServer {
        key,
        address: address(text),
        server: server(forward, weight),
    };
    let changes = [
        Change::NewService { key, service: service("rr", Family::V4) },
        new("192.168.100.101:8080", Forward::Nat, 1),
        new("192.168.100.102:80", Forward::Route, 65_535),
        new("192.168.100.103:80", TUNNEL, 0),
    ];
    assert_eq!(kernel.apply(&changes).unwrap(), []);
    let expected = [
        "TCP 10.0.10.50:80 rr",
        "-> 192.168.100.101:8080 Masq 1 0 0",
        "-> 192.168.100.102:80 Route 65535 0 0",
        "-> 192.168.100.103:80 Tunnel 0 0 0",
    ];
    assert_eq!(listing(), expected);
    let mut table = Table::new();
    changes.iter().for_each(|change| change.apply_to(&mut table));
    assert_eq!(kernel.dump().unwrap().table, table, "what is read is what was written");

    let mut persistent = service("wlc", Family::V4);
    (persistent.flags, persistent.timeout) = (FLAG_PERSISTENT, 300);
    let changes = [
        Change::SetService { key, service: persistent },
        Change::SetServer { key, address: address("192.168.100.102:80"), server: server(TUNNEL, 2) },
        Change::DelServer { key, address: address("192.168.100.101:8080") },
    ];
    assert_eq!(kernel.apply(&changes).unwrap(), []);
    let expected = [
        "TCP 10.0.10.50:80 wlc persistent 300",
        "-> 192.168.100.102:80 Tunnel 2 0 0",
        "-> 192.168.100.103:80 Tunnel 0 0 0",
    ];
    assert_eq!(listing(), expected);
    changes.iter().for_each(|change| change.apply_to(&mut table));
    assert_eq!(kernel.dump().unwrap().table, table);

    assert_eq!(kernel.apply(&[Change::DelService { key }]).unwrap(), []);
    assert!(listing().is_empty() && kernel.dump().unwrap().table.is_empty());
}

#[test]
fn ipv6_udp_and_sctp_services_are_taken_and_read_back() {
    let Some(mut kernel) = kernel() else { return };
    let six = tcp("[2001:db8::50]:443");
    let udp = ServiceKey::Address { protocol: Protocol::Udp, address: address("10.0.10.50:53") };
    let sctp = ServiceKey::Address { protocol: Protocol::Sctp, address: address("10.0.10.50:5060") };
    let mut persistent = service("sh", Family::V6);
    (persistent.flags, persistent.timeout) = (FLAG_PERSISTENT, 60);
    let changes = [
        Change::NewService { key: six, service: persistent },
        Change::NewServer {
            key: six,
            address: address("[2001:db8::1]:443"),
            server: server(Forward::Route, 1),
        },
        Change::NewServer { key: six, address: address("[2001:db8::2]:443"), server: server(TUNNEL, 1) },
        Change::NewService { key: udp, service: service("rr", Family::V4) },
        Change::NewServer {
            key: udp,
            address: address("192.168.100.101:53"),
            server: server(Forward::Nat, 1),
        },
        Change::NewService { key: sctp, service: service("rr", Family::V4) },
    ];
    assert_eq!(kernel.apply(&changes).unwrap(), []);
    let mut table = Table::new();
    changes.iter().for_each(|change| change.apply_to(&mut table));
    assert_eq!(kernel.dump().unwrap().table, table);
    let text = listing().join("\n");
    for line in ["TCP [2001:db8::50]:443 sh persistent 60", "UDP 10.0.10.50:53 rr", "SCTP 10.0.10.50:5060 rr"]
    {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

#[test]
fn every_scheduler_that_a_configuration_can_name_is_known_to_the_kernel_and_no_other() {
    let Some(mut kernel) = kernel() else { return };
    for (name, _) in SCHEDULERS {
        let key = tcp("10.0.10.50:80");
        let make = Change::NewService { key, service: service(name, Family::V4) };
        assert_eq!(kernel.apply(&[make]).unwrap(), [], "{name}");
        assert_eq!(listing(), [format!("TCP 10.0.10.50:80 {name}")]);
        kernel.apply(&[Change::DelService { key }]).unwrap();
    }
    let make = Change::NewService { key: tcp("10.0.10.50:80"), service: service("bogus", Family::V4) };
    assert_eq!(kernel.apply(&[make]).unwrap(), [(0, Errno::ENOENT)]);
}

#[test]
fn refusals_in_a_large_batch_are_told_apart_and_the_rest_is_done() {
    let Some(mut kernel) = kernel() else { return };
    let key = tcp("10.0.10.50:80");
    let nth = |number: u16| SocketAddr::from(([192, 168, 100, 101], number + 1));
    let mut changes = vec![Change::NewService { key, service: service("rr", Family::V4) }];
    for number in 0..2_000 {
        changes.push(Change::NewServer { key, address: nth(number), server: server(Forward::Nat, 1) });
    }
    changes.insert(300, changes[5].clone()); // is there already
    changes[700] = Change::DelServer { key, address: nth(60_000) }; // never was
    changes.push(Change::SetService { key: tcp("10.9.9.9:9"), service: service("rr", Family::V4) });
    let last = changes.len() - 1;
    let refused = kernel.apply(&changes).unwrap();
    assert_eq!(refused, [(300, Errno::EEXIST), (700, Errno::ENOENT), (last, Errno::ESRCH)]);
    assert_eq!(kernel.dump().unwrap().table[&key].servers.len(), 1_999);
    assert_eq!(kernel.apply(&changes).unwrap().len(), changes.len(), "everything is refused the second time");
    assert_eq!(kernel.dump().unwrap().table[&key].servers.len(), 1_999);
}

#[test]
fn tunnels_of_every_kind_are_taken_and_read_back() {
    let Some(mut kernel) = kernel() else { return };
    let key = tcp("10.0.10.50:80");
    let tunnels = [
        Tunnel::Ipip,
        Tunnel::Gue { port: 6080, checksum: Checksum::None },
        Tunnel::Gue { port: 6081, checksum: Checksum::Outer },
        Tunnel::Gue { port: 6082, checksum: Checksum::Remote },
        Tunnel::Gre { checksum: Checksum::None },
        Tunnel::Gre { checksum: Checksum::Outer },
    ];
    let mut changes = vec![Change::NewService { key, service: service("rr", Family::V4) }];
    for (number, tunnel) in (101_u8..).zip(tunnels) {
        let address = SocketAddr::from(([192, 168, 100, number], 80));
        changes.push(Change::NewServer { key, address, server: server(Forward::Tunnel(tunnel), 1) });
    }
    // From one kind to another, in place.
    let first = address("192.168.100.101:80");
    let gre = Forward::Tunnel(Tunnel::Gre { checksum: Checksum::Outer });
    changes.push(Change::SetServer { key, address: first, server: server(gre, 2) });
    changes.push(Change::SetServer { key, address: first, server: server(TUNNEL, 3) });
    assert_eq!(kernel.apply(&changes).unwrap(), []);
    let mut table = Table::new();
    changes.iter().for_each(|change| change.apply_to(&mut table));
    assert_eq!(kernel.dump().unwrap().table, table);
    let text = ipvsadm_says("-Ln --tun-info");
    for line in ["gue", "6082", "gre", "ipip"] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

// ---- the whole daemon ----

#[test]
fn marks_all_ports_flags_thresholds_and_the_sip_engine_reach_the_kernel() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (TempRoot::new(), Bus::new());
    let server = "[[server]]\naddress = \"192.168.100.101\"\n";
    let file = |name: &str, text: &str| {
        root.write(&format!("etc/trivet/ipvs.d/{name}.toml"), &format!("{text}\n{server}"));
    };
    file(
        "a",
        "addresses = [\"10.0.10.50-51:80\", \"10.0.10.50:8000-8001\"]\nscheduler = \"sh\"\nscheduler_flags = [\"sh-port\", \"sh-fallback\"]",
    );
    file(
        "b",
        "mark = 7\nscheduler = \"mh\"\nscheduler_flags = [\"mh-port\"]\npersistence = 60\npersistence_prefix = 24",
    );
    file("c", "address = \"10.0.10.52:*\"\npersistence = \"6min\"\nforward = \"route\"");
    file(
        "d",
        "address = \"10.0.10.53:53\"\nprotocol = \"udp\"\none_packet = true\nupper_threshold = 1000\nlower_threshold = 800",
    );
    file(
        "e",
        "address = \"10.0.10.54:5060\"\nprotocol = \"udp\"\npersistence = 360\npersistence_engine = \"sip\"",
    );
    root.write("etc/trivet/ipvs.d/f.toml", "mark = 8\n[[server]]\naddress = \"2001:db8::1\"\n");
    let _ipvsd = Ipvsd::start(&root, &bus);
    let expected = [
        "TCP 10.0.10.50:80 sh (sh-fallback,sh-port)",
        "TCP 10.0.10.51:80 sh (sh-fallback,sh-port)",
        "TCP 10.0.10.50:8000 sh (sh-fallback,sh-port)",
        "TCP 10.0.10.50:8001 sh (sh-fallback,sh-port)",
        "TCP 10.0.10.52:0 wlc persistent 360",
        "UDP 10.0.10.53:53 wlc ops",
        "UDP 10.0.10.54:5060 wlc persistent 360 pe sip",
        "FWM 7 mh (mh-port) persistent 60 mask 255.255.255.0",
        "FWM 8 IPv6 wlc",
        "-> 192.168.100.101:8001 Masq 1 0 0",
        "-> 192.168.100.101:0 Route 1 0 0",
        "-> 192.168.100.101:0 Masq 1 0 0",
        "-> [2001:db8::1]:0 Masq 1 0 0",
    ];
    wait_for("all services", || {
        let found = listing();
        let missing: Vec<_> =
            expected.iter().filter(|line| !found.iter().any(|found| found == *line)).collect();
        if !missing.is_empty() && found.len() >= 18 {
            panic!("{missing:#?} are not in {found:#?}");
        }
        missing.is_empty().then_some(())
    });
    wait_until_ipvsadm_says("-Ln --thresholds", &["1000", "800"]);
    let plan = bus.call::<Vec<String>>("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "Plan");
    assert!(plan.as_ref().is_ok_and(Vec::is_empty), "{plan:?}");
    assert_eq!(bus.of_service("a", "Repairs"), "OwnedVariant(U64(0))");
}

#[test]
fn timeouts_sysctls_and_sync_daemons_are_set_and_put_right_again() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    let settings = "[timeouts]\ntcp = \"10min\"\nudp = 33\n[sysctl]\nexpire_nodest_conn = true\n[sync]\n\
                    interface = \"lo\"\nid = 7\n";
    root.write("etc/trivet/ipvsd.toml", settings);
    run("ip", &["link", "set", "lo", "multicast", "on"]);
    let ipvsd = Ipvsd::start(&root, &bus);
    let right = |what: &str| {
        wait_until_ipvsadm_says("-L --timeout", &["600", "33"]);
        wait_for(what, || {
            let (_, text) = run("cat", &["/proc/sys/net/ipv4/vs/expire_nodest_conn"]);
            (text.trim() == "1").then_some(())
        });
        wait_until_ipvsadm_says(
            "-L --daemon",
            &["master sync daemon (mcast=lo, syncid=7", "backup sync daemon (mcast=lo"],
        );
    };
    right("expire_nodest_conn");
    ipvsd.wait_for_log("set timeouts tcp 600 s, udp 33 s");
    ipvsd.wait_for_log("expire_nodest_conn is 0, setting it to 1");
    ipvsadm("--set 1 2 3");
    ipvsadm("--stop-daemon master");
    let (ok, text) = run("sh", &["-c", "echo 0 > /proc/sys/net/ipv4/vs/expire_nodest_conn"]);
    assert!(ok, "{text}");
    right("expire_nodest_conn again");
    // They outlive ipvsd, as the table does.
    assert!(ipvsd.stop().success());
    wait_until_ipvsadm_says("-L --daemon", &["master sync daemon", "backup sync daemon"]);
}

#[test]
fn a_sync_daemon_on_an_interface_that_is_not_there_is_told_once_and_the_table_does_not_wait_for_it() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    root.write("etc/trivet/ipvsd.toml", "[sync]\ninterface = \"eth7\"\nrole = \"master\"\n");
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("the service, unchecked", &[SERVICE, FIRST, SECOND]);
    ipvsd.wait_for_log(
        "cannot start sync daemon master on eth7 (id 0): there is no such interface; trying again",
    );
    wait_for("the fault on the bus", || {
        let faults = bus.property("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "Faults");
        faults.contains("there is no such interface").then_some(())
    });
}

#[test]
fn orders_change_the_table_at_once_and_outlive_a_crash() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("the service, unchecked", &[SERVICE, FIRST, SECOND]);
    ipvsd.wait_for_log("serving org.trivet.Ipvs1 on the bus");
    bus.verb("web", "SetWeight", &("192.168.100.101:80", 7_u16, "more memory")).unwrap();
    let heavy = "-> 192.168.100.101:80 Masq 7 0 0";
    assert_eq!(listing(), [SERVICE, heavy, SECOND], "done when the verb returns");
    bus.verb("web", "Disable", &("192.168.100.102:80", "its disk")).unwrap();
    assert_eq!(listing(), [SERVICE, heavy]);
    ipvsd.signal(Signal::SIGKILL);
    drop(ipvsd);
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for("the order", || bus.servers("web").contains("its disk").then_some(()));
    assert_eq!(listing(), [SERVICE, heavy]);
    bus.verb("web", "Enable", &("192.168.100.102:80",)).unwrap();
    bus.verb("web", "ClearOverride", &("192.168.100.101:80",)).unwrap();
    assert_eq!(listing(), [SERVICE, FIRST, SECOND]);
    let error = bus.verb("web", "Disable", &("192.168.100.109:80", "")).unwrap_err().to_string();
    assert!(error.contains("has no server '192.168.100.109:80'"), "{error}");
}

fn web(options: &str) -> String {
    format!(
        "address = \"10.0.10.50:80\"\nscheduler = \"rr\"\n{options}\n[[server]]\naddress = \"192.168.100.101:80\"\n\
         [[server]]\naddress = \"192.168.100.102:80\"\n"
    )
}

fn root(options: &str) -> TempRoot {
    let root = TempRoot::new();
    root.write("etc/trivet/ipvs.d/web.toml", &web(options));
    root
}

const SERVICE: &str = "TCP 10.0.10.50:80 rr";
const FIRST: &str = "-> 192.168.100.101:80 Masq 1 0 0";
const SECOND: &str = "-> 192.168.100.102:80 Masq 1 0 0";

#[test]
fn a_failed_server_leaves_the_table_and_comes_back_and_the_objects_say_so() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root("check = \"tcp\""), Bus::new());
    let checkd = FakeCheckd::new(&bus);
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("the service without servers that nobody checked", &[SERVICE]);
    checkd.say("tcp", "192.168.100.101:80", "up");
    checkd.say("tcp", "192.168.100.102:80", "up");
    wait_for_listing("both servers", &[SERVICE, FIRST, SECOND]);
    checkd.say("tcp", "192.168.100.101:80", "down");
    wait_for_listing("the failed server's removal", &[SERVICE, SECOND]);
    wait_for("the reason", || {
        bus.of_service("web", "Reason").contains("1 of 2 servers in use").then_some(())
    });
    assert!(bus.of_service("web", "State").contains("forwarding"));
    checkd.say("tcp", "192.168.100.101:80", "up");
    wait_for_listing("the server's return", &[SERVICE, FIRST, SECOND]);
    assert!(ipvsd.stop().success());
    assert_eq!(listing(), [SERVICE, FIRST, SECOND], "the table goes on forwarding");
}

#[test]
fn an_inhibited_server_stays_with_weight_0_as_in_the_article() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root("check = \"tcp\"\ninhibit_on_failure = true"), Bus::new());
    let checkd = FakeCheckd::new(&bus);
    let _ipvsd = Ipvsd::start(&root, &bus);
    checkd.say("tcp", "192.168.100.101:80", "up");
    checkd.say("tcp", "192.168.100.102:80", "up");
    wait_for_listing("both servers", &[SERVICE, FIRST, SECOND]);
    checkd.say("tcp", "192.168.100.101:80", "down");
    wait_for_listing("weight 0", &[SERVICE, "-> 192.168.100.101:80 Masq 0 0 0", SECOND]);
}

/// Connections that the service of the tests has scheduled, as `ipvsadm` counts them. A service that is made anew
/// begins at 0.
fn scheduled() -> u64 {
    let (ok, text) = run("ipvsadm", &["-Ln", "--stats", "--exact"]);
    assert!(ok, "{text}");
    let line = text.lines().find(|line| line.contains("10.0.10.50:80")).unwrap_or_default();
    line.split_whitespace().nth(2).and_then(|count| count.parse().ok()).unwrap_or_default()
}

#[test]
fn what_is_in_the_kernel_is_taken_over_with_its_counters_and_foreign_services_are_left_alone() {
    let Some(_kernel) = kernel() else { return };
    run("ip", &["address", "add", "10.0.10.50/32", "dev", "lo"]);
    run("ip", &["address", "add", "192.168.100.101/32", "dev", "lo"]);
    ipvsadm("-A -t 10.0.10.50:80 -s rr");
    ipvsadm("-a -t 10.0.10.50:80 -r 192.168.100.101:80 -m -w 1");
    ipvsadm("-a -t 10.0.10.50:80 -r 192.168.100.102:80 -m -w 0");
    ipvsadm("-A -u 10.0.10.99:53 -s lc");
    ipvsadm("-a -u 10.0.10.99:53 -r 192.168.100.77:53 -g -w 7");
    ipvsadm("-A -f 3 -s wlc");
    // One connection, so that the counters are not 0. Whether it is answered does not matter.
    let _listener = TcpListener::bind("192.168.100.101:80");
    let _connection = TcpStream::connect_timeout(&address("10.0.10.50:80"), Duration::from_secs(1));
    // The kernel brings its counters up to date every two seconds.
    let before = wait_for("the connection's count", || Some(scheduled()).filter(|count| *count > 0));

    let (root, bus) = (root("check = \"tcp\""), Bus::new());
    let checkd = FakeCheckd::new(&bus);
    let ipvsd = Ipvsd::start(&root, &bus);
    ipvsd.wait_for_log("web: tcp 10.0.10.50:80 is there with 2 server(s), taken over");
    wait_for("registration", || (checkd.watched().len() == 1).then_some(()));
    checkd.say("tcp", "192.168.100.101:80", "up");
    wait_for("the answer", || bus.servers("web").contains("said up").then_some(()));
    let plan = bus.call::<Vec<String>>("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "Plan");
    assert!(plan.as_ref().is_ok_and(Vec::is_empty), "{plan:?}");
    assert_eq!(scheduled(), before, "the service was made anew");
    checkd.say("tcp", "192.168.100.102:80", "up");
    let weight = |text: &str| listing().iter().any(|line| line.starts_with(text));
    wait_for("the idle server's use", || weight("-> 192.168.100.102:80 Masq 1").then_some(()));
    assert_eq!(scheduled(), before, "the service was made anew");

    // The file goes, and the service with it; what is not ours stays.
    std::fs::remove_file(root.path().join("etc/trivet/ipvs.d/web.toml")).unwrap();
    ipvsd.signal(Signal::SIGHUP);
    let foreign = ["UDP 10.0.10.99:53 lc", "-> 192.168.100.77:53 Route 7 0 0", "FWM 3 wlc"];
    wait_for_listing("only what is foreign", &foreign);
}

#[test]
fn a_cleared_table_and_strange_hands_are_repaired_and_said_so() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("the service, unchecked", &[SERVICE, FIRST, SECOND]);
    ipvsadm("-C");
    wait_for_listing("the repair", &[SERVICE, FIRST, SECOND]);
    ipvsd
        .wait_for_log("web: changed by others, repairing it: add service tcp 10.0.10.50:80 (rr), and 2 more");
    wait_for("the count", || bus.of_service("web", "Repairs").contains("U64(1)").then_some(()));
    ipvsadm("-E -t 10.0.10.50:80 -s wlc");
    ipvsadm("-e -t 10.0.10.50:80 -r 192.168.100.101:80 -g -w 9");
    ipvsadm("-a -t 10.0.10.50:80 -r 192.168.100.66:80 -m");
    ipvsadm("-d -t 10.0.10.50:80 -r 192.168.100.102:80");
    wait_for_listing("the second repair", &[SERVICE, FIRST, SECOND]);
}

#[test]
fn a_service_whose_file_was_removed_while_ipvsd_was_down_is_removed_at_its_start() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    root.write(
        "etc/trivet/ipvs.d/mail.toml",
        "address = \"10.0.10.51:25\"\n[[server]]\naddress = \"192.168.100.103:25\"\n",
    );
    let ipvsd = Ipvsd::start(&root, &bus);
    let mail = ["TCP 10.0.10.51:25 wlc", "-> 192.168.100.103:25 Masq 1 0 0"];
    wait_for_listing("both services", &[&[SERVICE, FIRST, SECOND][..], &mail[..]].concat());
    ipvsd.signal(Signal::SIGKILL);
    drop(ipvsd);
    std::fs::remove_file(root.path().join("etc/trivet/ipvs.d/mail.toml")).unwrap();
    ipvsadm("-A -t 10.0.10.52:80 -s rr");
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("ours and the foreign one", &[SERVICE, FIRST, SECOND, "TCP 10.0.10.52:80 rr"]);
}

#[test]
fn without_checkd_servers_are_admitted_after_the_grace_time() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root("check = \"tcp\""), Bus::new());
    root.write("etc/trivet/ipvsd.toml", "health_grace = \"2s\"\n");
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("the service without servers", &[SERVICE]);
    wait_for_listing("servers that nobody checked", &[SERVICE, FIRST, SECOND]);
    ipvsd.wait_for_log("web: no health answer for 2s (checkd was never heard), using 2 unknown server(s)");
}

#[test]
fn the_table_of_another_namespace_is_not_ours() {
    let Some(mut outer) = kernel() else { return };
    let thread = std::thread::spawn(|| {
        let Some(mut inner) = kernel() else { return };
        let key = tcp("10.0.10.50:80");
        inner.apply(&[Change::NewService { key, service: service("rr", Family::V4) }]).unwrap();
        let entry = Entry { service: service("rr", Family::V4), servers: BTreeMap::new() };
        assert_eq!(inner.dump().unwrap().table, Table::from([(key, entry)]));
    });
    thread.join().unwrap();
    assert!(outer.dump().unwrap().table.is_empty());
}
