use daemon::testing::TempRoot;

use super::*;
use crate::check::Check;
use crate::config::load;
use crate::probe::Kind as Probe;

/// What `--check` says of one check's text, and the check.
fn read(text: &str) -> (String, Option<Check>) {
    let root = TempRoot::new();
    root.write("etc/trivet/check.d/plugin.toml", text);
    let mut report = Report::new();
    let configuration = load(root.path(), &mut report);
    require(&configuration.programs, &mut report);
    let check = configuration.checks.get("plugin").map(|check| Check::clone(check));
    (report.to_string().replace(&root.path().display().to_string(), ""), check)
}

#[test]
fn a_command_is_taken_word_by_word() {
    let text =
        "type = \"exec\"\ncommand = [\"/bin/true\", \"-H\", \"{address}\", \"$(x) y\", \"{print $1}\"]\n";
    let (report, check) = read(text);
    assert_eq!(report, "");
    let Probe::Exec(settings) = check.unwrap().kind else { panic!("not exec") };
    assert_eq!(settings.check, "plugin");
    assert_eq!(settings.command, ["/bin/true", "-H", "{address}", "$(x) y", "{print $1}"]);
    assert!(settings.needs_address() && !settings.needs_port() && !settings.status_is_weight);
    let text = "type = \"exec\"\ncommand = [\"/bin/true\"]\nweight_from = \"exit-status\"\n";
    let Probe::Exec(settings) = read(text).1.unwrap().kind else { panic!("not exec") };
    assert!(!settings.needs_address() && settings.status_is_weight);
}

#[test]
fn every_mistake_is_told_with_its_place_and_what_to_write() {
    for (line, expected) in [
        ("", "'command' is missing"),
        ("command = \"/bin/ping -c 1 x\"", "hint: command = [\"/bin/ping\", \"…\"]"),
        ("command = []", "'command' is empty"),
        ("command = [\"true\"]", "plugin.toml:2:12: error: 'command' begins with a program's absolute path"),
        ("command = [\"/bin/{target}\"]", "'command' begins with a program's absolute path"),
        ("command = [\"/bin/true\", 80]", "'command' is made of strings, not of an integer"),
        ("command = [\"/bin/true\", \"a\\u0000b\"]", "no argument can have a NUL in it"),
        ("command = [\"/bin/true\", \"{addres}\"]", "did you mean {address}?"),
        ("command = [\"/bin/true\", \"-h{ip}\"]", "hint: write {address}"),
        ("command = [\"/bin/true\", \"$HOSTADDRESS$\"]", "hint: write {address}"),
        ("command = 3", "'command' must be an array"),
        ("command = [\"/bin/true\"]\nsource = \"10.0.0.1\"", "'source' is not for a command"),
        ("command = [\"/bin/true\"]\nmark = 3", "'mark' is not for a command"),
        (
            "command = [\"/bin/true\"]\nmisc_dynamic = true",
            "hint: keepalived's misc_dynamic is weight_from = \"exit-status\" here",
        ),
        ("command = [\"/bin/true\"]\nweight_from = \"exit-code\"", "write \"exit-status\""),
        ("misc_path = \"/bin/true\"", "command = [\"/path/to/program\""),
        ("command = [\"/bin/true\"]\nuser = \"nobody\"", "hint: every command runs as the user trivet-exec"),
        ("command = [\"/bin/true\"]\npath = \"/\"", "this key belongs to type = \"http\""),
    ] {
        let (report, _) = read(&format!("type = \"exec\"\n{line}\n"));
        assert!(
            report.contains(expected) && report.contains("error"),
            "{line}: {expected:?} is not in\n{report}"
        );
    }
    let (report, _) =
        read(&format!("type = \"exec\"\ncommand = [\"/bin/true\", \"{}\"]\n", "x".repeat(40_000)));
    assert!(report.contains("'command' is longer than 32 KiB"), "{report}");
    let (report, _) = read("type = \"tcp\"\nuser = \"nobody\"\n");
    let belongs = "hint: this key belongs to type = \"redis\", type = \"mysql\", type = \"postgresql\"";
    assert!(report.contains(belongs), "another kind's user is no system user: {report}");
    let (report, _) = read("type = \"MISC_CHECK\"\n");
    assert!(report.contains("write \"exec\""), "{report}");
}

#[test]
fn a_command_that_can_never_run_fails_the_check_and_only_warns_the_daemon() {
    let root = TempRoot::new();
    root.write("plain", "");
    let plain = root.path().join("plain");
    for (program, flaw) in [
        ("/nonexistent/check_x", "/nonexistent/check_x does not exist"),
        ("/bin/true/x", "/bin/true/x does not exist"),
        ("/etc", "/etc is not a file"),
        (plain.to_str().unwrap(), "plain is not executable"),
    ] {
        let (report, check) = read(&format!("type = \"exec\"\ncommand = [\"{program}\"]\n"));
        assert!(report.contains(flaw) && report.contains("plugin.toml:2:11: error"), "{report}");
        assert!(check.is_some());
        root.write(
            "etc/trivet/check.d/plugin.toml",
            &format!("type = \"exec\"\ncommand = [\"{program}\"]\n"),
        );
        let mut report = Report::new();
        let configuration = load(root.path(), &mut report);
        warn(&configuration.programs, &mut report);
        assert!(!report.has_errors() && report.to_string().contains("stay unknown"), "{report}");
    }
}
