mod refused;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use daemon::testing::TempRoot;

use super::*;
use crate::orders::parse_backend;
use crate::service::{AllDown, Initially, OnFailure, Quorum, RealServer, VirtualService};
use crate::sync::{Role, SyncSettings};
use crate::table::{
    Checksum, FLAG_ONE_PACKET, FLAG_SCHEDULER_1, FLAG_SCHEDULER_2, Family, Forward, Protocol, ServiceKey,
    Tunnel,
};
use crate::tuning::{Timeouts, Value};

fn load_one(text: &str) -> (Settings, String) {
    let root = TempRoot::new();
    root.write("etc/trivet/ipvs.d/web.toml", text);
    root.write("etc/trivet/check.d/drupal.toml", "type = \"http\"\n");
    root.write("etc/trivet/check.d/upstream.toml", "type = \"tcp\"\nport = 80\n");
    root.write("etc/trivet/check.d/mail.toml", "type = \"smtp\"\n");
    root.write("etc/trivet/check.d/disk.toml", "type = \"exec\"\ncommand = [\"/bin/df\", \"/\"]\n");
    root.write("etc/trivet/check.d/nginx.toml", "type = \"unit\"\nunit = \"nginx.service\"\n");
    root.write("etc/trivet/vrrp.d/gateway.toml", "interface = \"eth0\"\n");
    let (settings, report) = load(root.path());
    (settings, report.to_string())
}

/// A service without a mistake.
fn web(text: &str) -> Arc<VirtualService> {
    let (settings, report) = load_one(text);
    assert_eq!(report, "");
    Arc::clone(&settings.services["web"])
}

fn server<'a>(service: &'a VirtualService, address: &str) -> &'a RealServer {
    &service.servers[&parse_backend(address).unwrap()]
}

fn fronts(service: &VirtualService) -> Vec<String> {
    service.fronts.iter().map(ToString::to_string).collect()
}

fn assert_says(text: &str, parts: &[&str]) {
    let (_, report) = load_one(text);
    for part in parts {
        assert!(report.contains(part), "{part:?} is not in:\n{report}");
    }
}

#[test]
fn the_example_of_the_architecture_is_read() {
    let web = web(r#"
address = "10.0.10.50:80"
protocol = "tcp"
scheduler = "rr"
forward = "nat"
check = "drupal"

[[server]]
address = "192.168.100.101:80"
weight = 1

[[server]]
address = "192.168.100.102:8080"
weight = 7
check = "tcp"
inhibit_on_failure = true
"#);
    assert_eq!(fronts(&web), ["tcp 10.0.10.50:80"]);
    assert_eq!((web.scheduler.as_str(), web.forward, &web.persistence), ("rr", Forward::Nat, &None));
    let first = server(&web, "192.168.100.101:80");
    assert_eq!(
        (first.weight, first.check.as_deref(), first.on_failure),
        (1, Some("drupal"), OnFailure::Remove)
    );
    let second = server(&web, "192.168.100.102:8080");
    assert_eq!(
        (second.weight, second.check.as_deref(), second.on_failure),
        (7, Some("tcp"), OnFailure::Inhibit)
    );
    assert_eq!(second.target.to_string(), "192.168.100.102:8080");
}

#[test]
fn defaults_are_keepalived_s_and_a_server_without_a_port_has_the_services() {
    let web = web(
        "address = \"[2001:db8::50]:443\"\npersistence = \"5min\"\nforward = \"route\"\n[[server]]\naddress = \"2001:db8::1\"\n",
    );
    assert_eq!((web.scheduler.as_str(), web.protocol), ("wlc", Protocol::Tcp));
    assert_eq!(web.persistence.as_ref().map(|persistence| persistence.timeout), Some(300));
    let server = server(&web, "2001:db8::1");
    assert_eq!((server.weight, server.forward, server.check.as_deref()), (1, Forward::Route, None));
    assert_eq!(server.target.to_string(), "[2001:db8::1]:443");
    assert_eq!((web.quorum, web.all_down), (Quorum { weight: 1, hysteresis: 0 }, AllDown::Drop));
    assert!(web.slow_start.is_zero() && web.while_active.is_none() && web.sorry.is_none());
}

const ONE_SERVER: &str = "[[server]]\naddress = \"192.168.100.101\"\n";

#[test]
fn one_service_may_have_several_addresses_ports_and_marks() {
    let several = web(&format!(
        "addresses = [\"10.0.0.1-2:80\", \"10.0.0.1:8000-8001\"]\nmarks = [1, 2]\n{ONE_SERVER}"
    ));
    assert_eq!(
        fronts(&several),
        [
            "tcp 10.0.0.1:80",
            "tcp 10.0.0.2:80",
            "tcp 10.0.0.1:8000",
            "tcp 10.0.0.1:8001",
            "fwmark 1",
            "fwmark 2"
        ]
    );
    assert_eq!(server(&several, "192.168.100.101").target.to_string(), "192.168.100.101:80");
    let marked = web("mark = 7\n[[server]]\naddress = \"2001:db8::1\"\n");
    assert_eq!(marked.fronts, [ServiceKey::Mark { family: Family::V6, mark: 7 }]);
    assert_eq!(server(&marked, "2001:db8::1").target.port(), 0);
    let all_ports = web(&format!("address = \"10.0.0.1:*\"\npersistence = \"6min\"\n{ONE_SERVER}"));
    assert_eq!(fronts(&all_ports), ["tcp 10.0.0.1:0"]);
}

#[test]
fn schedulers_have_flags_of_their_own() {
    let flags = |scheduler: &str, flags: &str| {
        web(&format!(
            "address = \"10.0.0.1:80\"\nscheduler = \"{scheduler}\"\nscheduler_flags = [{flags}]\n{ONE_SERVER}"
        ))
        .flags
    };
    assert_eq!(flags("sh", "\"sh-port\", \"sh-fallback\""), FLAG_SCHEDULER_1 | FLAG_SCHEDULER_2);
    assert_eq!(flags("mh", "\"mh-fallback\""), FLAG_SCHEDULER_1);
    assert_eq!(flags("mh", "\"mh-port\""), FLAG_SCHEDULER_2);
    let udp = web(&format!("address = \"10.0.0.1:53\"\nprotocol = \"udp\"\none_packet = true\n{ONE_SERVER}"));
    assert_eq!(udp.flags, FLAG_ONE_PACKET);
}

#[test]
fn persistence_may_be_of_networks_and_of_calls() {
    let sip = web(&format!(
        "address = \"10.0.0.1:5060\"\nprotocol = \"udp\"\npersistence = \"1h\"\npersistence_prefix = 24\npersistence_engine = \"sip\"\n{ONE_SERVER}"
    ));
    let persistence = sip.persistence.as_ref().unwrap();
    assert_eq!(
        (persistence.timeout, persistence.prefix, persistence.engine.as_deref()),
        (3600, Some(24), Some("sip"))
    );
}

#[test]
fn tunnels_are_of_three_kinds_for_the_service_or_for_one_server() {
    let text = "address = \"10.0.0.1:80\"\nforward = \"tunnel\"\ntunnel_type = \"gue\"\ntunnel_port = 6080\n\
                [[server]]\naddress = \"2001:db8::1\"\n[[server]]\naddress = \"192.168.100.102\"\n\
                tunnel_type = \"gre\"\ntunnel_checksum = \"csum\"\n\
                [[server]]\naddress = \"192.168.100.103\"\nforward = \"nat\"\n";
    let tunnels = web(text);
    let forward = |address| server(&tunnels, address).forward;
    assert_eq!(forward("2001:db8::1"), Forward::Tunnel(Tunnel::Gue { port: 6080, checksum: Checksum::None }));
    assert_eq!(forward("192.168.100.102"), Forward::Tunnel(Tunnel::Gre { checksum: Checksum::Outer }));
    assert_eq!(forward("192.168.100.103"), Forward::Nat);
}

#[test]
fn quorum_sorry_server_and_last_stand_are_read() {
    let service = "address = \"10.0.0.1:80\"\n";
    let two = "[[server]]\naddress = \"192.168.100.101\"\nweight = 5\n[[server]]\naddress = \"192.168.100.102\"\nweight = 5\n";
    let sorry = web(&format!(
        "{service}quorum = 4\nhysteresis = 2\nsorry_server = {{ address = \"192.168.100.200:8080\", forward = \"nat\" }}\nall_down = \"sorry\"\n{two}"
    ));
    assert_eq!(sorry.quorum, Quorum { weight: 4, hysteresis: 2 });
    assert_eq!(sorry.sorry.unwrap().backend.to_string(), "192.168.100.200:8080");
    let keep = web(&format!("{service}all_down = \"keep\"\ninitially = \"admitted\"\n{two}"));
    assert_eq!(keep.all_down, AllDown::Keep);
    assert_eq!(server(&keep, "192.168.100.101").initially, Initially::Admitted);
}

#[test]
fn thresholds_slow_start_and_the_virtual_router_are_read() {
    let text = "address = \"10.0.0.1:80\"\nupper_threshold = 1000\nlower_threshold = 800\nslow_start = \"30s\"\nwhile_active = \"gateway\"\n\
                [[server]]\naddress = \"192.168.100.101\"\nweight = 100\n[[server]]\naddress = \"192.168.100.102\"\nlower_threshold = 0\n";
    let web = web(text);
    let thresholds = |address| {
        let server = server(&web, address);
        (server.upper_threshold, server.lower_threshold)
    };
    assert_eq!((thresholds("192.168.100.101"), thresholds("192.168.100.102")), ((1000, 800), (1000, 0)));
    assert_eq!((web.slow_start, web.while_active.as_deref()), (Duration::from_secs(30), Some("gateway")));
    assert_says(
        &format!("address = \"10.0.0.1:80\"\nslow_start = 10\n{ONE_SERVER}"),
        &["warning: slow_start has no effect on servers of weight 1"],
    );
}

#[test]
fn all_mistakes_of_a_file_are_named_in_one_run() {
    assert_says(
        r#"
address = "10.0.10.50 80"
protocol = "TCP"
scheduler = "rrr"
lb_kind = "NAT"
check = "drupla"
inhibit_on_failure = "yes"

[[server]]
address = "192.168.100.101:99999"
weight = 65536
wieght = 1
"#,
        &[
            "web.toml:2:11: error: '10.0.10.50 80' is not an address and a port: write \"10.0.10.50:80\"",
            "web.toml:3:12: error: 'protocol' cannot be \"TCP\"",
            "write \"tcp\"",
            "web.toml:4:13: error: there is no scheduler 'rrr'",
            "did you mean \"rr\"? The schedulers are rr, wrr, lc, wlc, lblc, lblcr, dh, sh, mh, sed, nq, fo, ovf, twos",
            "web.toml:5:1: error: unknown key 'lb_kind'",
            "\"route\" (keepalived: DR)",
            "web.toml:6:9: error: there is no check 'drupla'",
            "did you mean \"drupal\"?",
            "web.toml:7:22: error: 'inhibit_on_failure' must be true or false",
            "web.toml:10:11: error: 'address' is not an address and a port",
            "web.toml:11:10: error: 'weight' must be from 0 to 65535",
            "web.toml:12:1: error: unknown key 'wieght'",
            "did you mean 'weight'?",
            "9 errors",
        ],
    );
}

#[test]
fn keepalived_s_words_are_answered_with_ours() {
    for (key, answer) in [
        ("lb_algo", "write scheduler ="),
        ("lvs_sched", "write scheduler ="),
        ("lvs_method", "write forward ="),
        ("delay_loop", "belongs to the check"),
        ("real_server", "write [[server]]"),
        ("TCP_CHECK", "write check = \"tcp\""),
        ("PING_CHECK", "write check = \"ping\""),
        ("persistence_granularity", "write persistence_prefix = 24"),
        ("ops", "write one_packet = true"),
        ("ha_suspend", "write while_active ="),
    ] {
        let text = format!("address = \"10.0.0.1:80\"\n{key} = 1\n");
        assert_says(&text, &[&format!("unknown key '{key}'"), answer]);
    }
    assert_says("address = \"10.0.0.1:80\"\nforward = \"DR\"\n", &["write \"route\""]);
}

#[test]
fn what_works_but_hardly_as_meant_is_a_warning() {
    assert_says(
        "address = \"10.0.0.1:53\"\nprotocol = \"udp\"\ncheck = \"tcp\"\n",
        &["warning: check 'tcp' makes TCP connections, which says little about a udp service"],
    );
}

#[test]
fn a_service_without_servers_is_a_warning_only() {
    let (settings, report) = load_one("address = \"10.0.0.1:80\"\n");
    assert!(
        report.contains("warning: service 'web' has no servers") && !report.contains("error:"),
        "{report}"
    );
    assert!(settings.services.contains_key("web"));
}

#[test]
fn daemon_wide_settings_are_optional() {
    let root = TempRoot::new();
    assert_eq!(load(root.path()).0, Settings::default());
    root.write("etc/trivet/ipvsd.toml", "health_grace = \"30s\"\nresync_interval = 5\n");
    let (settings, report) = load(root.path());
    assert!(report.is_empty(), "{report}");
    assert_eq!((settings.grace, settings.resync), (Duration::from_secs(30), Duration::from_secs(5)));
}

#[test]
fn timeouts_sysctls_and_the_sync_daemon_are_checked_configuration() {
    let root = TempRoot::new();
    root.write("etc/trivet/vrrp.d/gateway.toml", "interface = \"eth0\"\n");
    let all = "exclusive = true\n[timeouts]\ntcp = \"15min\"\nudp = 60\n[sysctl]\nconntrack = true\n\
               sloppy_tcp = false\nsync_ports = 4\nsync_refresh_period = \"1min\"\nsync_threshold = [0, 1]\n\
               [sync]\ninterface = \"eth1\"\nid = 7\nvirtual_router = \"gateway\"\n";
    root.write("etc/trivet/ipvsd.toml", all);
    let (settings, report) = load(root.path());
    assert!(report.is_empty(), "{report}");
    assert!(settings.exclusive);
    assert_eq!(settings.tuning.timeouts, Timeouts { tcp: Some(900), tcp_fin: None, udp: Some(60) });
    let sysctls: Vec<_> = settings.tuning.sysctls.into_iter().collect();
    let ones = [("conntrack", 1), ("sloppy_tcp", 0), ("sync_ports", 4), ("sync_refresh_period", 60)];
    let threshold = ("sync_threshold", Value::Two(0, 1));
    assert_eq!(sysctls, [&ones.map(|(name, value)| (name, Value::One(value)))[..], &[threshold]].concat());
    let SyncSettings::Managed { link, role } = settings.sync else { panic!("managed") };
    assert_eq!((&*link.interface, link.id, role), ("eth1", 7, Role::Follow("gateway".into())));
}

/// The examples of one directory, copied to where they would be used. Returns how many there are.
fn install_examples(root: &TempRoot, directory: &str) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/trivet").join(directory);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let Some(name) = name.strip_suffix(".example") else { continue };
        root.write(&format!("etc/trivet/{directory}/{name}"), &std::fs::read_to_string(&path).unwrap());
        count += 1;
    }
    count
}

#[test]
fn the_commented_examples_are_valid_and_name_checks_and_routers_that_are_examples_too() {
    let root = TempRoot::new();
    install_examples(&root, "check.d");
    let count = install_examples(&root, "ipvs.d");
    let routers = install_examples(&root, "vrrp.d");
    let settings = include_str!("../../../etc/trivet/ipvsd.toml.example");
    let (defaults, examples) = settings.split_once("What follows are examples.").unwrap();
    // What is commented out: a key or a table's head, not a sentence.
    let used = |text: &str| {
        let is_commented = |line: &str| line.starts_with('#') && !line.starts_with("# ");
        let lines = text.lines().filter(|line| is_commented(line)).map(|line| format!("{}\n", &line[1..]));
        lines.collect::<String>()
    };
    root.write("etc/trivet/ipvsd.toml", &used(defaults));
    let (settings, report) = load(root.path());
    assert!(report.is_empty(), "{report}");
    assert!(count >= 13 && settings.services.len() == count && routers > 0);
    assert_eq!(Settings { services: BTreeMap::new(), ..settings }, Settings::default());
    assert_eq!(used(defaults).lines().count(), 4);
    root.write("etc/trivet/ipvsd.toml", &used(examples));
    let text = load(root.path()).1.to_string();
    assert!(
        text.contains("/tunnel.toml:27:11: error: the kernel synchronises") && text.ends_with("1 error\n"),
        "{text}"
    );
    std::fs::remove_file(root.path().join("etc/trivet/ipvs.d/tunnel.toml")).unwrap();
    let (settings, report) = load(root.path());
    assert!(report.is_empty(), "{report}");
    assert_eq!(settings.tuning.sysctls.len(), 6);
    assert!(settings.tuning.timeouts.tcp_fin.is_some());
    assert_eq!(settings.sync.followed().as_deref(), Some("gateway"));
}
