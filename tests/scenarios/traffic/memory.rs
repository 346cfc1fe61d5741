//! What the kernel remembers of a client, for how long, and what is done with it when its server is no longer to be
//! used: SIP calls, the time of a persistence, and the two sysctls that let go of what is remembered.

use std::time::Duration;

use trivet_tests::clock::{PATIENCE, now, wait};
use trivet_tests::ipvs;

use crate::namer::{Asker, Namer};
use crate::site::{CLIENT, SHORT, Site, at};

const CALLS: u16 = 5060;
const BRIEF: u16 = 5302;
/// Of which clients are remembered, when a server gets weight 0.
const IDLE: u16 = 5303;
/// Of which a conversation is remembered, when a server is taken out.
const GONE: u16 = 5304;
/// What `BRIEF` says: enough for two requests in an emulated machine.
const BRIEF_TIME: Duration = Duration::from_secs(10);

const SERVERS: &str =
    "[[server]]\naddress = \"192.168.100.101\"\n[[server]]\naddress = \"192.168.100.102\"\n";

/// Port, name and settings of each service, beside what they have in common.
const SERVICES: [(u16, &str, &str); 4] = [
    (CALLS, "calls", "one_packet = true\npersistence = \"5min\"\npersistence_engine = \"sip\""),
    (BRIEF, "brief", "one_packet = true\npersistence = \"10s\""),
    (IDLE, "idle", "one_packet = true\npersistence = \"5min\""),
    (GONE, "gone", ""),
];

fn drop_in((port, name, options): &(u16, &str, &str)) -> (String, String) {
    let text = format!(
        "address = \"{}\"\nprotocol = \"udp\"\nscheduler = \"rr\"\nforward = \"route\"\n{options}\n{SERVERS}",
        at(*port)
    );
    (format!("ipvs.d/{name}.toml"), text)
}

/// The server of that name, on a port.
fn server(name: &str, port: u16) -> String {
    let number = name.strip_prefix("web").expect("a web server's name");
    format!("192.168.100.10{number}:{port}")
}

#[test]
fn clients_are_remembered_by_what_for_as_long_and_for_as_far_as_the_settings_say() {
    let files: Vec<_> = SERVICES.iter().map(drop_in).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let site = Site::new(2, &["ipvsd"], &files);
    site.expect_table(SERVICES.len(), SERVICES.len() * 2);
    let _servers =
        [0, 1].map(|index: usize| SERVICES.map(|(port, _, _)| Namer::udp(&site.web_hosts[index], at(port))));

    a_call_has_one_server_and_two_of_one_proxy_may_have_two(&site);
    a_client_is_forgotten_when_its_time_is_over(&site);
    let asker = Asker::new(&site, CLIENT);
    let (kept, other) = (a_client_keeps_its_server_of_weight_0(&site, &asker), Asker::new(&site, CLIENT));
    let lost = a_conversation_with_a_removed_server_gets_no_answer(&site, &other);
    let_go(&site);
    let moved = asker.ask(at(IDLE), "who?");
    assert_ne!(moved, kept, "expire_quiescent_template: it goes to a server that takes new connections");
    let moved = wait("another server", PATIENCE, || other.try_ask(at(GONE), "who?", SHORT));
    assert_ne!(moved, lost, "expire_nodest_conn: the conversation goes on with a server that is there");
}

fn a_call_has_one_server_and_two_of_one_proxy_may_have_two(site: &Site) {
    let proxy = Asker::new(site, CLIENT);
    let call = |id: &str| {
        let text =
            format!("OPTIONS sip:all@10.0.10.50 SIP/2.0\r\nCall-ID: {id}\r\nContent-Length: 0\r\n\r\n");
        proxy.ask(at(CALLS), &text)
    };
    let (first, second) = (call("first@proxy"), call("second@proxy"));
    assert_ne!(first, second, "another call of the same address and port has the next server");
    for _ in 0..3 {
        assert_eq!((call("first@proxy"), call("second@proxy")), (first.clone(), second.clone()));
    }
    let known = site.director.sh("ipvsadm -Lcn --persistent-conn");
    for id in ["first@proxy", "second@proxy"] {
        let is_of_call = |line: &str| line.split_whitespace().rev().take(2).eq([id, "sip"]);
        assert!(known.lines().any(is_of_call), "{id} is not in:\n{known}");
    }
}

fn a_client_is_forgotten_when_its_time_is_over(site: &Site) {
    let asker = Asker::new(site, CLIENT);
    let first = asker.ask(at(BRIEF), "who?");
    let asked = now();
    assert_eq!(asker.ask(at(BRIEF), "who?"), first, "it is remembered");
    wait("it is forgotten", PATIENCE, || {
        let service = at(BRIEF).to_string();
        let known = ipvs::connections(&site.director);
        known.iter().all(|found| !found.service.starts_with(&service)).then_some(())
    });
    assert!(now() - asked >= BRIEF_TIME, "not before its time");
    assert_ne!(asker.ask(at(BRIEF), "who?"), first, "it has the next server, as a new client");
}

/// Which server that is.
fn a_client_keeps_its_server_of_weight_0(site: &Site, asker: &Asker) -> String {
    let kept = asker.ask(at(IDLE), "who?");
    site.order("idle", "SetWeight", &["sqs", &server(&kept, IDLE), "0", "new disk"]);
    for _ in 0..3 {
        assert_eq!(asker.ask(at(IDLE), "who?"), kept, "whoever is remembered keeps it");
    }
    kept
}

/// Which server that was.
fn a_conversation_with_a_removed_server_gets_no_answer(site: &Site, asker: &Asker) -> String {
    let lost = asker.ask(at(GONE), "who?");
    site.order("gone", "Disable", &["ss", &server(&lost, GONE), "new disk"]);
    assert_eq!(asker.try_ask(at(GONE), "who?", SHORT), None, "its packets are dropped");
    let known = ipvs::connections(&site.director);
    let is_known = known.iter().any(|found| found.server == server(&lost, GONE));
    assert!(is_known, "for when the server comes back: {known:?}");
    lost
}

/// The two sysctls are set, by a reload.
fn let_go(site: &Site) {
    let names = ["expire_quiescent_template", "expire_nodest_conn"];
    let values =
        || names.map(|name| site.director.sh(&format!("sysctl -n net.ipv4.vs.{name}")).trim().to_owned());
    assert_eq!(values(), ["0", "0"], "as the kernel has them");
    site.trivet.write("ipvsd.toml", &format!("[sysctl]\n{} = true\n{} = true\n", names[0], names[1]));
    site.trivet.reload("ipvsd");
    wait("the sysctls are set", PATIENCE, || (values() == ["1", "1"]).then_some(()));
}
