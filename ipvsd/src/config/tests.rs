use daemon::testing::TempRoot;

use super::*;

fn load_one(text: &str) -> (Settings, String) {
    let root = TempRoot::new();
    root.write("etc/trivet/ipvs.d/web.toml", text);
    root.write("etc/trivet/check.d/drupal.toml", "type = \"http\"\n");
    let (settings, report) = load(root.path());
    (settings, report.to_string())
}

fn assert_says(text: &str, parts: &[&str]) {
    let (_, report) = load_one(text);
    for part in parts {
        assert!(report.contains(part), "{part:?} is not in:\n{report}");
    }
}

#[test]
fn the_example_of_the_architecture_is_read() {
    let (settings, report) = load_one(
        r#"
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
"#,
    );
    assert_eq!(report, "");
    let web = &settings.services["web"];
    assert_eq!(web.key().to_string(), "tcp 10.0.10.50:80");
    assert_eq!((web.scheduler.as_str(), web.forward, web.persistence), ("rr", Forward::Nat, None));
    let server = &web.servers[&"192.168.100.101:80".parse().unwrap()];
    assert_eq!(
        (server.weight, server.check.as_deref(), server.inhibit_on_failure),
        (1, Some("drupal"), false)
    );
    let server = &web.servers[&"192.168.100.102:8080".parse().unwrap()];
    assert_eq!((server.weight, server.check.as_deref(), server.inhibit_on_failure), (7, Some("tcp"), true));
}

#[test]
fn defaults_are_keepalived_s_and_a_server_without_a_port_has_the_services() {
    let (settings, report) = load_one(
        "address = \"[2001:db8::50]:443\"\npersistence = \"5min\"\nforward = \"route\"\n[[server]]\naddress = \"2001:db8::1\"\n",
    );
    assert_eq!(report, "");
    let web = &settings.services["web"];
    assert_eq!((web.scheduler.as_str(), web.protocol, web.persistence), ("wlc", Protocol::Tcp, Some(300)));
    let server = &web.servers[&"[2001:db8::1]:443".parse().unwrap()];
    assert_eq!((server.weight, server.forward, server.check.as_deref()), (1, Forward::Route, None));
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
            "web.toml:2:11: error: 'address' is not an address and a port: write \"10.0.10.50:80\"",
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
        ("sorry_server", "cannot do this yet"),
    ] {
        let text = format!("address = \"10.0.0.1:80\"\n{key} = 1\n");
        assert_says(&text, &[&format!("unknown key '{key}'"), answer]);
    }
    assert_says("address = \"10.0.0.1:80\"\nforward = \"DR\"\n", &["write \"route\""]);
}

#[test]
fn a_check_that_does_not_exist_is_an_error() {
    assert_says(
        "address = \"10.0.0.1:80\"\ncheck = \"x\"\n",
        &["there is no check 'x'", "the checks are drupal, tcp, ping;"],
    );
    assert_says(
        "address = \"10.0.0.1:53\"\nprotocol = \"udp\"\ncheck = \"tcp\"\n",
        &["warning: check 'tcp' makes TCP"],
    );
}

#[test]
fn a_check_without_a_file_can_be_disabled_and_a_service_that_names_it_is_told_so() {
    let root = TempRoot::new();
    root.write("etc/trivet/ipvs.d/a.toml", "address = \"10.0.0.1:80\"\ncheck = \"tcp\"\n");
    assert!(!load(root.path()).1.has_errors());
    root.write("etc/trivet/check.d/tcp.toml", "");
    let text = load(root.path()).1.to_string();
    assert!(text.contains("a.toml:2:9: error: the check 'tcp' is disabled by a link to /dev/null"), "{text}");
}

#[test]
fn one_address_and_protocol_is_one_service() {
    let root = TempRoot::new();
    root.write("etc/trivet/ipvs.d/a.toml", "address = \"10.0.0.1:80\"\n[[server]]\naddress = \"10.1.0.1\"\n");
    root.write("etc/trivet/ipvs.d/b.toml", "address = \"10.0.0.1:80\"\n[[server]]\naddress = \"10.1.0.1\"\n");
    let udp = "address = \"10.0.0.1:80\"\nprotocol = \"udp\"\n[[server]]\naddress = \"10.1.0.1\"\n";
    root.write("etc/trivet/ipvs.d/c.toml", udp);
    let (_, report) = load(root.path());
    let text = report.to_string();
    assert!(text.contains("b.toml:1:11: error: tcp 10.0.0.1:80 is already the service of"), "{text}");
    assert!(text.contains("a.toml:1:11\n") && text.contains("1 error\n"), "{text}");
}

#[test]
fn a_server_is_there_once_and_reachable_by_its_way_of_forwarding() {
    let service = "address = \"10.0.0.1:80\"\nforward = \"route\"\n";
    let server = |address: &str| format!("[[server]]\naddress = \"{address}\"\n");
    let twice = format!("{service}{}{}", server("10.1.0.1:80"), server("10.1.0.1"));
    assert_says(&twice, &["web.toml:6:11: error: server 10.1.0.1:80 is already at", "web.toml:4:11\n"]);
    assert_says(
        &format!("{service}{}", server("10.1.0.1:8080")),
        &["the server's port must be the service's, 80"],
    );
    assert_says(&format!("{service}{}", server("2001:db8::1")), &["of another family"]);
    assert_says(&format!("{service}{}", server("10.0.0.1")), &["the address of its own service"]);
    assert_says(&format!("{service}{}", server("0.0.0.0:80")), &["not the address of one machine"]);
    let nat = format!("address = \"10.0.0.1:80\"\n{}", server("10.1.0.1:8080"));
    assert_eq!(load_one(&nat).1, "");
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
fn addresses_without_a_port_or_with_an_impossible_one_are_refused() {
    assert_says("address = \"10.0.0.1\"\n", &["without a port: write \"10.0.0.1:80\""]);
    assert_says("address = \"2001:db8::1\"\n", &["without a port: write \"[2001:db8::1]:80\""]);
    assert_says("address = \"10.0.0.1:0\"\n", &["0 is none"]);
    assert_says("address = \"web.example:80\"\n", &["not an address and a port, such as"]);
    assert_says(
        "scheduler = \"rr\"\n",
        &["'address' is missing", "for example: address = \"10.0.10.50:80\""],
    );
}

#[test]
fn persistence_is_whole_seconds_up_to_a_month() {
    assert_says("address = \"10.0.0.1:80\"\npersistence = \"1500ms\"\n", &["must be whole seconds"]);
    assert_says(
        "address = \"10.0.0.1:80\"\npersistence = \"32d\"\n",
        &["'persistence' must be from 1s to 31d"],
    );
    assert_says("address = \"10.0.0.1:80\"\npersistence_timeout = 50\n", &["write persistence = \"50s\""]);
}

#[test]
fn daemon_wide_settings_are_optional() {
    let root = TempRoot::new();
    assert_eq!(load(root.path()).0, Settings::default());
    root.write("etc/trivet/ipvsd.toml", "health_grace = \"30s\"\nresync_interval = 5\n");
    let (settings, report) = load(root.path());
    assert!(report.is_empty(), "{report}");
    assert_eq!((settings.grace, settings.resync), (Duration::from_secs(30), Duration::from_secs(5)));
    root.write("etc/trivet/ipvsd.toml", "resync_interval = 0\ngrace = 1\n");
    let text = load(root.path()).1.to_string();
    assert!(
        text.contains("'resync_interval' must be from 100ms") && text.contains("unknown key 'grace'"),
        "{text}"
    );
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
fn the_commented_examples_are_valid_and_name_checks_that_are_examples_too() {
    let root = TempRoot::new();
    install_examples(&root, "check.d");
    let count = install_examples(&root, "ipvs.d");
    let settings = include_str!("../../../etc/trivet/ipvsd.toml.example");
    // What is commented out are the defaults.
    root.write(
        "etc/trivet/ipvsd.toml",
        &settings
            .replace("\n#health", "\nhealth")
            .replace("\n#resync", "\nresync")
            .replace("\n#log", "\nlog"),
    );
    let (settings, report) = load(root.path());
    assert!(report.is_empty(), "{report}");
    assert!(count >= 3 && settings.services.len() == count);
    let defaults = Settings::default();
    assert_eq!((settings.grace, settings.resync), (defaults.grace, defaults.resync));
    assert_eq!(settings.log_level, defaults.log_level);
}
