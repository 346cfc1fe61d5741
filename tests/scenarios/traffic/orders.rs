//! What orders and limits do to connections that are there, and to those that come.

use std::time::Duration;

use trivet_tests::clock::{PATIENCE, now, wait};
use trivet_tests::held::Held;
use trivet_tests::ipvs;

use crate::site::{SHORT, Site, at};

const DRAINED: u16 = 8205;
const LIMITED: u16 = 8206;
const FIRST: &str = "192.168.100.101";
const SECOND: &str = "192.168.100.102";

fn files() -> [(&'static str, String); 2] {
    let service = |port: u16, options: &str| {
        format!(
            "address = \"{}\"\nscheduler = \"rr\"\n{options}\n[[server]]\naddress = \"{FIRST}:{port}\"\n\
             [[server]]\naddress = \"{SECOND}:{port}\"\n",
            at(port)
        )
    };
    [
        ("ipvs.d/drained.toml", service(DRAINED, "")),
        ("ipvs.d/limited.toml", service(LIMITED, "upper_threshold = 2")),
    ]
}

/// Two connections that are held, the first server's first.
fn one_each(site: &Site, port: u16) -> [Held; 2] {
    let mut two = [site.hold(port), site.hold(port)];
    let mut names = two.each_mut().map(|held| held.ask().expect("it was just opened"));
    if names[0] == "web2" {
        two.reverse();
        names.reverse();
    }
    assert_eq!(names, ["web1", "web2"]);
    two
}

/// The server that the kernel sends a connection to, and its state there.
fn known(site: &Site, held: &Held) -> Option<(String, String)> {
    let client = held.client().to_string();
    let connections = ipvs::connections(&site.director);
    let found = connections.into_iter().find(|found| found.client == client)?;
    Some((found.server, found.state))
}

#[test]
fn connections_outlive_orders_and_a_server_at_its_limit_gets_no_more() {
    let files = files();
    let mut site = Site::new(2, &["ipvsd"], &files.each_ref().map(|(name, text)| (*name, text.as_str())));
    site.expect_table(2, 4);

    // While its ended connections are forgotten, which takes 10 s, others are drained.
    let limited = a_full_server_is_left_alone(&site);
    a_drain_ends_with_the_last_connection(&site);
    room_is_used_again(&site, limited);
    a_drain_outlives_a_crash_and_a_stop(&mut site);
    a_drain_ends_at_its_time_and_enable_brings_the_connection_back(&site);
    a_disabled_server_is_gone_at_once(&site);
}

/// Ends with the first server's two connections reset, and gives back the other's.
fn a_full_server_is_left_alone(site: &Site) -> [Held; 2] {
    let [a, b] = one_each(site, LIMITED);
    let [c, d] = one_each(site, LIMITED);
    let active: Vec<_> =
        ipvs::servers(&site.director, &at(LIMITED).to_string()).iter().map(|server| server.active).collect();
    assert_eq!(active, [2, 2], "both are at their limit");
    let more = site.try_hold(LIMITED, SHORT);
    assert!(more.is_err(), "nobody gets a fifth connection");
    a.reset();
    c.reset();
    [b, d]
}

fn room_is_used_again(site: &Site, mut limited: [Held; 2]) {
    let held = wait("the first server has room again", PATIENCE, || site.try_hold(LIMITED, SHORT).ok());
    assert_eq!(known(site, &held), Some((format!("{FIRST}:{LIMITED}"), "ESTABLISHED".into())));
    for held in &mut limited {
        assert_eq!(held.ask().as_deref(), Ok("web2"), "nothing has happened to the others");
    }
}

fn a_drain_ends_with_the_last_connection(site: &Site) {
    let [mut first, mut second] = one_each(site, DRAINED);
    let server = format!("{FIRST}:{DRAINED}");
    site.order("drained", "Drain", &["sus", &server, "600", "new disk"]);
    let weights = |first: u32| [(format!("{FIRST}:{DRAINED}"), first), (format!("{SECOND}:{DRAINED}"), 1)];
    assert_eq!(
        ipvs::weights(&site.director, &at(DRAINED).to_string()),
        weights(0),
        "done when the verb returns"
    );
    let row = site.says("drained", "Servers", "draining, 1 connections left");
    assert!(row.contains("\"Override\" s \"drain\"") && row.contains("new disk"), "{row}");
    assert_eq!(site.answers(at(DRAINED), 4), vec!["web2"; 4], "no new connection goes to it");
    assert_eq!(first.ask().as_deref(), Ok("web1"), "the open one goes on");
    assert_eq!(known(site, &first), Some((server.clone(), "ESTABLISHED".into())));
    first.reset();
    site.expect("the drained server leaves the table", DRAINED, &[(&format!("{SECOND}:{DRAINED}"), 1)]);
    site.says("drained", "Servers", "; disabled");
    assert_eq!(second.ask().as_deref(), Ok("web2"));
    let left = ipvs::connections(&site.director).into_iter().filter(|found| found.server == server).count();
    assert_eq!(left, 0, "not before the last connection was forgotten");
    site.order("drained", "Enable", &["s", &server]);
    assert_eq!(ipvs::weights(&site.director, &at(DRAINED).to_string()), weights(1), "it is back");
}

fn a_drain_outlives_a_crash_and_a_stop(site: &mut Site) {
    let [mut first, _second] = one_each(site, DRAINED);
    let server = format!("{FIRST}:{DRAINED}");
    site.order("drained", "Drain", &["sus", &server, "600", "new disk"]);
    let alone = [(format!("{FIRST}:{DRAINED}"), 0), (format!("{SECOND}:{DRAINED}"), 1)];
    site.trivet.kill("ipvsd");
    site.trivet.run(&site.director, "ipvsd");
    let row = site.says("drained", "Servers", "draining, 1 connections left");
    assert!(row.contains("\"Override\" s \"drain\"") && row.contains("new disk"), "{row}");
    assert_eq!(ipvs::weights(&site.director, &at(DRAINED).to_string()), alone);
    assert_eq!(first.ask().as_deref(), Ok("web1"), "the open one goes on");
    assert_eq!(site.answers(at(DRAINED), 4), vec!["web2"; 4], "no new connection goes to it");
    site.trivet.stop("ipvsd");
    assert_eq!(ipvs::weights(&site.director, &at(DRAINED).to_string()), alone, "a stop changes nothing");
    first.reset();
    site.trivet.run(&site.director, "ipvsd");
    site.expect("the drained server leaves the table", DRAINED, &[(&format!("{SECOND}:{DRAINED}"), 1)]);
    site.says("drained", "Servers", "; disabled");
    site.order("drained", "Enable", &["s", &server]);
}

fn a_drain_ends_at_its_time_and_enable_brings_the_connection_back(site: &Site) {
    let [mut first, _second] = one_each(site, DRAINED);
    let server = format!("{FIRST}:{DRAINED}");
    let ordered = now();
    site.order("drained", "Drain", &["sus", &server, "3", ""]);
    site.expect("the time is over", DRAINED, &[(&format!("{SECOND}:{DRAINED}"), 1)]);
    assert!(now() - ordered >= Duration::from_secs(3), "not before its time");
    assert!(known(site, &first).is_some(), "though a connection was left");
    site.says("drained", "Servers", "; disabled");
    // Its packets are dropped now; it goes on when the server is back.
    site.order("drained", "Enable", &["s", &server]);
    assert_eq!(first.ask().as_deref(), Ok("web1"), "the connection goes on where it was");
    assert_eq!(known(site, &first), Some((server, "ESTABLISHED".into())));
    first.reset();
}

fn a_disabled_server_is_gone_at_once(site: &Site) {
    let [_first, mut second] = one_each(site, DRAINED);
    let server = format!("{SECOND}:{DRAINED}");
    site.order("drained", "Disable", &["ss", &server, "its disk"]);
    let left = ipvs::weights(&site.director, &at(DRAINED).to_string());
    assert_eq!(left, [(format!("{FIRST}:{DRAINED}"), 1)], "done when the verb returns");
    assert_eq!(site.answers(at(DRAINED), 4), vec!["web1"; 4]);
    site.order("drained", "Enable", &["s", &server]);
    assert_eq!(second.ask().as_deref(), Ok("web2"), "the connection goes on where it was");
}
