use std::time::Duration;

use daemon::testing::TempRoot;

use super::*;
use crate::probe::{http, ping};

mod dns;
mod udp;

/// The report on one check's text, and the check if there was no error.
fn read(text: &str) -> (String, Option<Arc<Check>>) {
    let root = TempRoot::new();
    root.write("etc/trivet/check.d/web.toml", text);
    let mut report = Report::new();
    let configuration = load(root.path(), &mut report);
    let check = configuration.checks.get("web").cloned();
    (
        report.to_string().replace(&root.path().display().to_string(), ""),
        check.filter(|_| !report.has_errors()),
    )
}

fn errors(text: &str) -> String {
    let (report, check) = read(text);
    assert_eq!(check, None, "{report}");
    report
}

fn good(text: &str) -> Check {
    let (report, check) = read(text);
    assert_eq!(report, "");
    Check::clone(&check.unwrap())
}

/// Of a check with one request.
fn http_settings(check: &Check) -> &http::Request {
    match &check.kind {
        Kind::Http(settings) => &settings.requests()[0],
        Kind::Tcp
        | Kind::Dns(_)
        | Kind::Tls(_)
        | Kind::Udp(_)
        | Kind::Ping(_)
        | Kind::Exec(_)
        | Kind::Dialog(_)
        | Kind::Unit(_) => {
            panic!("not http")
        }
    }
}

#[test]
fn the_checks_tcp_and_ping_exist_without_a_file_and_a_file_replaces_one() {
    let root = TempRoot::new();
    let mut report = Report::new();
    let checks = load(root.path(), &mut report).checks;
    assert_eq!(checks.keys().collect::<Vec<_>>(), ["ping", "tcp"]);
    assert_eq!(*checks["tcp"], Check::with_defaults(Kind::Tcp));
    assert_eq!(*checks["ping"], Check::with_defaults(Kind::Ping(ping::Settings { size: 56 })));
    root.write("etc/trivet/check.d/tcp.toml", "type = \"tcp\"\ninterval = \"1s\"\n");
    let checks = load(root.path(), &mut report).checks;
    assert_eq!((checks["tcp"].interval, checks.len()), (Duration::from_secs(1), 2));
    assert!(report.is_empty(), "{report}");
}

#[test]
fn a_link_to_dev_null_removes_a_check_that_needs_no_file() {
    let root = TempRoot::new();
    root.write("etc/trivet/check.d/other.toml", "type = \"tcp\"\n");
    std::os::unix::fs::symlink("/dev/null", root.path().join("etc/trivet/check.d/tcp.toml")).unwrap();
    let mut report = Report::new();
    let configuration = load(root.path(), &mut report);
    assert!(report.is_empty(), "{report}");
    assert_eq!(configuration.checks.keys().collect::<Vec<_>>(), ["other", "ping"]);
    assert_eq!(configuration.disabled, ["tcp"]);
}

#[test]
fn everything_but_the_type_has_a_default() {
    let check = good("type = \"http\"\n");
    assert_eq!(check, Check::with_defaults(Kind::Http(http::Settings::default())));
    assert_eq!(check.interval, Duration::from_secs(6));
    assert_eq!(check.timeout, Duration::from_secs(5));
    assert_eq!((check.thresholds.rise.get(), check.thresholds.fall.get()), (1, 2));
}

#[test]
fn every_key_is_read() {
    let check = good(
        "type = \"http\"\ninterval = \"250ms\"\ntimeout = 3\nretry_interval = \"100ms\"\nrise = 3\nfall = 4\n\
         method = \"HEAD\"\npath = \"/drupal/?q=1\"\nhost = \"www.example.com:8080\"\nstatus = [200, \"300-399\"]\n\
         [headers]\nX-Probe = \"yes, really\"\n",
    );
    assert_eq!(check.interval, Duration::from_millis(250));
    assert_eq!(check.timeout, Duration::from_secs(3));
    assert_eq!(check.retry_interval, Duration::from_millis(100));
    assert_eq!((check.thresholds.rise.get(), check.thresholds.fall.get()), (3, 4));
    let settings = http_settings(&check);
    assert_eq!((settings.method, settings.path.as_str()), (http::Method::Head, "/drupal/?q=1"));
    assert_eq!(settings.host.as_deref(), Some("www.example.com:8080"));
    assert_eq!(settings.headers, [("X-Probe".to_owned(), "yes, really".to_owned())]);
    assert_eq!(settings.status.to_string(), "200, 300-399");
    assert_eq!(http_settings(&good("type = \"http\"\nstatus = 204\n")).status.to_string(), "204");
}

#[test]
fn all_mistakes_of_all_files_are_told_in_one_run() {
    let root = TempRoot::new();
    root.write(
        "etc/trivet/check.d/a.toml",
        "type = \"http\"\npath = \"drupal\"\ninterval = \"1ms\"\nfall = 0\n",
    );
    root.write("etc/trivet/check.d/b.toml", "type = \"tcp\"\ntimeout = \"fast\"\n");
    root.write("etc/trivet/checkd.toml", "log_level = \"loud\"\n");
    let mut report = Report::new();
    let _ = load(root.path(), &mut report);
    assert_eq!(report.diagnostics().len(), 5, "{report}");
    let text = report.to_string();
    assert!(text.contains("a.toml:2:8: error: 'path' is not a path: it must begin with a slash"), "{text}");
    assert!(text.contains("a.toml:3:12: error: 'interval' must be from 100ms to 1d"), "{text}");
    assert!(text.contains("b.toml:2:11: error: 'timeout' is not a time span"), "{text}");
}

#[test]
fn unknown_keys_are_answered_with_ours_for_keepalived_s() {
    for (theirs, ours) in [
        ("delay_loop = 6", "interval ="),
        ("connect_timeout = 3", "timeout ="),
        ("nb_get_retry = 3", "fall = N + 1"),
        ("retry = 3", "fall = N + 1"),
        ("delay_before_retry = 3", "retry_interval ="),
        ("intervall = 3", "did you mean 'interval'?"),
        ("pfad = \"/\"", "the keys here are"),
    ] {
        let report = errors(&format!("type = \"http\"\n{theirs}\n"));
        assert!(report.contains("unknown key") && report.contains(ours), "{report}");
        assert!(report.contains("2:1"), "{report}");
    }
    let report = errors("type = \"tcp\"\npath = \"/\"\n");
    assert!(report.contains("belongs to type = \"http\""), "{report}");
}

#[test]
fn a_type_that_is_not_there_is_answered_with_those_that_are() {
    assert!(errors("interval = 3\n").contains("'type' is missing"));
    let report = errors("type = \"qqqqqqqqqqqq\"\n");
    assert!(report.contains("one of \"tcp\", \"tls\", "), "{report}");
    assert!(errors("type = \"HTTP_GET\"\n").contains("write \"http\""));
    for https in ["https", "SSL_GET"] {
        let report = errors(&format!("type = \"{https}\"\n"));
        assert!(report.contains("write type = \"http\" and tls = true"), "{report}");
    }
    assert!(errors("type = \"htpp\"\npath = \"/\"\n").contains("did you mean \"http\"?"));
    assert!(!errors("type = \"htpp\"\npath = \"/\"\n").contains("unknown key"));
    assert!(errors("type = 3\n").contains("'type' must be a string"));
}

#[test]
fn nothing_breaks_out_of_its_line_of_the_request() {
    for (line, expected) in [
        (r#"path = "/ HTTP/1.1\r\nEvil: yes""#, "percent-encoded"),
        (r#"path = "/\u00e9""#, "percent-encoded"),
        (r##"path = "/#top""##, "never sent"),
        (r#"host = "a\r\nEvil: yes""#, "not a host name"),
        (r#"host = """#, "empty"),
        ("headers = { X = \"a\\r\\nEvil: yes\" }", "has '\\r' in it"),
        ("headers = { \"X Y\" = \"a\" }", "not the name of a header"),
        ("headers = { host = \"a\" }", "use the key host"),
        ("headers = { Connection = \"keep-alive\" }", "cannot be set"),
        ("headers = { X = 1 }", "must be a string"),
        ("method = \"POST\"", "one of \"GET\", \"HEAD\""),
    ] {
        let report = errors(&format!("type = \"http\"\n{line}\n"));
        assert!(report.contains(expected), "{line}: {report}");
    }
}

#[test]
fn every_wrong_status_of_an_array_is_told() {
    let report = errors("type = \"http\"\nstatus = [200, \"999\", \"300-200\"]\n");
    assert!(report.contains(":2:16:") && report.contains(":2:23:"), "{report}");
}

#[test]
fn a_status_that_can_never_pass_is_refused() {
    for status in ["[]", "[\"2xx\"]", "[700]", "[200, true]", "\"299-200\"", "1.5"] {
        let report = errors(&format!("type = \"http\"\nstatus = {status}\n"));
        assert!(report.contains("'status' is"), "{report}");
    }
}

/// The example drop-ins of the repository, each read as if it had been put in place. (tests/examples runs each.)
#[test]
fn the_examples_are_checks() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/trivet/check.d");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(stem) = name.strip_suffix(".toml.example") else { panic!("{name} is no example") };
        let check = good(&std::fs::read_to_string(&path).unwrap());
        names.push(format!("{stem} {} {:?} {:?}", check.kind.as_str(), check.interval, check.timeout));
    }
    for name in ["drupal http 60s 3s", "index http 10s 5s", "slow-tcp tcp 6s 10s"] {
        assert!(names.iter().any(|other| other == name), "no {name} among {names:?}");
    }
}

#[test]
fn the_example_of_the_daemon_wide_file_has_the_defaults() {
    let root = TempRoot::new();
    let example = include_str!("../../../etc/trivet/checkd.toml.example");
    root.write("etc/trivet/checkd.toml", &example.replace("\n#log_level", "\nlog_level"));
    let mut report = Report::new();
    assert_eq!(load(root.path(), &mut report).settings, Settings::default());
    assert!(report.is_empty(), "{report}");
}

#[test]
fn a_probe_may_leave_from_elsewhere_and_go_elsewhere() {
    let check = good(
        "type = \"tcp\"\nsource = \"10.0.0.9\"\ninterface = \"eth1\"\nmark = 3\naddress = \"10.0.0.7\"\nport = 8080\n",
    );
    let connect = &check.connect;
    assert_eq!(connect.source, Some("10.0.0.9".parse().unwrap()));
    assert_eq!((connect.interface.as_deref(), connect.mark), (Some("eth1"), Some(3)));
    let route = connect.route("10.0.0.5:80".parse().unwrap());
    assert_eq!(route.target, "10.0.0.5:80".parse().unwrap());
    assert_eq!(route.endpoint, "10.0.0.7:8080".parse().unwrap());
    assert_eq!(good("type = \"tcp\"\n").connect.route(route.target).endpoint, route.target);
    // What a Host header, a certificate and a dialog's words are made of has no gaps that the check can fill.
    for (target, filled) in [("10.0.0.5:0", "10.0.0.5:8080"), ("0.0.0.0:0", "10.0.0.7:8080")] {
        let route = connect.route(target.parse().unwrap());
        assert_eq!(
            (route.target, route.endpoint),
            (filled.parse().unwrap(), "10.0.0.7:8080".parse().unwrap())
        );
    }
    let report = errors(
        "type = \"tcp\"\nsource = \"eth0\"\ninterface = \"a/b\"\nmark = 0\naddress = \"0.0.0.0\"\nport = 70000\nfwmark = 1\n",
    );
    for expected in [
        "web.toml:2:10: error: 'source' is not an IP address",
        "web.toml:3:13: error: 'interface' is not the name of an interface",
        "web.toml:4:8: error: 'mark' must be from 1",
        "web.toml:5:11: error: 'address' is no address of a machine",
        "web.toml:6:8: error: 'port' must be from 1 to 65535",
        "hint: keepalived's fwmark is mark = 3 here",
    ] {
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
    }
    let report = errors("type = \"tcp\"\nsource = \"10.0.0.9\"\naddress = \"2001:db8::1\"\n");
    assert!(report.contains("from 10.0.0.9 nothing can be sent to 2001:db8::1"), "{report}");
}

#[test]
fn intervals_for_servers_that_are_down_and_damping_are_read() {
    let check = good(
        "type = \"tcp\"\ndown_interval = \"30s\"\ndamping = { changes = 5, within = \"5min\", hold = 600 }\n",
    );
    assert_eq!(
        (check.interval, check.down_interval),
        (Duration::from_secs(6), Some(Duration::from_secs(30)))
    );
    let damping = check.damping.unwrap();
    assert_eq!(damping.changes.get(), 5);
    assert_eq!((damping.within, damping.hold), (Duration::from_secs(300), Duration::from_secs(600)));
    let report = errors(
        "type = \"tcp\"\ndown_interval = \"1ms\"\n[damping]\nchanges = 1\nwithin = \"1ms\"\nholt = 3\n",
    );
    for expected in [
        "web.toml:2:17: error: 'down_interval' must be from 100ms to 1d",
        "web.toml:4:11: error: 'changes' must be from 2 to 100",
        "web.toml:5:10: error: 'within' must be from 1s to 1d",
        "web.toml:6:1: error: unknown key 'holt'",
        "hint: did you mean 'hold'?",
        "error: 'hold' is missing",
    ] {
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
    }
    assert!(errors("type = \"tcp\"\ndamping = true\n").contains("'damping' must be a table"));
}

#[test]
fn unknown_times_are_answered_with_ours_for_ldirectord_s() {
    for (theirs, ours) in [
        ("checkinterval = 10", "interval ="),
        ("checktimeout = 5", "timeout ="),
        ("negotiatetimeout = 30", "timeout ="),
        ("checkcount = 3", "fall ="),
        ("failurecount = 3", "fall ="),
    ] {
        let report = errors(&format!("type = \"tcp\"\n{theirs}\n"));
        assert!(report.contains("ldirectord's") && report.contains(ours), "{report}");
    }
}

#[test]
fn checks_are_known_again_by_their_fingerprints_whenever_they_are_read() {
    let texts = ["type = \"tcp\"\nport = 3\n", "type = \"http\"\n[headers]\nA = \"1\"\nB = \"2\"\n"];
    for text in texts {
        assert_eq!(good(text).fingerprint(), good(text).fingerprint(), "{text}");
        assert_eq!(good(text).fingerprint(), good(&format!("rise = 3\n{text}")).fingerprint());
    }
    assert_ne!(good(texts[0]).fingerprint(), good(texts[1]).fingerprint());
}
