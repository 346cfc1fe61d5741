//! Configurations that cannot work are refused by `vrrpd --check`, with the place, the reason and exit status 78; those
//! that are odd are let pass, with a warning. Run as an administrator runs it.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

use std::process::Command;

use daemon::testing::TempRoot;

/// Lines 1 to 3 of every file that does not say otherwise. The loopback interface is there on every machine.
const HEAD: &str = "interface = \"lo\"\nvirtual_router_id = 51\n";
const ADDRESSES: &str = "addresses = [\"10.0.0.9/24\"]\n";

/// Exit status, and everything that was printed.
fn check(files: &[(&str, &str)]) -> (i32, String) {
    let root = TempRoot::new();
    for (name, text) in files {
        root.write(&format!("etc/trivet/vrrp.d/{name}.toml"), text);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_vrrpd"));
    let output = command.arg("--check").arg("--root").arg(root.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said.into_owned())
}

/// Keys from line 4 on, the line of the mistake (0: none, the whole file), and what must be said of it.
const REFUSED: &[(&str, usize, &[&str])] = &[
    // Times.
    ("version = 2\nadvert_interval = \"500ms\"", 5, &["advert_interval", "1s"]),
    ("version = 2\nadvert_interval = \"1500ms\"", 5, &["whole seconds", "version = 3"]),
    ("version = 2\nadvert_interval = \"256s\"", 5, &["advert_interval", "4min 15s"]),
    ("advert_interval = \"5ms\"", 4, &["advert_interval", "10ms"]),
    ("advert_interval = \"15ms\"", 4, &["multiple of 10ms"]),
    ("advert_interval = \"41s\"", 4, &["advert_interval", "40.95s"]),
    ("advert_interval = 0", 4, &["advert_interval"]),
    ("advert_interval = \"soon\"", 4, &["advert_interval"]),
    ("preempt = false\npreempt_delay = \"5s\"", 5, &["preempt_delay", "preempt = false"]),
    ("preempt_delay = \"1h\"", 4, &["preempt_delay"]),
    ("down_timer_adverts = 0", 4, &["down_timer_adverts", "1"]),
    // Numbers.
    ("priority = 0", 4, &["priority", "1", "255"]),
    ("priority = 256", 4, &["priority", "255"]),
    ("priority = \"high\"", 4, &["priority", "integer"]),
    ("version = 1", 4, &["version", "2", "3"]),
    ("version = 4", 4, &["version"]),
    // An owner without the address.
    ("priority = 255", 4, &["255", "10.0.0.9"]),
    // Version 3 has no password; version 2 has one of a kind.
    ("[authentication]\ntype = \"pass\"\npassword = \"x\"", 4, &["version 3 has no authentication"]),
    ("version = 2\n[authentication]\ntype = \"ah\"\npassword = \"x\"", 6, &["pass"]),
    ("version = 2\n[authentication]\ntype = \"pass\"", 5, &["password"]),
    (
        "version = 2\n[authentication]\ntype = \"pass\"\npassword = \"x\"\npassword_file = \"/y\"",
        5,
        &["password"],
    ),
    ("version = 2\n[authentication]\ntype = \"pass\"\npassword_file = \"/nowhere\"", 7, &["/nowhere"]),
    // Unicast.
    ("[unicast]\npeers = []", 5, &["without a peer"]),
    ("[unicast]\nsource = \"10.0.0.1\"", 4, &["peers"]),
    ("[unicast]\npeers = [\"10.0.0.2\", \"10.0.0.2\"]", 5, &["10.0.0.2", "twice"]),
    ("[unicast]\npeers = [\"fd00::2\"]", 5, &["fd00::2", "IPv6", "IPv4"]),
    ("[unicast]\npeers = [\"224.0.0.18\"]", 5, &["224.0.0.18"]),
    ("[unicast]\npeers = [\"10.0.0.9\"]", 5, &["10.0.0.9"]),
    ("[unicast]\nsource = \"10.0.0.1\"\npeers = [\"10.0.0.1\"]", 6, &["10.0.0.1"]),
    ("[unicast]\nsource = \"10.0.0.9\"\npeers = [\"10.0.0.2\"]", 5, &["10.0.0.9", "virtual address"]),
    (
        "[unicast]\npeers = [{ address = \"10.0.0.2\", min_ttl = 255, max_ttl = 254 }]",
        5,
        &["min_ttl", "max_ttl"],
    ),
    ("[unicast]\npeers = [7]", 5, &["peer"]),
    ("[unicast]\nttl = 0\npeers = [\"10.0.0.2\"]", 5, &["ttl"]),
    ("[unicast]\nunicast_peer = [\"10.0.0.2\"]", 5, &["peers = "]),
    // Virtual MAC addresses.
    ("vmac = { name = \"a-name-of-sixteen\" }", 4, &["a-name-of-sixteen"]),
    ("vmac = { name = \"a/b\" }", 4, &["a/b"]),
    ("vmac = { name = \"lo\" }", 4, &["lo"]),
    ("vmac = 7", 4, &["vmac", "true"]),
    ("vmac = { mac = \"00:00:5e:00:01:33\" }", 4, &["mac"]),
    ("accept = \"yes\"", 4, &["accept"]),
    // Tracking.
    ("track = [{ interface = \"lo\", weight = 0 }]", 4, &["weight"]),
    ("track = [{ interface = \"lo\", weight = 300 }]", 4, &["weight"]),
    ("track = [{ weight = 5 }]", 4, &["interface, unit, check"]),
    ("track = [{ check = \"tcp\" }]", 4, &["target"]),
    ("track = [{ check = \"nothing\", target = \"10.0.0.1:80\" }]", 4, &["no check 'nothing'"]),
    ("track = [{ service = \"nothing\" }]", 4, &["no virtual service 'nothing'"]),
    // What comes with the addresses.
    ("excluded_addresses = [\"10.0.0.9/24\"]", 4, &["10.0.0.9", "twice"]),
    ("excluded_addresses = [\"10.0.0.300/24\"]", 4, &["10.0.0.300"]),
    (
        "excluded_addresses = [{ address = \"10.0.0.10/24\", label = \"a-label-of-sixteen\" }]",
        4,
        &["a-label-of-sixteen"],
    ),
    ("excluded_addresses = [{ addres = \"10.0.0.10/24\" }]", 4, &["addres"]),
    ("routes = [\"10.1.0.0/16\"]", 4, &["via"]),
    ("routes = [\"to 10.1.0.0/16\"]", 4, &["via"]),
    ("routes = [\"to 10.1.0.0/16 via 10.0.0.300\"]", 4, &["10.0.0.300"]),
    ("rules = [\"from 10.1.0.0/16\"]", 4, &["table", "type"]),
    // Spelling.
    ("prioritty = 100", 4, &["prioritty", "priority"]),
    ("advert_int = 1", 4, &["advert_interval"]),
    ("nopreempt = true", 4, &["preempt = false"]),
    ("virtual_ipaddress = [\"10.0.0.9/24\"]", 4, &["addresses"]),
    ("priority = 100\npriority = 101", 5, &["priority"]),
    ("priority = ", 4, &[]),
    ("checksum = \"sum\"", 4, &["auto", "rfc", "keepalived"]),
    ("[garp]\nrepeat = 0", 5, &["repeat"]),
    ("[garp]\ninterval = \"2s\"", 5, &["interval"]),
];

/// Whole files.
const REFUSED_WHOLE: &[(&str, usize, &[&str])] = &[
    ("", 0, &["interface", "virtual_router_id", "addresses"]),
    ("interface = \"lo\"\naddresses = [\"10.0.0.9/24\"]", 0, &["virtual_router_id"]),
    ("virtual_router_id = 51\naddresses = [\"10.0.0.9/24\"]", 0, &["interface"]),
    ("interface = \"lo\"\nvirtual_router_id = 51", 0, &["addresses"]),
    (
        "interface = \"lo\"\nvirtual_router_id = 0\naddresses = [\"10.0.0.9/24\"]",
        2,
        &["virtual_router_id", "255"],
    ),
    (
        "interface = \"lo\"\nvirtual_router_id = 256\naddresses = [\"10.0.0.9/24\"]",
        2,
        &["virtual_router_id", "255"],
    ),
    ("interface = \"a name\"\nvirtual_router_id = 51\naddresses = [\"10.0.0.9/24\"]", 1, &["a name"]),
    (
        "interface = \"a-name-of-sixteen\"\nvirtual_router_id = 51\naddresses = [\"10.0.0.9/24\"]",
        1,
        &["a-name-of-sixteen"],
    ),
    ("interface = \"lo\"\nvirtual_router_id = 51\naddresses = []", 3, &["at least one"]),
    ("interface = \"lo\"\nvirtual_router_id = 51\naddresses = [\"10.0.0.9/33\"]", 3, &["33"]),
    ("interface = \"lo\"\nvirtual_router_id = 51\naddresses = [\"10.0.0.256/24\"]", 3, &["10.0.0.256"]),
    ("interface = \"lo\"\nvirtual_router_id = 51\naddresses = [\"224.0.0.18/24\"]", 3, &["224.0.0.18"]),
    ("interface = \"lo\"\nvirtual_router_id = 51\naddresses = [\"0.0.0.0/0\"]", 3, &["0.0.0.0"]),
    (
        "interface = \"lo\"\nvirtual_router_id = 51\naddresses = [\"10.0.0.9/24\", \"10.0.0.9/24\"]",
        3,
        &["10.0.0.9", "twice"],
    ),
    (
        "interface = \"lo\"\nvirtual_router_id = 51\naddresses = [\"10.0.0.9/24\", \"fd00::9/64\"]",
        3,
        &["fd00::9"],
    ),
    ("interface = \"lo\"\nvirtual_router_id = 51\naddresses = \"10.0.0.9/24\"", 3, &["addresses"]),
    (
        "interface = \"lo\"\nvirtual_router_id = 51\nversion = 2\naddresses = [\"fe80::9/64\"]",
        3,
        &["version 2 is of IPv4"],
    ),
];

/// Let pass, with a word: keys from line 4 on, the line, and what is said.
const WARNED: &[(&str, usize, &str)] = &[
    ("down_timer_adverts = 1", 4, "a single lost advertisement"),
    ("version = 2\nchecksum = \"rfc\"", 5, "one form of the checksum only"),
    ("sync_group = \"g\"", 4, "one member only"),
    ("version = 2\n[authentication]\ntype = \"pass\"\npassword = \"XXX999XXX\"", 7, "longer than 8 bytes"),
    ("version = 2\n[authentication]\ntype = \"pass\"\npassword = \"XXX999XX\"", 7, "can read the password"),
    ("[unicast]\nsource = \"10.0.0.1\"\npeers = [\"10.0.0.2\"]", 5, "does not have the source 10.0.0.1"),
];

fn place(line: usize) -> String {
    if line == 0 { "v.toml".into() } else { format!("v.toml:{line}:") }
}

#[test]
fn what_cannot_work_is_refused_with_place_and_reason() {
    let with_head =
        REFUSED.iter().map(|(keys, line, words)| (format!("{HEAD}{ADDRESSES}{keys}\n"), *line, *words));
    let whole = REFUSED_WHOLE.iter().map(|(text, line, words)| (format!("{text}\n"), *line, *words));
    let mut wrong = Vec::new();
    for (text, line, words) in with_head.chain(whole) {
        let (status, said) = check(&[("v", &text)]);
        let right =
            status == 78 && said.contains(&place(line)) && words.iter().all(|word| said.contains(word));
        if !right {
            wrong.push(format!("---- {text}wanted line {line}, {words:?}; got status {status}:\n{said}"));
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn what_is_odd_passes_with_a_warning() {
    for (keys, line, words) in WARNED {
        let (status, said) = check(&[("v", &format!("{HEAD}{ADDRESSES}{keys}\n"))]);
        assert_eq!(status, 0, "{keys}: {said}");
        assert!(said.contains(&place(*line)) && said.contains(words), "{keys}: {said}");
    }
    let (status, said) = check(&[("v", &format!("{HEAD}{ADDRESSES}").replace("\"lo\"", "\"eth77\""))]);
    assert!(status == 0 && said.contains("eth77"), "an interface may still come: {said}");
}

#[test]
fn what_two_files_may_not_share_is_refused_with_the_other_place() {
    let file = |keys: &str, address: &str| format!("{HEAD}addresses = [\"{address}\"]\n{keys}\n");
    let pairs = [
        (file("", "10.0.0.9/24"), file("", "10.0.0.10/24"), "virtual_router_id 51 is used twice"),
        (file("", "10.0.0.9/24"), file("", "10.0.0.9/24").replace("51", "52"), "10.0.0.9 is used twice"),
    ];
    for (one, other, words) in pairs {
        let (status, said) = check(&[("a", &one), ("b", &other)]);
        assert_eq!(status, 78, "{said}");
        assert!(said.contains(words) && said.contains("b.toml:") && said.contains("a.toml:"), "{said}");
    }
}

#[test]
fn a_plain_router_is_accepted() {
    let (status, said) = check(&[("v", &format!("{HEAD}{ADDRESSES}"))]);
    assert_eq!((status, said.trim()), (0, "configuration OK"));
}
