//! The setups that articles on LVS and keepalived describe, as the examples say them: each set by itself passes the three
//! daemons' checks, and has the article's addresses, numbers and words.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

#[path = "common/examples.rs"]
mod examples;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use checkd::check::Check;
use checkd::probe::Kind;
use daemon::diagnostic::Report;
use daemon::testing::TempRoot;
use ipvsd::service::{AllDown, OnFailure, VirtualService};
use ipvsd::table::Forward;
use vrrpd::config::RouterConfig;

/// An article's files, alone in a tree of their own.
struct Setup {
    services: ipvsd::service::Settings,
    checks: checkd::config::Configuration,
    routers: vrrpd::config::Configuration,
}

fn setup(files: &[&str]) -> Setup {
    let root = TempRoot::new();
    for file in files {
        let example =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/trivet").join(format!("{file}.toml.example"));
        let text = std::fs::read_to_string(&example).unwrap();
        root.write(&format!("etc/trivet/{file}.toml"), &text);
        let is_check = file.starts_with("check.d");
        assert!(is_check || text.contains("article"), "{file} says which article's setup it is");
    }
    ["gateway", "web-route"]
        .iter()
        .for_each(|name| root.write(&format!("etc/trivet/{name}.pass"), "XXX999XX"));
    let (services, report) = ipvsd::config::load(root.path());
    assert_eq!(report.to_string(), "", "{files:?}");
    let mut report = Report::new();
    let checks = checkd::config::load(root.path(), &mut report);
    let routers = vrrpd::config::load(root.path(), None, &mut report);
    assert!(!report.has_errors(), "{files:?}: {report}");
    Setup { services, checks, routers }
}

impl Setup {
    fn service(&self, name: &str) -> Arc<VirtualService> {
        Arc::clone(&self.services.services[name])
    }

    fn check(&self, name: &str) -> &Check {
        &self.checks.checks[name]
    }

    fn router(&self, name: &str) -> &RouterConfig {
        &self.routers.routers[name]
    }
}

fn fronts(service: &VirtualService) -> Vec<String> {
    service.fronts.iter().map(ToString::to_string).collect()
}

fn servers(service: &VirtualService) -> Vec<(String, u16)> {
    service.servers.iter().map(|(backend, server)| (backend.to_string(), server.weight)).collect()
}

fn addresses(router: &RouterConfig) -> Vec<String> {
    router.settings.addresses.iter().map(|address| address.address.to_string()).collect()
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn two_gateways_of_debian_buster_that_balance_by_nat() {
    let setup = setup(&["ipvs.d/web-nat", "check.d/slow-tcp", "vrrp.d/gateway"]);
    let web = setup.service("web-nat");
    assert_eq!((fronts(&web), &*web.scheduler), (vec!["tcp 10.0.10.50:80".to_owned()], "rr"));
    assert_eq!(web.forward, Forward::Nat);
    assert_eq!(servers(&web), [("192.168.100.101:80".to_owned(), 1), ("192.168.100.102:80".to_owned(), 1)]);
    let check = setup.check("slow-tcp");
    assert_eq!((check.interval, check.timeout), (6 * SECOND, 10 * SECOND));
    assert!(matches!(check.kind, Kind::Tcp) && web.check.as_deref() == Some("slow-tcp"));
    let router = setup.router("gateway");
    assert_eq!(addresses(router), ["192.168.100.10", "10.0.10.50"]);
    assert_eq!((router.vrid.get(), router.settings.priority.0), (1, 100));
}

#[test]
fn direct_routing_on_debian_lenny() {
    let setup = setup(&["ipvs.d/web-route", "check.d/index", "vrrp.d/web-route"]);
    let web = setup.service("web-route");
    assert_eq!((fronts(&web), &*web.scheduler), (vec!["tcp 10.0.0.1:80".to_owned()], "rr"));
    assert_eq!(web.forward, Forward::Route);
    assert_eq!(servers(&web), [("10.0.0.5".to_owned(), 1), ("10.0.0.6".to_owned(), 1)]);
    let check = setup.check("index");
    assert_eq!((check.interval, check.timeout), (10 * SECOND, 5 * SECOND));
    let router = setup.router("web-route");
    assert_eq!(addresses(router), ["10.0.0.1"]);
    assert_eq!((router.vrid.get(), router.settings.priority.0), (200, 101));
}

#[test]
fn two_ubuntu_machines_that_share_an_address() {
    let setup = setup(&["vrrp.d/shared-address"]);
    let router = setup.router("shared-address");
    assert_eq!(addresses(router), ["192.168.1.153"]);
    assert_eq!((router.vrid.get(), router.settings.priority.0), (51, 101));
}

#[test]
fn web_and_mail_behind_a_redundant_pair_with_a_sorry_server() {
    let setup = setup(&[
        "ipvs.d/web-nat",
        "ipvs.d/sorry-server",
        "check.d/slow-tcp",
        "check.d/smtp",
        "vrrp.d/gateway",
    ]);
    let (web, mail) = (setup.service("web-nat"), setup.service("sorry-server"));
    assert_eq!((web.servers.len(), mail.servers.len()), (2, 6));
    assert_eq!(mail.sorry.unwrap().backend.to_string(), "192.168.100.200:25");
    assert_eq!(mail.persistence.as_ref().unwrap().timeout, 300);
    assert_eq!(mail.check.as_deref(), Some("smtp"));
}

#[test]
fn a_failed_drupal_that_stays_with_weight_0_and_a_stand_in() {
    let setup = setup(&["ipvs.d/web-inhibit", "ipvs.d/active-backup", "check.d/drupal"]);
    let web = setup.service("web-inhibit");
    assert_eq!((fronts(&web), &*web.scheduler), (vec!["tcp 192.168.1.6:80".to_owned()], "rr"));
    assert_eq!(web.forward, Forward::Nat);
    assert_eq!(servers(&web), [("10.0.0.2:80".to_owned(), 1), ("10.0.0.3:80".to_owned(), 1)]);
    assert!(web.servers.values().all(|server| server.on_failure == OnFailure::Inhibit));
    let check = setup.check("drupal");
    assert_eq!((check.interval, check.timeout), (60 * SECOND, 3 * SECOND));
    let Kind::Http(settings) = &check.kind else { panic!("{:?}", check.kind) };
    let paths: Vec<_> = settings.requests().iter().map(|request| request.path.clone()).collect();
    assert_eq!(paths, ["/drupal/"]);
    let pair = setup.service("active-backup");
    assert_eq!(servers(&pair), [("10.0.0.2:80".to_owned(), 1)]);
    assert_eq!(pair.sorry.unwrap().backend.to_string(), "10.0.0.3:80");
    assert_eq!(pair.all_down, AllDown::Drop);
}

/// `kernel/examples.rs` shows that they are what they say.
#[test]
fn every_example_of_a_service_is_loaded_into_a_kernel() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/trivet/ipvs.d");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let files: BTreeSet<_> = files.map(|name| name.into_string().unwrap()).collect();
    let loaded = examples::EXAMPLES.iter().filter_map(|(file, _)| file.strip_prefix("ipvs.d/"));
    let loaded: BTreeSet<_> = loaded.map(|stem| format!("{stem}.toml.example")).collect();
    assert_eq!(loaded, files);
}
