//! ipvsd against the real kernel's IPVS, each test in a network namespace of its own, judged by `ipvsadm -Ln`.
//!
//! Where the kernel has no IPVS the tests are left out, and say so; with TRIVET_FLOOR=4 or REQUIRE_ALL_FLOORS=1 they
//! fail instead. `tests/run 4` runs them; by hand, in a machine that has IPVS:
//! `TRIVET_FLOOR=4 TRIVET_BIN=/payload tests/vm --with target/debug/ipvsd target/debug/deps/kernel-…`

#![allow(clippy::unwrap_used, reason = "as in every test")]

#[path = "../common/mod.rs"]
mod common;
mod examples;
mod settings;
mod stands;

use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use common::table::{address, ipvsadm, kernel, listing, wait_for_listing, wait_until_ipvsadm_says};
use common::{Bus, FakeCheckd, Ipvsd, run, wait_for};
use daemon::testing::TempRoot;
use nix::sys::signal::Signal;

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
    let ipvsd = Ipvsd::start(&root, &bus);
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
    wait_until_ipvsadm_says("-Ln --thresholds", &["192.168.100.101:53 1000 800"]);
    ipvsd.wait_for_log("serving org.trivet.Ipvs1 on the bus");
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
    ipvsd.wait_for_log("web: changed by others, repairing it: add ");
    wait_for("the count", || bus.repairs("web").filter(|count| *count > 0));
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
    root.write("etc/trivet/ipvsd.toml", "health_grace = \"8s\"\n");
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("the service without servers", &[SERVICE]);
    wait_for_listing("servers that nobody checked", &[SERVICE, FIRST, SECOND]);
    ipvsd.wait_for_log("web: no health answer for 8s (checkd was never heard), using 2 unknown server(s)");
}

#[test]
fn a_configuration_that_cannot_work_is_refused_at_check_and_reload_and_the_table_stays() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    let ipvsd = Ipvsd::start(&root, &bus);
    ipvsd.wait_until_ready();
    wait_for_listing("the service, unchecked", &[SERVICE, FIRST, SECOND]);
    let server = "[[server]]\naddress = \"192.168.100.103:80\"\n";
    let mistakes = [
        ("a service in two files", "address = \"10.0.10.50:80\"\n".to_owned() + server, "10.0.10.50:80"),
        ("a server twice", format!("address = \"10.0.10.51:80\"\n{server}{server}"), "192.168.100.103:80"),
        (
            "a port on a mark's server",
            format!("mark = 7\nforward = \"route\"\n{server}"),
            "192.168.100.103:80",
        ),
    ];
    for (what, text, culprit) in mistakes {
        root.write("etc/trivet/ipvs.d/wrong.toml", &text);
        // What is right in it does not count either.
        root.write("etc/trivet/ipvs.d/web.toml", &web("").replace("rr", "wlc"));
        let (code, said) = common::check(&root);
        assert_eq!(code, Some(78), "{what}: {said}");
        assert!(said.contains("wrong.toml:") && said.contains(culprit), "{what}: {said}");
        let refusals = || ipvsd.log().matches("not reloaded").count();
        let before = refusals();
        ipvsd.signal(Signal::SIGHUP);
        wait_for(what, || (refusals() > before).then_some(()));
        assert!(ipvsd.log().contains("wrong.toml:"), "{}", ipvsd.log());
        common::all_the_while(Duration::from_secs(2), || {
            assert_eq!(listing(), [SERVICE, FIRST, SECOND], "{what}");
        });
        let plan = bus.call::<Vec<String>>("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "Plan");
        assert!(plan.as_ref().is_ok_and(Vec::is_empty), "{what}: {plan:?}");
        std::fs::remove_file(root.path().join("etc/trivet/ipvs.d/wrong.toml")).unwrap();
    }
    ipvsd.signal(Signal::SIGHUP);
    wait_for_listing("the right part of it", &["TCP 10.0.10.50:80 wlc", FIRST, SECOND]);
}
