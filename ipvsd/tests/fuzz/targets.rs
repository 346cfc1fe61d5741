//! One function for each reader: any bytes in, no panic, and what was understood makes sense. Run by `cargo fuzz`
//! (ipvsd/fuzz) for long, and by the test beside this file for a moment in every run of the tests.

use std::time::Duration;

use daemon::testing::TempRoot;
use ipvsd::config;
use ipvsd::ipvs::{Messages, Reply, Request};
use ipvsd::orders::OrdersFile;
use ipvsd::owned::OwnedFile;
use ipvsd::service::{Settings, VirtualService};
use ipvsd::sync::SyncSettings;
use ipvsd::table::{Change, FLAG_PERSISTENT, Family, Service, ServiceKey};
use ipvsd::tuning::{MOST_PACKETS, Sysctl, Takes, Value};

/// The checks and virtual routers that the examples name.
const CHECKS: [&str; 9] =
    ["drupal", "index", "slow-tcp", "smtp", "dns", "sip-udp", "misc-dynamic", "submission", "upstream"];
const ROUTERS: [&str; 1] = ["gateway"];
/// The number of the family IPVS in what was captured.
const FAMILY: u16 = 0x22;

fn root() -> TempRoot {
    let root = TempRoot::new();
    CHECKS
        .iter()
        .for_each(|name| root.write(&format!("etc/trivet/check.d/{name}.toml"), "type = \"http\"\n"));
    ROUTERS.iter().for_each(|name| root.write(&format!("etc/trivet/vrrp.d/{name}.toml"), "priority = 1\n"));
    root
}

/// What was read of one file, if nothing is wrong with it.
fn read(file: &str, bytes: &[u8]) -> Option<Settings> {
    thread_local!(static ROOT: TempRoot = root());
    ROOT.with(|root| {
        root.write(file, &String::from_utf8_lossy(bytes));
        let (settings, report) = config::load(root.path());
        std::fs::remove_file(root.path().join(file)).expect("it was just written");
        let said = report.to_string();
        assert_eq!(said.is_empty(), report.is_empty(), "what is reported is told");
        (!report.has_errors()).then_some(settings)
    })
}

/// A drop-in of a service.
pub(crate) fn service(bytes: &[u8]) {
    let Some(settings) = read("etc/trivet/ipvs.d/fuzz.toml", bytes) else { return };
    // An empty file masks.
    settings.services.values().for_each(|service| virtual_service(service));
}

/// What the kernel, and the director, rely upon.
fn virtual_service(service: &VirtualService) {
    assert!((1..=4096).contains(&service.fronts.len()));
    let mut keys = service.fronts.clone();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), service.fronts.len(), "each once");
    for front in &service.fronts {
        let parameters = service.parameters(front);
        assert_eq!(parameters.flags & FLAG_PERSISTENT != 0, service.persistence.is_some());
        assert!(parameters.timeout <= 31 * 86_400 && !parameters.scheduler.is_empty());
        if let ServiceKey::Mark { mark, .. } = front {
            assert_ne!(*mark, 0);
        }
        let mut behind: Vec<_> = service.servers.keys().map(|backend| backend.behind(front)).collect();
        behind.sort_unstable();
        behind.dedup();
        assert_eq!(behind.len(), service.servers.len(), "each server once behind {front}");
        for (backend, server) in &service.servers {
            assert!(server.forward.is_tunnel() || front.family() == Family::of(backend.ip));
            assert!(server.lower_threshold <= server.upper_threshold);
            assert!(!backend.ip.is_multicast() && !backend.ip.is_unspecified());
        }
    }
    assert!(service.quorum.weight > service.quorum.hysteresis);
    assert!(service.slow_start <= Duration::from_secs(86_400));
}

/// ipvsd.toml.
pub(crate) fn daemon_wide(bytes: &[u8]) {
    let Some(settings) = read("etc/trivet/ipvsd.toml", bytes) else { return };
    assert!(settings.resync >= Duration::from_millis(100));
    for (name, value) in &settings.tuning.sysctls {
        let takes = Sysctl::named(name).expect("it is one").takes;
        assert!(match (takes, *value) {
            (Takes::Switch, Value::One(value)) => value <= 1,
            (Takes::Number(most) | Takes::Seconds(most), Value::One(value)) => value <= most,
            (Takes::PowerOfTwo(most), Value::One(value)) => value.is_power_of_two() && value <= most,
            (Takes::Defence, Value::One(value)) => value <= 3,
            (Takes::Threshold, Value::Two(first, second)) => {
                first.max(second) <= MOST_PACKETS && (second == 0 || first < second)
            }
            _ => false,
        });
    }
    let SyncSettings::Managed { link, .. } = &settings.sync else { return };
    assert!((1..=15).contains(&link.interface.len()));
    let longest = if link.group.is_some_and(|group| group.is_ipv6()) { 65_487 } else { 65_507 };
    assert!(link.max_length == 0 || (1024..=longest).contains(&link.max_length));
    assert!(link.group.is_none_or(|group| group.is_multicast()));
}

/// A datagram of the kernel, after a byte that says of which family of addresses the servers are that were asked for.
pub(crate) fn replies(bytes: &[u8]) {
    let Some((first, datagram)) = bytes.split_first() else { return };
    let servers_of = if first & 1 == 1 { Family::V6 } else { Family::V4 };
    let mut number = 0;
    for message in Messages::new(datagram) {
        number += 1;
        match message.and_then(|message| message.decode(FAMILY, servers_of)) {
            Ok(Reply::Service(key, service)) => written_and_read_again(key, service),
            Ok(Reply::Server(address, server, _)) => {
                assert!(!address.to_string().is_empty() && !format!("{server:?}").is_empty());
            }
            Ok(_) => {}
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(number <= datagram.len().div_ceil(16), "no message is shorter than its header");
}

/// The kernel takes a service in the same words in which it tells of one.
fn written_and_read_again(key: ServiceKey, service: Service) {
    let change = Change::NewService { key, service: service.clone() };
    let mut bytes = Vec::new();
    Request::Change(&change).encode(&mut bytes, FAMILY, 7, true);
    let messages: Vec<_> = Messages::new(&bytes).collect();
    let [Ok(message)] = messages[..] else { panic!("one message: {messages:?}") };
    assert_eq!(message.decode(FAMILY, Family::V4), Ok(Reply::Service(key, service)));
}

/// The file of orders: whatever it is, it is read and written again.
pub(crate) fn orders(bytes: &[u8]) {
    thread_local!(static ROOT: TempRoot = TempRoot::new());
    ROOT.with(|root| {
        let mut file = OrdersFile::new(root.path());
        root.write("var/lib/trivet/ipvsd/orders", "");
        std::fs::write(file.path(), bytes).expect("the directory is there");
        let Ok(found) = file.read() else { return };
        assert!(found.orders.len() <= bytes.split(|byte| *byte == b'\n').count());
        assert!(found.orders.values().all(|order| !order.to_string().is_empty()));
        file.write(&found.orders).expect("the directory is there");
        let again = file.read().expect("we wrote it");
        assert_eq!((again.orders, again.strange.is_empty()), (found.orders, found.strange.is_empty()));
    });
}

/// The file of the services that are ours.
pub(crate) fn owned(bytes: &[u8]) {
    thread_local!(static ROOT: TempRoot = TempRoot::new());
    ROOT.with(|root| {
        let file = OwnedFile::new(root.path());
        root.write("run/trivet/ipvsd/owned", &String::from_utf8_lossy(bytes));
        let Ok(owned) = file.read() else { return };
        file.write(&owned).expect("the directory is there");
        assert_eq!(file.read().expect("we wrote it"), owned);
    });
}
