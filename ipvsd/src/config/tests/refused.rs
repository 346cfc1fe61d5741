//! What each rule of the configuration refuses: one mistake at a time, where it stands and with what is said.

mod daemon_wide;
mod files;
mod servers;

use super::*;

const A: &str = "address = \"10.0.0.1:80\"\n";
const S: &str = "[[server]]\naddress = \"192.168.100.101\"\n";
const TUNNEL: &str = "address = \"10.0.0.1:80\"\nforward = \"tunnel\"\n";
const UDP: &str = "address = \"10.0.0.1:80\"\nprotocol = \"udp\"\n";

/// Exactly one error, at this line and column of the file, that begins so; and the report has the hint.
fn assert_refused(text: &str, at: &str, message: &str, hint: &str) {
    let (_, report) = load_one(text);
    let wanted = format!("web.toml:{at}: error: {message}");
    assert!(report.contains(&wanted), "{wanted:?} is not said of:\n{text}\nbut:\n{report}");
    assert!(report.contains(hint), "the hint {hint:?} is not in:\n{report}");
    assert!(report.ends_with("1 error\n"), "more than one mistake:\n{text}\n{report}");
}

#[test]
fn where_clients_connect() {
    for (lines, at, message, hint) in [
        ("address = 80", "1:11", "an address must be a string, not an integer", ""),
        ("addresses = \"10.0.0.1:80\"", "1:13", "'addresses' must be an array", ""),
        ("addresses = [\"10.0.0.1:80\", 80]", "1:29", "an address must be a string, not an integer", ""),
        ("address = \"10.0.0.1\"", "1:11", "'10.0.0.1' is without a port: write \"10.0.0.1:80\"", ""),
        ("address = \"10.0.0.1 80\"", "1:11", "'10.0.0.1 80' is not an address and a port: write", ""),
        ("address = \"web:80\"", "1:11", "'web:80' is not an address and a port, such as", ""),
        ("address = \"2001:db8::1:80\"", "1:11", "'2001:db8::1:80' is without a port: write", ""),
        ("address = \"[2001:db8::1\"", "1:11", "'[2001:db8::1' is not an address and a port", ""),
        ("address = \"10.0.0.1:http\"", "1:11", "'10.0.0.1:http' is with the port 'http', which is not", ""),
        ("address = \"10.0.0.1:0\"", "1:11", "'10.0.0.1:0' is without a port: 0 is none; write * for", ""),
        ("address = \"10.0.0.1:81-80\"", "1:11", "'10.0.0.1:81-80' is a range that ends before it", ""),
        ("address = \"10.0.0.9-8:80\"", "1:11", "'10.0.0.9-8:80' is a range that ends before it begins", ""),
        ("address = \"10.0.0.9-256:80\"", "1:11", "'10.0.0.9-256:80' is not an address and a port", ""),
        (
            "address = \"10.0.0.0-10.0.16.0:80\"",
            "1:11",
            "'10.0.0.0-10.0.16.0:80' is a range of more than 4096",
            "",
        ),
        (
            "address = \"10.0.0.0-255:1-17\"",
            "1:11",
            "'10.0.0.0-255:1-17' is more than 4096 addresses",
            "mark",
        ),
        (
            "address = \"[10.0.0.1-2001:db8::1]:80\"",
            "1:11",
            "'[10.0.0.1-2001:db8::1]:80' is a range from one",
            "",
        ),
        ("address = \"0.0.0.0:80\"", "1:11", "'0.0.0.0:80' is not the address of one machine", ""),
        ("address = \"224.0.0.1:80\"", "1:11", "'224.0.0.1:80' is not the address of one machine", ""),
        ("address = \"255.255.255.255:80\"", "1:11", "'255.255.255.255:80' is not the address of one", ""),
        ("address = \"[ff02::1]:80\"", "1:11", "'[ff02::1]:80' is not the address of one machine", ""),
        (
            "address = \"[fe80::1]:80\"",
            "1:11",
            "'[fe80::1]:80' is link-local, fe80::1: IPVS does not know",
            "",
        ),
        ("address = \"[fe80::1%eth0]:80\"", "1:11", "'[fe80::1%eth0]:80' is an address with a zone", ""),
        (
            "address = \"[::ffff:10.0.0.1]:80\"",
            "1:11",
            "'[::ffff:10.0.0.1]:80' is an address of IPv4 written as one of IPv6: write 10.0.0.1",
            "",
        ),
        (
            "protocol = \"icmp\"\nmark = 1",
            "1:12",
            "'protocol' cannot be \"icmp\"",
            "\"tcp\", \"udp\", \"sctp\"",
        ),
        ("mark = 0", "1:8", "a firewall mark must be from 1 to 4294967295", ""),
        ("mark = 4294967296", "1:8", "a firewall mark must be from 1 to 4294967295", ""),
        ("marks = 1", "1:9", "'marks' must be an array", ""),
        ("marks = [1, 1]", "1:13", "fwmark 1 is already the service of", "into one file"),
        ("mark = 1\nfamily = \"ipx\"", "2:10", "'family' cannot be \"ipx\"", "\"ipv4\""),
        ("mark = 1\nfamily = \"ipv6\"", "4:11", "the server's address is of another family than", "tunnel"),
    ] {
        assert_refused(&format!("{lines}\n{S}"), at, message, hint);
    }
    assert_refused(
        &format!("{A}family = \"ipv4\"\n{S}"),
        "2:10",
        "'family' is about firewall marks",
        "leave it out",
    );
    assert_refused(S, "1:1", "'address' is missing", "for example: address =");
    let many = "addresses = [\"10.0.0.0-10.0.15.255:80\", \"10.1.0.0:80\"]\n";
    assert_refused(&format!("{many}{S}"), "1:41", "a service of more than 4096 addresses and ports", "mark");
    let thousands: Vec<String> =
        (0..500).map(|a| format!("\"10.{}.{}.0-255:80\"", a / 250, a % 250)).collect();
    let text = format!("addresses = [{}]\n{S}", thousands.join(", "));
    assert_refused(&text, "1:324", "a service of more than 4096 addresses and ports", "mark");
    let twice = "addresses = [\"10.0.0.1:80\", \"10.0.0.1:80\"]\n";
    assert_refused(
        &format!("{twice}{S}"),
        "1:29",
        "tcp 10.0.0.1:80 is already the service of",
        "into one file",
    );
}

#[test]
fn who_gets_the_next_connection() {
    for (lines, at, message, hint) in [
        ("scheduler = 1", "2:13", "'scheduler' must be a string", ""),
        (
            "scheduler = \"wllc\"",
            "2:13",
            "there is no scheduler 'wllc'",
            "did you mean \"wlc\"? The schedulers are rr",
        ),
        ("scheduler = \"best\"", "2:13", "there is no scheduler 'best'", "the schedulers are rr, wrr"),
        ("scheduler_flags = \"sh-port\"", "2:19", "'scheduler_flags' must be an array", ""),
        (
            "scheduler_flags = [\"sh-port\"]",
            "2:20",
            "scheduler 'wlc' has no flag 'sh-port'",
            "only sh and mh",
        ),
        (
            "scheduler = \"mh\"\nscheduler_flags = [\"sh-port\"]",
            "3:20",
            "scheduler 'mh' has no flag 'sh-port'",
            "its flags are mh-fallback, mh-port",
        ),
        ("scheduler = \"mh\"\nscheduler_flags = [1]", "3:20", "a flag must be a string", ""),
        ("one_packet = 1", "2:14", "'one_packet' must be true or false, not an integer", ""),
        ("one_packet = true", "2:14", "one_packet is about datagrams, and the protocol is tcp", "\"udp\""),
        ("persistence = 0", "2:15", "'persistence' must be from 1s to 31d", ""),
        ("persistence = \"32d\"", "2:15", "'persistence' must be from 1s to 31d", ""),
        ("persistence = \"1500ms\"", "2:15", "'persistence' must be whole seconds", ""),
        ("persistence = true", "2:15", "'persistence' must be a time span", ""),
        (
            "persistence_prefix = 24",
            "2:22",
            "without 'persistence' this says nothing",
            "persistence = \"5min\"",
        ),
        (
            "persistence = 60\npersistence_prefix = 33",
            "3:22",
            "'persistence_prefix' must be from 0 to 32 for IPv4",
            "",
        ),
        (
            "persistence = 60\npersistence_prefix = 129",
            "3:22",
            "'persistence_prefix' must be from 0 to 128",
            "",
        ),
        (
            "persistence = 60\npersistence_engine = \"sip\"",
            "3:22",
            "the engine sip reads UDP datagrams",
            "\"udp\"",
        ),
        (
            "persistence = 60\npersistence_engine = \"rtp\"",
            "3:22",
            "'persistence_engine' cannot be \"rtp\"",
            "\"sip\"",
        ),
    ] {
        assert_refused(&format!("{A}{lines}\n{S}"), at, message, hint);
    }
    let text = format!("{UDP}persistence_engine = \"sip\"\n{S}");
    assert_refused(&text, "3:22", "without 'persistence' this says nothing", "persistence = \"5min\"");
    let v6 = "address = \"[2001:db8::1]:80\"\npersistence = 60\npersistence_prefix = 0\n\
              [[server]]\naddress = \"2001:db8::2\"\n";
    assert_refused(v6, "3:22", "'persistence_prefix' must be from 1 to 128 for IPv6", "");
    let all = format!("address = \"10.0.0.1:*\"\n{S}");
    assert_refused(&all, "1:11", "a service of all ports keeps each client with one server", "persistence =");
}

#[test]
fn how_packets_reach_the_servers() {
    for (lines, at, message, hint) in [
        ("forward = \"DR\"", "2:11", "'forward' cannot be \"DR\"", "write \"route\""),
        ("forward = \"gate\"", "2:11", "'forward' cannot be \"gate\"", "write \"route\""),
        ("forward = \"ipip\"", "2:11", "'forward' cannot be \"ipip\"", "write \"tunnel\""),
        ("forward = \"x\"", "2:11", "'forward' cannot be \"x\"", "one of \"nat\", \"route\", \"tunnel\""),
        (
            "tunnel_port = 6080",
            "2:1",
            "'tunnel_port' says nothing where forward is \"nat\"",
            "forward = \"tunnel\"",
        ),
        ("upper_threshold = -1", "2:19", "'upper_threshold' must be from 0 to 4294967295", ""),
        (
            "lower_threshold = 5",
            "2:19",
            "lower_threshold 5 is above upper_threshold 0",
            "begin again below the lower",
        ),
    ] {
        assert_refused(&format!("{A}{lines}\n{S}"), at, message, hint);
    }
    for (lines, at, message, hint) in [
        (
            "tunnel_type = \"vxlan\"",
            "3:15",
            "'tunnel_type' cannot be \"vxlan\"",
            "\"ipip\", \"gue\", \"gre\"",
        ),
        ("tunnel_type = \"gue\"", "3:15", "GUE needs 'tunnel_port'", "tunnel_port = 6080"),
        ("tunnel_type = \"gue\"\ntunnel_port = 65536", "4:15", "'tunnel_port' must be from 1 to 65535", ""),
        ("tunnel_port = 6080", "3:1", "IP in IP has no 'tunnel_port'", "\"gue\" or \"gre\""),
        ("tunnel_type = \"gre\"\ntunnel_port = 6080", "4:1", "GRE has no 'tunnel_port'", "\"gue\""),
        ("tunnel_checksum = \"csum\"", "3:1", "IP in IP has no 'tunnel_checksum'", "\"gue\" or \"gre\""),
        (
            "tunnel_type = \"gre\"\ntunnel_checksum = \"remcsum\"",
            "4:1",
            "GRE has no remote checksum",
            "\"csum\" or \"none\"",
        ),
        (
            "tunnel_type = \"gre\"\ntunnel_checksum = \"nocsum\"",
            "4:19",
            "'tunnel_checksum' cannot be",
            "\"none\"",
        ),
    ] {
        assert_refused(&format!("{TUNNEL}{lines}\n{S}"), at, message, hint);
    }
}
