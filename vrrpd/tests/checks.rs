//! vrrpd looks into check.d to tell at once when a tracked check's target lacks something. The files are checkd's, and so
//! is the truth about them: for each of its types, and whatever a check says itself, both want the same of a target.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

use daemon::diagnostic::Report;
use daemon::testing::TempRoot;

/// What a type cannot be without.
const REQUIRED: [(&str, &str); 3] = [
    ("unit", "unit = 'x.service'\n"),
    ("exec", "command = ['/bin/true']\n"),
    ("dialog", "step = [{ send = 'x' }]\n"),
];
/// Where a probe goes instead; a type that has no use for it says so.
const ELSEWHERE: [&str; 4] =
    ["", "port = 8080\n", "address = '10.0.0.9'\n", "address = '10.0.0.9'\nport = 8080\n"];
const COMMANDS: [&str; 4] = [
    "type = 'exec'\ncommand = ['/bin/true', '-H{address}']\n",
    "type = 'exec'\ncommand = ['/bin/true', '{target}']\n",
    "type = 'exec'\ncommand = ['/bin/true', '{port}']\n",
    "type = 'exec'\ncommand = ['/bin/true', '{print}']\n",
];

/// The words that checkd's reader offers instead of a wrong one.
fn types() -> Vec<String> {
    let root = TempRoot::new();
    root.write("etc/trivet/check.d/x.toml", "type = 'qqqqqqqqqqqqqqqq'\n");
    let mut report = Report::new();
    let _ = checkd::config::load(root.path(), &mut report);
    let report = report.to_string();
    let list = report.split("one of ").nth(1).unwrap_or_else(|| panic!("no list of types: {report}"));
    list.lines().next().unwrap().split(", ").map(|word| word.trim_matches('"').to_owned()).collect()
}

/// Whether a target of this check must have an address, and a port; `None`: it is no check.
fn truth(root: &TempRoot) -> Option<(bool, bool)> {
    let mut report = Report::new();
    let configuration = checkd::config::load(root.path(), &mut report);
    if report.has_errors() {
        return None;
    }
    let check = &configuration.checks["x"];
    let address = !check.kind.is_local() && check.connect.address.is_none();
    Some((address, check.kind.needs_port() && check.connect.port.is_none()))
}

/// What vrrpd says to a router that tracks the check with this target.
fn said(root: &TempRoot, target: &str) -> String {
    let router = "interface = 'eth0'\nvirtual_router_id = 51\naddresses = ['192.168.1.153/24']\n";
    root.write("etc/trivet/vrrp.d/gateway.toml", &format!("{router}track = [{{ check = 'x'{target} }}]\n"));
    let mut report = Report::new();
    let _ = vrrpd::config::load(root.path(), None, &mut report);
    report.to_string()
}

#[test]
fn a_tracked_target_must_have_what_checkd_needs_of_it_and_no_more() {
    let mut texts: Vec<String> = COMMANDS.map(str::to_owned).to_vec();
    for word in types() {
        let required = REQUIRED.iter().find(|(of, _)| *of == word).map_or("", |(_, text)| text);
        texts.push(format!("type = '{word}'\n{required}"));
    }
    let mut compared = 0;
    for (text, elsewhere) in texts.iter().flat_map(|text| ELSEWHERE.map(|elsewhere| (text, elsewhere))) {
        let (root, text) = (TempRoot::new(), format!("{text}{elsewhere}"));
        root.write("etc/trivet/check.d/x.toml", &text);
        let Some((address, port)) = truth(&root) else {
            assert_ne!(elsewhere, "", "{text} is a check");
            continue;
        };
        for (target, missing) in [
            ("", (address || port).then_some("'target' is missing")),
            (", target = '10.0.0.1'", port.then_some("'target' is an address without a port")),
            (", target = '10.0.0.1:80'", None),
        ] {
            let said = said(&root, target);
            match missing {
                Some(missing) => assert!(said.contains(missing), "{text}{target}: {said}"),
                None => assert_eq!(said, "", "{text}{target}"),
            }
        }
        compared += 1;
    }
    assert!(compared > 60, "only {compared} checks were compared");
}
