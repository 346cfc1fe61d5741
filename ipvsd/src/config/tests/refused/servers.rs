//! Servers, how many of them there must be, and what their checks need.

use super::*;

#[test]
fn servers() {
    let server = |line: &str| format!("{A}{S}{line}\n");
    for (line, at, message, hint) in [
        ("weight = 65536", "4:10", "'weight' must be from 0 to 65535", ""),
        ("weight = \"5\"", "4:10", "'weight' must be an integer", ""),
        ("check = \"x\"", "4:9", "there is no check 'x'", "a new one is a file in"),
        ("inhibit_on_failure = 1", "4:22", "'inhibit_on_failure' must be true or false", ""),
        ("initially = \"up\"", "4:13", "'initially' cannot be \"up\"", "write \"admitted\""),
        ("initially = \"yes\"", "4:13", "'initially' cannot be \"yes\"", "\"withheld\", \"admitted\""),
        ("forward = \"masq\"", "4:11", "'forward' cannot be \"masq\"", "write \"nat\""),
        ("tunnel_type = \"gre\"", "4:1", "'tunnel_type' says nothing where forward is \"nat\"", ""),
        (
            "upper_threshold = 5\nlower_threshold = 6",
            "5:19",
            "lower_threshold 6 is above upper_threshold 5",
            "",
        ),
        ("quorum = 1", "4:1", "unknown key 'quorum'", ""),
        ("uthreshold = 5", "4:1", "unknown key 'uthreshold'", "upper_threshold = 1000"),
        ("[[server]]", "4:1", "'address' is missing", "address = \"192.168.100.101:80\""),
        (
            "[[server]]\naddress = \"192.168.100.101:80\"",
            "5:11",
            "server 192.168.100.101:80 is already at",
            "write each server once",
        ),
        (
            "[[server]]\naddress = \"10.0.0.1\"",
            "5:11",
            "a server cannot have the address of its own service",
            "the server's own address",
        ),
        (
            "[[server]]\naddress = \"2001:db8::1\"",
            "5:11",
            "the server's address is of another family",
            "tunnel",
        ),
        ("[[server]]\naddress = \"192.168.100.102:0\"", "5:11", "'address' is without a port: 0 is none", ""),
        ("[[server]]\naddress = \"127.0.0\"", "5:11", "'address' is not an address and a port", ""),
        (
            "[[server]]\naddress = \"192.168.100.102 80\"",
            "5:11",
            "'address' is not an address and a port: write",
            "",
        ),
        ("[[server]]\naddress = \"[fe80::1%1]:80\"", "5:11", "'address' is an address with a zone", ""),
        ("[[server]]\naddress = \"255.0.0.1-9\"", "5:11", "'address' is not an address and a port", ""),
        ("[[server]]\naddress = \"::\"", "5:11", "'address' is not the address of one machine", ""),
        ("[[server]]\naddress = \"255.255.255.255\"", "5:11", "'address' is not the address of one", ""),
        ("[[server]]\naddress = \"239.1.1.1\"", "5:11", "'address' is not the address of one machine", ""),
        ("[[server]]\naddress = \"fe80::1\"", "5:11", "'address' is link-local, fe80::1", "unique local"),
        ("[[server]]\naddress = \"fe80::1%eth0\"", "5:11", "'address' is an address with a zone", ""),
        ("[[server]]\naddress = \"::ffff:10.1.0.2\"", "5:11", "'address' is an address of IPv4", ""),
        (
            "[[server]]\naddress = \"127.0.0.1\"",
            "5:11",
            "the kernel rewrites no packet of another machine to a loopback address",
            "write forward = \"route\"",
        ),
    ] {
        assert_refused(&server(line), at, message, hint);
    }
    assert_refused(
        &format!("{A}server = 1\n"),
        "2:10",
        "'server' must be an array of tables: [[server]]",
        "",
    );
    assert_refused(
        &format!("{A}[server]\naddress = \"10.1.0.1\"\n"),
        "2:1",
        "'server' must be an array of",
        "",
    );
    let route = format!("{A}forward = \"route\"\n[[server]]\naddress = \"10.1.0.1:81\"\n");
    let said =
        "with forward = \"route\" packets keep their port, so the server's must be that of tcp 10.0.0.1:80";
    assert_refused(&route, "4:11", said, "leave the port out");
    let mark = "mark = 1\nforward = \"tunnel\"\n[[server]]\naddress = \"10.1.0.1:81\"\n";
    assert_refused(mark, "4:11", "with forward = \"tunnel\" packets keep their port", "leave the port out");
}

#[test]
fn a_server_of_this_machine_is_reached_without_rewriting_and_a_service_of_this_machine_anyhow() {
    let here = "[[server]]\naddress = \"127.0.0.1\"\n";
    assert_eq!(load_one(&format!("{A}forward = \"route\"\n{here}")).1, "");
    let report = load_one(&format!("address = \"127.0.0.53:80\"\n{here}")).1;
    let said = "web.toml:1:11: warning: '127.0.0.53:80' is a loopback address: only this machine itself connects there";
    assert!(report.contains(said) && report.ends_with("1 warning\n"), "{report}");
}

#[test]
fn a_server_is_there_once_with_or_without_the_port_that_it_has_anyhow() {
    let server = |address: &str| format!("[[server]]\naddress = \"{address}\"\n");
    let two = |head: &str, first, second| format!("{head}{}{}", server(first), server(second));
    let many = "addresses = [\"10.0.0.1:80\", \"10.0.0.1:8000-8009\"]\n";
    let mark = "mark = 1\n";
    for (text, at, message) in [
        (two(A, "10.1.0.1:80", "10.1.0.1"), "5:11", "server 10.1.0.1 is already at"),
        (two(A, "10.1.0.1", "10.1.0.1:80"), "5:11", "server 10.1.0.1:80 is already at"),
        (two(many, "10.1.0.1", "10.1.0.1:8005"), "5:11", "server 10.1.0.1:8005 is already at"),
        (two(many, "10.1.0.1:8005", "10.1.0.1"), "5:11", "server 10.1.0.1 is already at"),
        (two(mark, "10.1.0.1", "10.1.0.1"), "5:11", "server 10.1.0.1 is already at"),
    ] {
        assert_refused(&text, at, message, "write each server once");
    }
    for text in [
        two(A, "10.1.0.1", "10.1.0.1:81"),
        two(many, "10.1.0.1:81", "10.1.0.1"),
        two(mark, "10.1.0.1:80", "10.1.0.1"),
    ] {
        assert_eq!(load_one(&text).1, "");
    }
}

#[test]
fn a_check_is_run_against_a_port_where_it_needs_one() {
    let hint = "port = 80";
    let two = |first: &str, second: &str| {
        format!("[[server]]\naddress = \"10.1.0.1\"\n{first}[[server]]\naddress = \"10.1.0.2\"\n{second}")
    };
    let said = |check: &str, server: &str| {
        format!("check '{check}' needs a port, and neither server {server} nor its service has one")
    };
    let (mark, all) = ("mark = 7\n", "address = \"10.0.0.1:*\"\npersistence = 60\n");
    let tcp = "check = \"tcp\"\n";
    assert_refused(&format!("{mark}{tcp}{}", two("", "")), "2:9", &said("tcp", "10.1.0.1"), hint);
    assert_refused(&format!("{all}{tcp}{}", two("", "")), "3:9", &said("tcp", "10.1.0.1"), hint);
    let drupal = "check = \"drupal\"\n";
    assert_refused(&format!("{mark}{}", two("", drupal)), "6:9", &said("drupal", "10.1.0.2"), hint);
    assert_refused(
        &format!("{mark}{tcp}{}", two("check = \"ping\"\n", "")),
        "2:9",
        &said("tcp", "10.1.0.2"),
        hint,
    );
    // A port of the server's own, of another address, or of the check, or none that is needed.
    for text in [
        format!("{mark}{tcp}[[server]]\naddress = \"10.1.0.1:80\"\n"),
        format!("addresses = [\"10.0.0.1:*\", \"10.0.0.1:80\"]\npersistence = 60\n{tcp}{}", two("", "")),
        format!("{mark}check = \"ping\"\n{}", two("", "")),
        format!("{mark}{}", two("check = \"upstream\"\n", "check = \"mail\"\n")),
        format!("{mark}{}", two("check = \"disk\"\n", "check = \"nginx\"\n")),
        format!("{mark}{}", two("", "")),
    ] {
        assert_eq!(load_one(&text).1, "", "{text}");
    }
}

#[test]
fn a_service_of_more_entries_than_a_kernel_should_hold() {
    let servers: String = (0..257)
        .map(|at| format!("[[server]]\naddress = \"10.1.{}.{}\"\n", at / 250, at % 250 + 1))
        .collect();
    let text = format!("address = \"10.0.0.0-10.0.15.255:80\"\n{servers}");
    assert_refused(&text, "1:1", "1052672 entries in the kernel, more than 1048576", "a firewall mark");
}

#[test]
fn when_there_are_not_enough_of_them() {
    for (lines, at, message, hint) in [
        ("quorum = 0", "2:10", "'quorum' must be from 1 to 4294967295", ""),
        (
            "quorum = 2",
            "2:10",
            "the servers' weights together are 1: this quorum is never reached",
            "sums of weights",
        ),
        ("hysteresis = 1", "2:14", "'hysteresis' must be less than the quorum, 1", ""),
        ("hysteresis = -1", "2:14", "'hysteresis' must be from 0 to 4294967295", ""),
        ("all_down = \"stay\"", "2:12", "'all_down' cannot be \"stay\"", "\"sorry\", \"keep\", \"drop\""),
        (
            "all_down = \"sorry\"",
            "2:12",
            "all_down = \"sorry\", and there is no sorry server",
            "sorry_server =",
        ),
        (
            "sorry_server = \"10.1.0.2\"\nall_down = \"drop\"",
            "3:12",
            "there is a sorry server, which answers",
            "",
        ),
        ("sorry_server = 1", "2:16", "'sorry_server' must be a string", ""),
        ("sorry_server = \"10.1.0\"", "2:16", "'sorry_server' is not an address and a port", ""),
        ("sorry_server = {}", "2:16", "'address' is missing", ""),
        ("sorry_server = { address = \"10.1.0.2\", weight = 1 }", "2:40", "unknown key 'weight'", ""),
        (
            "sorry_server = \"192.168.100.101:80\"",
            "2:16",
            "the sorry server 192.168.100.101:80 is one of the",
            "name another one",
        ),
        ("sorry_server = \"10.0.0.1\"", "2:16", "a server cannot have the address of its own service", ""),
        ("sorry_server = \"2001:db8::1\"", "2:16", "the server's address is of another family", ""),
        (
            "sorry_server = { address = \"10.1.0.2:81\", forward = \"route\" }",
            "2:28",
            "with forward = \"route\" packets keep their port",
            "",
        ),
        ("slow_start = \"25h\"", "2:14", "'slow_start' must be from 0s to 1d", ""),
        ("slow_start = \"soon\"", "2:14", "'slow_start' is", ""),
        (
            "while_active = \"gatway\"",
            "2:16",
            "there is no virtual router 'gatway'",
            "did you mean \"gateway\"?",
        ),
        ("while_active = \"x\"", "2:16", "there is no virtual router 'x'", "the virtual routers of"),
        ("check = \"drupla\"", "2:9", "there is no check 'drupla'", "did you mean \"drupal\"?"),
        ("chekc = \"drupal\"", "2:1", "unknown key 'chekc'", "did you mean 'check'?"),
        ("quiescent = \"yes\"", "2:1", "unknown key 'quiescent'", "write inhibit_on_failure = true"),
    ] {
        assert_refused(&format!("{A}{lines}\n{S}"), at, message, hint);
    }
}
