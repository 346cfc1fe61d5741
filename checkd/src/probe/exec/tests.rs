use super::*;
use crate::exec::frame::REQUEST_LIMIT;

fn settings(command: &[&str]) -> Settings {
    Settings {
        check: "plugin".into(),
        command: command.iter().map(ToString::to_string).collect(),
        status_is_weight: false,
    }
}

fn probe() -> Probe {
    probe_of(&settings(&["/bin/x"]), "10.0.0.1:80").unwrap()
}

fn probe_of(settings: &Settings, endpoint: &str) -> Result<Probe, Outcome> {
    let socket = Path::new("/run/trivet-checkd-exec/socket").into();
    Probe::new(settings, endpoint.parse().unwrap(), Duration::from_secs(5), &socket)
}

/// The outcome of these reports, in portions of `size` bytes.
fn outcome(reports: &[Report], size: usize) -> Option<Outcome> {
    let mut probe = probe();
    let bytes: Vec<u8> = reports.iter().flat_map(Report::encode).collect();
    bytes.chunks(size).find_map(|portion| probe.on_received(portion))
}

fn ended(how: How, last_line: &[u8]) -> Report {
    Report::Ended(End { how, last_line: last_line.to_vec(), survivors: 0 })
}

#[test]
fn what_is_run_has_the_targets_parts_in_its_arguments_and_environment() {
    let command = ["/bin/x", "-H{address}", "{port}", "{target}", "{print $1}", "{{target}}", "{address"];
    for (endpoint, arguments, variables) in [
        ("10.0.0.1:80", ["-H10.0.0.1", "80", "10.0.0.1:80", "{10.0.0.1:80}"], ["10.0.0.1", "80"]),
        (
            "[2001:db8::1]:80",
            ["-H2001:db8::1", "80", "[2001:db8::1]:80", "{[2001:db8::1]:80}"],
            ["2001:db8::1", "80"],
        ),
        ("10.0.0.1:0", ["-H10.0.0.1", "", "10.0.0.1", "{10.0.0.1}"], ["10.0.0.1", ""]),
        ("0.0.0.0:0", ["-H", "", "", "{}"], ["", ""]),
    ] {
        let request = settings(&command).request(endpoint.parse().unwrap(), Duration::from_secs(2));
        let [a, b, c, d] = arguments;
        assert_eq!(request.command, ["/bin/x", a, b, c, "{print $1}", d, "{address"]);
        let value = |name: &str| {
            let pair = request.environment.iter().find(|(found, _)| found == name);
            pair.map(|(_, value)| value.as_str())
        };
        assert_eq!(value("TRIVET_CHECK"), Some("plugin"));
        assert_eq!([value("TRIVET_ADDRESS"), value("TRIVET_PORT")], variables.map(Some));
        assert_eq!(request.limit, Duration::from_secs(2));
    }
    // Without a target, and with the check's own port.
    let request = settings(&["/bin/x"]).request("0.0.0.0:80".parse().unwrap(), Duration::from_secs(2));
    assert_eq!(request.environment[1..], [("TRIVET_ADDRESS", ""), ("TRIVET_PORT", "80")].map(owned));
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

#[test]
fn the_exit_status_decides_and_the_last_line_is_the_reason() {
    for (report, expected) in [
        (ended(How::Exited(0), b"PING OK"), Outcome::Pass("exit status 0: PING OK".into())),
        (ended(How::Exited(0), b""), Outcome::Pass("exit status 0".into())),
        (
            ended(How::Exited(2), b"CRITICAL - x|t=1s"),
            Outcome::Fail("exit status 2: CRITICAL - x|t=1s".into()),
        ),
        (ended(How::Signalled(11), b"a"), Outcome::Fail("ended by SIGSEGV: a".into())),
        (ended(How::Signalled(0), b""), Outcome::Fail("ended by a signal".into())),
        (ended(How::TimedOut, b"trying"), Outcome::Fail("still running after 5s, and ended: trying".into())),
        (
            Report::Ended(End { how: How::TimedOut, last_line: Vec::new(), survivors: 2 }),
            Outcome::Fail("still running after 5s, and ended (2 processes of it cannot be ended)".into()),
        ),
    ] {
        for size in [1, 3, 1000] {
            assert_eq!(outcome(&[Report::Started, report.clone()], size), Some(expected.clone()), "{size}");
        }
    }
}

#[test]
fn where_the_status_is_a_weight_only_one_is_a_failure() {
    let settings = Settings { status_is_weight: true, ..settings(&["/bin/x"]) };
    let outcome = |status| {
        let mut probe = probe_of(&settings, "10.0.0.1:80").unwrap();
        probe.on_received(&ended(How::Exited(status), b"").encode()).unwrap()
    };
    assert_eq!(outcome(0), Outcome::Pass("exit status 0".into()));
    assert_eq!(outcome(1), Outcome::Fail("exit status 1".into()));
    assert_eq!(outcome(2), Outcome::PassWithWeight("exit status 2".into(), 0));
    assert_eq!(outcome(255), Outcome::PassWithWeight("exit status 255".into(), 253));
}

#[test]
fn what_is_this_machines_fault_is_never_the_servers() {
    for report in [
        Report::NotStarted("/bin/x does not exist".into()),
        Report::Busy(256),
        Report::Refused("not of checkd's version".into()),
    ] {
        let outcome = outcome(&[report], 7);
        assert!(matches!(outcome, Some(Outcome::Local(_))), "{outcome:?}");
    }
    assert_eq!(outcome(&[Report::Started], 1), None);
    let mut probe = probe();
    assert!(matches!(probe.on_closed(), Outcome::Local(_)));
    assert!(matches!(probe.on_timeout(Duration::ZERO), Outcome::Local(_)));
    assert_eq!(probe.on_received(&Report::Started.encode()), None);
    assert_eq!(probe.on_closed(), Outcome::Local("checkd-exec ended while the command was running".into()));
    assert!(matches!(probe.on_error(Errno::ECONNRESET), Outcome::Local(_)));
    for (errno, hint) in [
        (Errno::ENOENT, "systemctl enable --now checkd-exec.socket"),
        (Errno::ECONNREFUSED, "does not listen at /run/trivet-checkd-exec/socket"),
        (Errno::EAGAIN, "does not keep up"),
        (Errno::EACCES, "cannot have checkd-exec run a command"),
    ] {
        let Outcome::Local(reason) = probe.on_unreachable(errno) else { panic!("{errno}") };
        assert!(reason.contains(hint), "{reason}");
    }
}

#[test]
fn a_command_that_checkd_exec_does_not_end_in_time_is_the_command_s_fault_once_it_runs() {
    let mut probe = probe();
    let late = "checkd-exec did not start /bin/x within 5s";
    assert_eq!(probe.on_timeout(Duration::ZERO), Outcome::Local(late.into()));
    assert_eq!(probe.on_received(&Report::Started.encode()), None);
    let deaf = "still running after 5s, and checkd-exec did not end it: /bin/x";
    assert_eq!(probe.on_timeout(Duration::ZERO), Outcome::Fail(deaf.into()));
}

#[test]
fn an_answer_that_is_not_one_is_told_and_holds_nothing() {
    for bytes in [&[255; 4][..], &[0, 0, 0, 1, b'?'], &[0, 0, 0, 0], &[0, 0, 0, 2, b'E', b'e']] {
        let outcome = probe().on_received(bytes);
        let Some(Outcome::Local(reason)) = outcome else { panic!("{bytes:?}: {outcome:?}") };
        assert!(reason.contains("not understood"), "{reason}");
    }
}

#[test]
fn a_line_is_escaped_where_a_terminal_would_obey_it_and_cut() {
    assert_eq!(quote("Zeit überschritten, \"x\" \\ 'y'".as_bytes()), "Zeit überschritten, \"x\" \\ 'y'");
    assert_eq!(quote(b"\x1b[31m\0\xff\tz\xe2\x80\xae"), "\\u{1b}[31m\\0\\xff\\tz\\u{202e}");
    let long = quote("ü".repeat(4096).as_bytes());
    assert_eq!((long.chars().count(), long.ends_with('…')), (201, true));
}

#[test]
fn a_command_that_its_target_makes_too_long_is_not_sent() {
    let settings = settings(&["/bin/x", &"{target}".repeat(REQUEST_LIMIT / 16)]);
    let probe = probe_of(&settings, "[2001:db8::1]:8080");
    assert!(matches!(probe, Err(Outcome::Local(_))), "{probe:?}");
}
