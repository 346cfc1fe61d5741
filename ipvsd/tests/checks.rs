//! ipvsd looks into check.d to tell at once when a service's servers lack the port that their check needs. The files are
//! checkd's, and so is the truth about them: for each of its types, and whatever a check says itself, both want the same.

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
const COMMANDS: [&str; 3] = [
    "type = 'exec'\ncommand = ['/bin/true', '-H{address}']\n",
    "type = 'exec'\ncommand = ['/bin/true', '{target}']\n",
    "type = 'exec'\ncommand = ['/bin/true', '{port}']\n",
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

/// Whether a target of this check must have a port; `None`: it is no check.
fn truth(root: &TempRoot) -> Option<bool> {
    let mut report = Report::new();
    let configuration = checkd::config::load(root.path(), &mut report);
    let check = configuration.checks.get("x").filter(|_| !report.has_errors())?;
    Some(check.kind.needs_port() && check.connect.port.is_none())
}

#[test]
fn a_server_without_a_port_has_a_check_that_needs_none() {
    let mut texts: Vec<String> = COMMANDS.map(str::to_owned).to_vec();
    for word in types() {
        let required = REQUIRED.iter().find(|(of, _)| *of == word).map_or("", |(_, text)| text);
        texts.push(format!("type = '{word}'\n{required}"));
    }
    let (mut compared, mut refused) = (0, 0);
    for (text, elsewhere) in texts.iter().flat_map(|text| ELSEWHERE.map(|elsewhere| (text, elsewhere))) {
        let (root, text) = (TempRoot::new(), format!("{text}{elsewhere}"));
        root.write("etc/trivet/check.d/x.toml", &text);
        let Some(needs_port) = truth(&root) else {
            assert_ne!(elsewhere, "", "{text} is a check");
            continue;
        };
        for (server, is_missing) in [("10.0.0.1", needs_port), ("10.0.0.1:80", false)] {
            let service = format!("mark = 7\ncheck = 'x'\n[[server]]\naddress = '{server}'\n");
            root.write("etc/trivet/ipvs.d/a.toml", &service);
            let said = ipvsd::config::load(root.path()).1.to_string();
            let wanted = "a.toml:2:9: error: check 'x' needs a port, and neither server 10.0.0.1 nor";
            assert_eq!(said.contains(wanted), is_missing, "{text}{server}: {said}");
            assert!(is_missing || said.is_empty(), "{text}{server}: {said}");
        }
        compared += 1;
        refused += usize::from(needs_port);
    }
    assert!(compared > 60 && refused > 5, "only {compared} checks were compared, {refused} refused");
}
