//! Every reader against inputs made from good ones, on the stable toolchain (`daemon::testing::fuzz`), and the reader of
//! the configuration against files that are as bad as they may be long.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

mod longest;
mod targets;

use std::path::{Path, PathBuf};

use daemon::testing::fuzz::fuzz;

/// Inputs for each reader where nothing else is asked for.
const INPUTS: u64 = 10_000;
/// Reading files takes longer than reading bytes.
const FILES: u64 = 1_500;

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[test]
fn no_drop_in_of_a_service_is_misread() {
    let paths = std::fs::read_dir(tree("etc/trivet/ipvs.d")).unwrap().map(|entry| entry.unwrap().path());
    let seeds: Vec<Vec<u8>> = paths.map(|path| std::fs::read(path).unwrap()).collect();
    let words = [
        "[[server]]\n",
        "[server]\n",
        "addresses = [\"10.0.0.1-200:1-9\", ",
        "marks = [1, ",
        "mark = 4294967295\n",
        "family = \"ipv6\"\n",
        "protocol = \"udp\"\n",
        "forward = \"tunnel\"\ntunnel_type = \"gue\"\ntunnel_port = 6080\n",
        "tunnel_type = \"gre\"\n",
        "tunnel_checksum = \"remcsum\"\n",
        "check = \"tcp\"\n",
        "check = \"upstream\"\n",
        "persistence = 1\n",
        "persistence_prefix = 33\n",
        "sorry_server = { address = \"10.9.9.9:80\" }\n",
        "address = \"2001:db8::1\"\n",
        "address = \"10.0.10.1-10.0.20.0:*\"\n",
        "quorum = 4294967295\n",
        "hysteresis = ",
        "weight = 65535\n",
        "upper_threshold = ",
        "{ ",
        " }",
        "]",
        "= ",
        "\"",
        "\"\"\"",
        "0",
        "-1",
        "1e400",
        "nan",
        "true",
        "\"10ms\"",
        "\"255.255.255.255:65535\"",
        "\"[::ffff:1.2.3.4]:80\"",
        "\"[fe80::1%1]:80\"",
        "-",
        ":*",
        "\u{feff}",
        "\\u0000",
        "😀",
        "\r\n",
    ];
    fuzz("services", &seeds, &words, FILES, targets::service);
}

#[test]
fn no_ipvsd_toml_is_misread() {
    let example = std::fs::read_to_string(tree("etc/trivet/ipvsd.toml.example")).unwrap();
    // Its keys are commented out.
    let used: String =
        example.split_inclusive('\n').map(|line| line.strip_prefix('#').unwrap_or(line)).collect();
    let keys = used.split_inclusive('\n').filter(|line| line.starts_with('[') || line.contains(" = "));
    let keys: String = keys.filter(|line| !line.starts_with(' ')).collect();
    let full = "[sync]\ninterface = \"eth1\"\nid = 7\nmax_length = 1400\ngroup = \"ff02::81\"\nport = 8848\nttl = 2\n\
                role = \"master\"\n[sysctl]\nsync_ports = 4\nsecure_tcp = 3\nam_droprate = 10\n\
                sync_threshold = [3, 50]\nsync_refresh_period = \"1min\"\n";
    let seeds = [keys.into_bytes(), full.as_bytes().to_vec()];
    let words = [
        "[sync]\n",
        "[sysctl]\n",
        "[timeouts]\n",
        "interface = \"0123456789abcdef\"\n",
        "max_length = 65500\n",
        "group = \"224.0.0.81\"\n",
        "role = \"both\"\nbackup_only = true\n",
        "port = 65535\n",
        "sync_ports = 64\n",
        "sync_threshold = [0, 2147483647]\n",
        "= ",
        "\"",
        "0",
        "-1",
        "true",
        "\"31d\"",
        "65507",
        "\r\n",
    ];
    fuzz("ipvsd.toml", &seeds, &words, FILES, targets::daemon_wide);
}

/// What was captured for the tests beside the decoder, as its bytes stand there.
fn captured() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(tree("ipvsd/src/ipvs/tests.rs")).unwrap();
    let is_capture = |part: &&str| part.len() > 32 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    };
    text.split('"').filter(is_capture).map(bytes).collect()
}

#[test]
fn no_reply_of_the_kernel_is_misread() {
    let captured = captured();
    assert!(captured.len() >= 8, "only {} datagrams", captured.len());
    let whole = captured.concat();
    let seeds: Vec<Vec<u8>> = captured
        .iter()
        .chain([&whole])
        .flat_map(|datagram| [0, 1].map(|flags| [&[flags], datagram.as_slice()].concat()))
        .collect();
    let words = ["\0\0", "\u{4}\0\u{1}\0", "\u{8}\0\u{5}\0\u{3}\0\0\0", "rr\0", "\u{14}\0\0\0", "\"\0"];
    fuzz("replies", &seeds, &words, INPUTS, targets::replies);
}

#[test]
fn no_file_of_orders_is_misread() {
    let lines = "web\t192.168.100.101:80\tweight 5\t1700000000000000\troot\t\n\
                 web\t192.168.100.102\tdisable\t1\tuid 1000\tits disk:\\tsda\\n\\\\back\n\
                 dns\t[2001:db8::1]:443\tdrain 1700000000000000\t2\tme\t新しい\n";
    let words =
        ["\t", "\n", "\r\n", "\\", "\\t", "weight ", "drain ", "disable", "65536", "-1", "0", "::", "%1"];
    fuzz("orders", &[lines.as_bytes().to_vec()], &words, FILES, targets::orders);
}

#[test]
fn no_file_of_what_is_ours_is_misread() {
    let lines = "tcp 10.0.10.50:80\nudp [2001:db8::1]:53\nsctp 10.0.10.50:80\nfwmark 7\nfwmark 7 (IPv6)\n";
    let words = ["fwmark ", "tcp ", " (IPv6)", "\n", "\r", "%1", "4294967296", "0", "protocol-51 ", " "];
    fuzz("owned", &[lines.as_bytes().to_vec()], &words, FILES, targets::owned);
}
