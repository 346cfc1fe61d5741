//! What each rule of the configuration refuses: one mistake at a time, where it stands and with what is said.

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
    assert_refused(&format!("{A}family = \"ipv4\"\n{S}"), "2:10", "'family' is about firewall marks", "");
    assert_refused(S, "1:1", "'address' is missing", "for example: address =");
    let many = "addresses = [\"10.0.0.0-10.0.15.255:80\", \"10.1.0.0:80\"]\n";
    assert_refused(&format!("{many}{S}"), "1:41", "a service of more than 4096 addresses and ports", "");
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
        (
            "forward = \"ipip\"",
            "2:11",
            "'forward' cannot be \"ipip\"",
            "one of \"nat\", \"route\", \"tunnel\"",
        ),
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
            "",
        ),
        (
            "[[server]]\naddress = \"10.0.0.1\"",
            "5:11",
            "a server cannot have the address of its own service",
            "",
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
            "",
        ),
        ("sorry_server = \"10.0.0.1\"", "2:16", "a server cannot have the address of its own service", ""),
        ("sorry_server = \"2001:db8::1\"", "2:16", "the server's address is of another family", ""),
        (
            "sorry_server = { address = \"10.1.0.2:81\", forward = \"route\" }",
            "2:28",
            "with forward = \"route\" packets keep their port",
            "",
        ),
        ("slow_start = \"25h\"", "2:14", "'slow_start' must be from 0us to 1d", ""),
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

#[test]
fn the_daemon_as_a_whole() {
    let root = TempRoot::new();
    for (text, at, message) in [
        ("health_grace = \"2d\"", "1:16", "'health_grace' must be from 0us to 1d"),
        ("resync_interval = 0", "1:19", "'resync_interval' must be from 100ms to 1d"),
        ("exclusive = \"yes\"", "1:13", "'exclusive' must be true or false"),
        ("log_level = \"warn\"", "1:13", "'log_level' cannot be \"warn\""),
        ("timeouts = 5", "1:12", "'timeouts' must be a table: [timeouts]"),
        ("sysctl = true", "1:10", "'sysctl' must be a table: [sysctl]"),
        ("sync = \"eth1\"", "1:8", "'sync' must be a table: [sync]"),
        ("lvs_flush = true", "1:1", "unknown key 'lvs_flush'"),
        ("[timeouts]\ntcp_fin = \"1500ms\"", "2:11", "'tcp_fin' must be whole seconds"),
        ("[timeouts]\nudp = \"32d\"", "2:7", "'udp' must be from 1s to 31d"),
        ("[sysctl]\nconntrack = 1", "2:13", "'conntrack' must be true or false"),
        ("[sysctl]\nsecure_tcp = 4", "2:14", "'secure_tcp' must be from 0 to 3"),
        ("[sysctl]\nsync_ports = 0", "2:14", "'sync_ports' must be from 1 to 64"),
        ("[sysctl]\nsync_ports = 3", "2:14", "'sync_ports' must be a power of two"),
        ("[sysctl]\ncache_bypass = true", "2:1", "unknown key 'cache_bypass'"),
        ("[sync]\nid = 7", "1:1", "'interface' is missing"),
        ("[sync]\ninterface = \"\"", "2:13", "'interface' is not an interface's name"),
        ("[sync]\ninterface = \"eth1\"\nid = -1", "3:6", "'id' must be from 0 to 255"),
        ("[sync]\ninterface = \"eth1\"\nmax_length = 63", "3:14", "'max_length' must be from 64 to 65507"),
        ("[sync]\ninterface = \"eth1\"\ngroup = \"x\"", "3:9", "'group' is not a multicast address"),
        ("[sync]\ninterface = \"eth1\"\nport = 0", "3:8", "'port' must be from 1 to 65535"),
        ("[sync]\ninterface = \"eth1\"\nttl = 256", "3:7", "'ttl' must be from 1 to 255"),
        ("[sync]\ninterface = \"eth1\"\nrole = \"MASTER\"", "3:8", "'role' cannot be \"MASTER\""),
        ("[sync]\ninterface = \"eth1\"\nvirtual_router = \"x\"", "3:18", "there is no virtual router 'x'"),
        (
            "[sync]\ninterface = \"eth1\"\n[sysctl]\nbackup_only = true",
            "4:15",
            "with role = \"both\" this director is always backup",
        ),
        ("[sync]\ninterface = \"eth1\"\nsyncid = 1", "3:1", "unknown key 'syncid'"),
    ] {
        root.write("etc/trivet/ipvsd.toml", &format!("{text}\n"));
        let report = load(root.path()).1.to_string();
        let wanted = format!("ipvsd.toml:{at}: error: {message}");
        assert!(report.contains(&wanted), "{wanted:?} is not said, but:\n{report}");
        assert!(report.ends_with("1 error\n"), "more than one mistake:\n{report}");
    }
}
