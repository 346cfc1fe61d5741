//! Every decoder against inputs made from captured ones, on the stable toolchain (`daemon::testing::fuzz`).

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

#[path = "../pcap/mod.rs"]
mod pcap;
mod targets;

use daemon::testing::fuzz::fuzz;

/// Inputs for each decoder where nothing else is asked for.
const INPUTS: u64 = 30_000;
/// Reading files takes longer than reading bytes.
const FILES: u64 = 4_000;

/// Captured frames of an Ethernet type without `skip` bytes, with the targets' flags before them.
fn captured(kind: [u8; 2], protocol: (usize, u8), skip: usize) -> Vec<Vec<u8>> {
    let frames = pcap::all().into_iter().flat_map(|(_, frames)| frames);
    let wanted = frames.filter(|frame| frame[12..14] == kind && frame[protocol.0] == protocol.1);
    wanted.flat_map(|frame| [0, 1].map(|flags| [&[flags], &frame[skip..]].concat())).collect()
}

#[test]
fn no_ipv4_packet_is_misread() {
    fuzz("IPv4", &captured([8, 0], (23, 112), 14), &[], INPUTS, targets::ipv4);
}

#[test]
fn no_ipv6_packet_is_misread() {
    fuzz("IPv6", &captured([0x86, 0xdd], (20, 112), 54), &[], INPUTS, targets::ipv6);
}

#[test]
fn no_drop_in_is_misread() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/trivet/vrrp.d");
    let paths = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    let seeds: Vec<Vec<u8>> = paths.map(|path| std::fs::read(path).unwrap()).collect();
    let words = [
        "[unicast]\n",
        "[garp]\n",
        "[authentication]\n",
        "[[x]]\n",
        "track = [{ ",
        "}]",
        "= ",
        "\"",
        "\"\"\"",
        "0",
        "-1",
        "256",
        "1e400",
        "nan",
        "true",
        "vmac = true\n",
        "version = 2\n",
        "priority = 255\n",
        "\"10ms\"",
        "\"1y\"",
        "\"fe80::1/64\"",
        "\"0.0.0.0/0\"",
        "\"::/128\"",
        "{ address = ",
        "\u{feff}",
        "\\u0000",
        "😀",
        "\r\n",
    ];
    fuzz("drop-ins", &seeds, &words, FILES, targets::drop_in);
}

#[test]
fn no_record_of_a_former_run_is_misread() {
    let head = "trivet-vrrpd runtime state, version 1\nboot -\nalive 1000000000\n";
    let routers = "router + 12 36000 eth0 IPv4 51 3 eth0:10.0.0.100/24 eth1:10.0.1.100/24 = v\nrouter - 12 3000000 eth0 IPv6 1 3 eth0:fe80::1/64 = w\n";
    let seeds = [
        format!("{head}{routers}end\n"),
        format!("{head}handed over\n{routers}end\n"),
        format!("{head}resumed 900000000\nresumed 950000000\n{routers}end\n"),
        format!("{head}end\n"),
    ];
    let words = [
        "router ",
        "resumed ",
        "end\n",
        " = ",
        "+ ",
        "18446744073709551615",
        "-1",
        "/128",
        "::",
        "\n",
        "eth0:",
    ];
    fuzz("records", &seeds.map(String::into_bytes), &words, FILES, targets::record);
}

#[test]
fn no_event_of_the_kernel_is_misread() {
    fuzz("events", &events(), &[], INPUTS, targets::events);
}

/// Messages as the kernel lays them out: a link "eth0", and addresses on it.
fn events() -> Vec<Vec<u8>> {
    let attribute = |kind: u16, value: &[u8]| {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let message = |kind: u16, body: &[Vec<u8>]| {
        let body = body.concat();
        let length = u32::try_from(16 + body.len()).unwrap();
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &body].concat()
    };
    let header = [&[0, 0, 1, 0][..], &2_u32.to_ne_bytes(), &0x1_0043_u32.to_ne_bytes(), &[0; 4]].concat();
    let link =
        |kind| message(kind, &[header.clone(), attribute(3, b"eth0\0"), attribute(1, &[2, 0, 0, 0, 0, 1])]);
    let address = |kind: u16, family: u8, bytes: &[u8]| {
        let header = [&[family, 24, 0x80, 0][..], &2_u32.to_ne_bytes()].concat();
        message(kind, &[header, attribute(1, bytes), attribute(2, bytes), attribute(11, &[112])])
    };
    let (v4, v6) = ([10, 0, 0, 1], [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let each = [link(16), link(17), address(20, 2, &v4), address(20, 10, &v6), address(21, 2, &v4)];
    let together =
        [link(16), address(20, 2, &v4), address(20, 10, &v6), address(21, 10, &v6), link(17)].concat();
    each.into_iter().chain([together]).collect()
}
