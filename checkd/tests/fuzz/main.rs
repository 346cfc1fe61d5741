//! Every parser against inputs made from good ones, on the stable toolchain (`daemon::testing::fuzz`).

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

mod targets;

use std::time::Duration;

use checkd::exec::frame::{End, How, Report, Request, body};
use daemon::testing::fuzz::fuzz;

/// Inputs for each parser where nothing else is asked for.
const INPUTS: u64 = 6_000;
/// Reading files takes longer than reading bytes.
const FILES: u64 = 2_000;

/// What peers say, with the targets' flags before it.
fn seeds(said: &[&[u8]]) -> Vec<Vec<u8>> {
    said.iter().flat_map(|said| [0_u8, 7].map(|flags| [&[flags], *said].concat())).collect()
}

#[test]
fn no_http_response_is_misread() {
    let responses: [&[u8]; 7] = [
        b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nWiki\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.0 404 Not Found\r\nConnection: close\r\n\r\n<html></html>\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\n\n",
        b"HTTP/1.1 302 Found\r\nLocation: /\r\nX-Folded: a\r\n b\r\n\r\n",
        b"HTTP/1.1 503 \r\nRetry-After : 5\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
    ];
    let words = [
        "HTTP/1.1 ",
        "\r\n\r\n",
        "\n",
        "100",
        "101",
        "Content-Length: ",
        "18446744073709551616",
        "Transfer-Encoding: chunked\r\n",
        "ffffffffffffffff\r\n",
        "0\r\n\r\n",
        "\u{1b}[31m",
        ": ",
    ];
    fuzz("HTTP responses", &seeds(&responses), &words, INPUTS, targets::http);
}

#[test]
fn no_answer_of_checkd_exec_is_misread() {
    let end = |how, line: &[u8]| Report::Ended(End { how, last_line: line.to_vec(), survivors: 2 }).encode();
    let answers = [
        [Report::Started.encode(), end(How::Exited(0), b"all well")].concat(),
        [Report::Started.encode(), end(How::Exited(7), b"\x1b[31mbad\xff")].concat(),
        [Report::Started.encode(), end(How::Signalled(9), b"")].concat(),
        [Report::Started.encode(), end(How::TimedOut, b"waiting")].concat(),
        Report::NotStarted("no such file".into()).encode(),
        Report::Busy(256).encode(),
        Report::Refused("who are you".into()).encode(),
    ];
    let answers: Vec<&[u8]> = answers.iter().map(Vec::as_slice).collect();
    fuzz("answers of checkd-exec", &seeds(&answers), &["\0\0\0\x01", "\0\0"], INPUTS, targets::exec_report);
}

#[test]
fn no_request_to_checkd_exec_is_misread() {
    let request = |command: &[&str]| {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let environment = vec![("TRIVET_PORT".to_owned(), "80".to_owned())];
        let request = Request { command, environment, limit: Duration::from_secs(5) }.encode().unwrap();
        body(&request).to_vec()
    };
    let requests = [request(&["/bin/true"]), request(&["/bin/sh", "-c", "exit 1", ""])];
    fuzz("requests to checkd-exec", &requests, &["\0\0\0\x01", "="], INPUTS, targets::exec_request);
}

#[test]
fn no_output_of_a_command_is_misread() {
    let outputs = seeds(&[b"one\ntwo\n", b"50%\r100%\r\n \n", b"no end", b"\n\n\n"]);
    fuzz("outputs", &outputs, &["\n", "\r", " ", "\t\n"], INPUTS, targets::last_line);
}

#[test]
fn no_dns_answer_is_misread() {
    let question = |record: u8| [b"\x03www\x07example\0\0".as_slice(), &[record, 0, 1]].concat();
    let header = |flags: [u8; 2], answers| [0x12, 0x34, flags[0], flags[1], 0, 1, 0, answers, 0, 0, 0, 0];
    let record = |kind: u8, data: &[u8]| {
        let length = u8::try_from(data.len()).unwrap();
        [&[0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0, length], data].concat()
    };
    let address = [header([0x84, 0], 1).as_slice(), &question(1), &record(1, &[192, 0, 2, 1])].concat();
    let alias = [record(5, b"\x03web\xc0\x10"), record(1, &[192, 0, 2, 7])].concat();
    let alias = [header([0x80, 0], 2).as_slice(), &question(1), &alias].concat();
    let text = [header([0x84, 0], 1).as_slice(), &question(16), &record(16, b"\x02ok\x01!")].concat();
    let truncated = [header([0x86, 0], 0).as_slice(), &question(1)].concat();
    let refused = [header([0x80, 5], 0).as_slice(), &question(1)].concat();
    let messages = [address, alias, text, truncated, refused];
    let datagrams = messages.iter().map(|message| {
        let length = u8::try_from(message.len()).unwrap();
        [&[length], message.as_slice()].concat()
    });
    let streams = messages.iter().map(|message| {
        let length = u8::try_from(message.len()).unwrap();
        [&[3, 0, length], message.as_slice()].concat()
    });
    let seeds: Vec<Vec<u8>> = datagrams.chain(streams).collect();
    let words = ["\u{c}", "\0\u{1}", "\0\u{29}", "\0\0", "\u{3f}"];
    fuzz("DNS answers", &seeds, &words, INPUTS, targets::dns);
}

#[test]
fn no_certificate_is_misread() {
    let made = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let params = rcgen::CertificateParams::new(names).unwrap();
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    };
    let certificates = [made(&["www.example.com", "192.0.2.1", "2001:db8::1"]), made(&[])];
    fuzz("certificates", &certificates, &["\x17\r", "\u{1b}[31m", "\0"], INPUTS, targets::certificate);
}

#[test]
fn no_datagram_is_misread() {
    let echo = |kind: u8| {
        let token = 0x0123_4567_89ab_cdef_u64.to_be_bytes();
        let header = [64, kind, 0, 0, 0, 0, 0, 0, 1];
        header.into_iter().chain(token).chain(0..48).collect::<Vec<u8>>()
    };
    fuzz("echo replies", &[echo(0), echo(8), [echo(3), echo(0)].concat()], &["\0"], INPUTS, targets::ping);
    let replies = [b"\x02ok".to_vec(), b"\x05\x1b[31m\x03no!\x00\x02oo".to_vec()];
    fuzz("UDP replies", &replies, &["o", "\u{1b}"], INPUTS, targets::udp);
}

#[test]
fn no_turn_of_a_dialog_is_misread() {
    let turns: [&[u8]; 9] = [
        b"220 mx1 ESMTP\r\n250-mx1\r\n250 STARTTLS\r\n",
        b"* OK ready\r\n* CAPABILITY IMAP4rev1\r\na2 OK done\r\n",
        b"+OK ready\r\n",
        b"220-a\r\nb\r\n220 c\r\n",
        b"200 ready\r\n",
        b"+PONG\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
        b"h\0\0\0\n11.8.6-MariaDB-0+deb13u1 from Debian\0\x04\0\0\0tX>iyB~s\0\xfe\xff-\x02\0\xff\x81\x15\0\0\0\0\0\0=\0\0\0\
          HL%r3A1p_n,,\0mysql_native_password\0\x07\0\0\x02\0\0\0\x02\0\0\0",
        b"R\0\0\0\x08\0\0\0\0S\0\0\0\x19server_version\x0017.11\0E\0\0\0\x14SFATAL\0C57P03\0\0\0",
        b"0\x0c\x02\x01\x02a\x07\n\x01\0\x04\0\x04\x000\x1a\x02\x01\x03d\x15\x04\x11dc=example,dc=com0\0\
          0\x0c\x02\x01\x03e\x07\n\x01\0\x04\0\x04\0",
    ];
    let words =
        ["250 ", "250-", "a2 NO", "* BYE", "-LOADING", "-NOAUTH", "\r\n", "\n", "Z\0\0\0\x05I", "\u{1b}[31m"];
    fuzz("dialogs", &seeds(&turns), &words, INPUTS, targets::dialog);
}

#[test]
fn no_status_is_misread() {
    let ranges = ["200", "300-399", "100-599", "2xx"].map(|text| text.as_bytes().to_vec());
    fuzz("status codes", &ranges, &["-", "+", " ", "65536", "0"], INPUTS, targets::status);
}

#[test]
fn no_file_of_results_is_misread() {
    let file = "trivet-checkd results 1\ncheck 0123456789abcdef tcp\ncheck 0 a\\nb\n\
                0 up 10.0.0.5:80 1700000000000000 5000000 - - connected\n\
                1 down? [2001:db8::1]:80 1 5 7 held refused\n0 down - 1 5 - 5:6 a\\\\b\nend 3\n";
    let words =
        ["check ", "up ", "down? ", "held ", "-", "end 1\n", "\\n", "18446744073709551615", " ", "\n"];
    fuzz("results", &[file.as_bytes().to_vec()], &words, INPUTS, targets::results);
}

#[test]
fn no_drop_in_is_misread() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/trivet/check.d");
    let paths = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    let seeds: Vec<Vec<u8>> = paths.map(|path| std::fs::read(path).unwrap()).collect();
    let words = [
        "type = \"tcp\"\n",
        "type = \"http\"\n",
        "[[request]]\n",
        "paths = [\"/\"]\n",
        "contains = ",
        "matches = \"(a|b)*\"\n",
        "digest = \"md5:900150983cd24fb0d6963f7d28e17f72\"\n",
        "body_limit = \"64K\"\n",
        "interval = ",
        "timeout = ",
        "status = [",
        "]",
        "[headers]\n",
        "[[x]]\n",
        "{ ",
        " }",
        "= ",
        "\"",
        "\"\"\"",
        "0",
        "-1",
        "1e400",
        "nan",
        "true",
        "\"10ms\"",
        "\"1y\"",
        "\"::1\"",
        "\"/\"",
        "\\r\\n",
        "\u{feff}",
        "\\u0000",
        "😀",
        "\r\n",
    ];
    fuzz("drop-ins", &seeds, &words, FILES, targets::drop_in);
}
