//! For each example a server that is well and one that is not.

use crate::peers::Peer::{self, Address, Datagrams, Pages, Script};
use crate::support::mysql;
use crate::support::script::Turn::{self, Hear, Say, Secure};
use crate::support::systemd::{FAILED, RUNNING, State};

#[derive(Debug)]
pub struct Row {
    pub example: &'static str,
    /// What the test must say beside it, and why an administrator would, too.
    pub keys: &'static str,
    pub well: Peer,
    pub ill: Peer,
}

impl Row {
    pub fn is_secured(&self) -> bool {
        matches!(self.well, Script(script) if script.iter().any(|turn| matches!(turn, Secure)))
    }

    /// For which name the certificate is.
    pub fn name(&self) -> &'static str {
        match self.example {
            "tls" => "db.example.com",
            "submission" | "imaps" | "imap-login" | "pop3s" => "mail.example.com",
            "ldaps" => "ldap.example.com",
            _ => "www.example.com",
        }
    }
}

const REQUEST: Turn = Hear(b"\r\n\r\n");
const OK: Turn = Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
const NOT_FOUND: &[Turn] = &[REQUEST, Say(b"HTTP/1.1 404 Not Found\r\n\r\n")];
const IMAP: &[Turn] = &[
    Say(b"* OK [CAPABILITY IMAP4rev1] ready\r\n"),
    Hear(b" CAPABILITY\r\n"),
    Say(b"* CAPABILITY IMAP4rev1\r\na2 OK done\r\n"),
];
/// Accepts, and that is all.
const MUTE: &[Turn] = &[];

/// The well server of commands is at 192.0.2.1.
const HERE: Peer = Address("192.0.2.1:80", "");
const ELSEWHERE: Peer = Address("192.0.2.2:80", "");

/// What systemd says of units: of the examples', and of one that is ill.
pub const UNITS: &[(&str, State)] = &[("nginx.service", RUNNING), ("ill.service", FAILED)];

/// What the examples run for 192.0.2.1:80.
pub const COMMANDS: &[&[&str]] = &[
    &["/usr/lib/nagios/plugins/check_http", "-I", "192.0.2.1", "-p", "80", "-u", "/health"],
    &["/usr/local/lib/trivet/load-of", "192.0.2.1", "80"],
    &["/usr/bin/test", "!", "-e", "/etc/trivet/maintenance/192.0.2.1"],
    &[
        "/usr/bin/mysql",
        "--defaults-file=/etc/trivet/mysql-check.cnf",
        "--host=192.0.2.1",
        "--port=80",
        "--batch",
        "--skip-column-names",
        "--execute=SELECT 1 FROM health LIMIT 1",
        "app",
    ],
    &[
        "/usr/bin/psql",
        "--no-psqlrc",
        "--no-password",
        "--tuples-only",
        "--set=ON_ERROR_STOP=1",
        "--command=SELECT 1 FROM health LIMIT 1",
        "host=192.0.2.1 port=80 dbname=app user=check passfile=/etc/trivet/postgresql-check.pass",
    ],
    &["/usr/bin/sqlplus", "-S", "-L", "/nolog", "@/etc/trivet/oracle-check.sql", "192.0.2.1", "80"],
];

/// RFC 5997, section 6.1: with the secret "xyzzy5461".
const STATUS_SERVER: [u8; 38] = [
    0x0c, 0xda, 0x00, 0x26, 0x8a, 0x54, 0xf4, 0x68, 0x6f, 0xb3, 0x94, 0xc5, 0x28, 0x66, 0xe3, 0x02, 0x18,
    0x5d, 0x06, 0x23, 0x50, 0x12, 0x5a, 0x66, 0x5e, 0x2e, 0x1e, 0x84, 0x11, 0xf3, 0xe2, 0x43, 0x82, 0x20,
    0x97, 0xc8, 0x4f, 0xa3,
];
const ACCESS_ACCEPT: [u8; 20] = [
    0x02, 0xda, 0x00, 0x14, 0xef, 0x0d, 0x55, 0x2a, 0x4b, 0xf2, 0xd6, 0x93, 0xec, 0x2b, 0x6f, 0xe8, 0xb5,
    0x41, 0x1d, 0x66,
];

/// A client's NTP packet (RFC 5905, section 7.3): version 4, mode 3, and nothing else.
fn ntp(request: &[u8]) -> Vec<u8> {
    let is_right = request.len() == 48 && request[0] == 0x23;
    let mut reply = vec![0; 48];
    reply[..2].copy_from_slice(&[0x24, 2]);
    if is_right { reply } else { Vec::new() }
}

fn radius(request: &[u8]) -> Vec<u8> {
    if request == STATUS_SERVER { ACCESS_ACCEPT.to_vec() } else { Vec::new() }
}

fn sip(request: &[u8]) -> Vec<u8> {
    let is_right = request.starts_with(b"OPTIONS sip:") && request.ends_with(b"\r\n\r\n");
    if is_right { b"SIP/2.0 200 OK\r\n\r\n".to_vec() } else { Vec::new() }
}

/// The answer (RFC 1035, section 4.1) to a question for an address: this one.
fn dns(request: &[u8], address: [u8; 4]) -> Vec<u8> {
    let Some(name) = request.get(12..).and_then(|rest| rest.iter().position(|byte| *byte == 0)) else {
        return Vec::new();
    };
    let question = &request[12..12 + name + 5];
    let head = [&request[..2], &[0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]].concat();
    [&head, question, &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4], &address].concat()
}

pub const ROWS: &[Row] = &[
    Row { example: "slow-tcp", keys: "", well: Script(MUTE), ill: Address("127.0.0.1:1", "") },
    Row {
        example: "index",
        keys: "",
        well: Script(&[Hear(b"GET / HTTP/1.1\r\n"), REQUEST, OK]),
        ill: Script(NOT_FOUND),
    },
    Row {
        example: "drupal",
        keys: "",
        well: Script(&[Hear(b"GET /drupal/ HTTP/1.1\r\n"), REQUEST, OK]),
        ill: Script(NOT_FOUND),
    },
    Row {
        example: "http",
        keys: "",
        well: Pages(&[("/health", "{\"status\":\"ok\"}"), ("/version.txt", "1.4.2\n")]),
        ill: Pages(&[("/health", "{\"status\":\"ok\"}"), ("/version.txt", "1.4.1\n")]),
    },
    Row {
        example: "https",
        keys: "",
        well: Script(&[Secure, Hear(b"GET /health HTTP/1.1\r\nHost: www.example.com\r\n"), REQUEST, OK]),
        ill: Script(NOT_FOUND),
    },
    Row {
        example: "ping",
        keys: "",
        well: Address("127.0.0.1", ""),
        ill: Address("192.0.2.1", "interface = \"lo\"\n"),
    },
    Row { example: "udp", keys: "", well: Datagrams(ntp), ill: Datagrams(|_| vec![0; 48]) },
    Row {
        example: "dns",
        keys: "",
        well: Datagrams(|request| dns(request, [192, 0, 2, 10])),
        ill: Datagrams(|request| dns(request, [192, 0, 2, 99])),
    },
    Row { example: "radius", keys: "", well: Datagrams(radius), ill: Datagrams(|_| Vec::new()) },
    Row {
        example: "sip-udp",
        keys: "",
        well: Datagrams(sip),
        ill: Datagrams(|_| b"SIP/2.0 503 Service Unavailable\r\n\r\n".to_vec()),
    },
    Row { example: "external", keys: "", well: HERE, ill: ELSEWHERE },
    Row { example: "misc-dynamic", keys: "", well: HERE, ill: ELSEWHERE },
    Row { example: "file", keys: "", well: HERE, ill: ELSEWHERE },
    Row { example: "mysql-query", keys: "", well: HERE, ill: ELSEWHERE },
    Row { example: "postgresql-query", keys: "", well: HERE, ill: ELSEWHERE },
    Row { example: "oracle", keys: "", well: HERE, ill: ELSEWHERE },
    Row { example: "unit", keys: "", well: HERE, ill: Address("192.0.2.1:80", "unit = \"ill.service\"\n") },
    Row { example: "tls", keys: "", well: Script(&[Secure]), ill: Script(&[REQUEST]) },
    Row {
        example: "smtp",
        keys: "helo = \"lb1.example.com\"\n",
        well: Script(&[
            Say(b"220 mail.example.com ready\r\n"),
            Hear(b"EHLO lb1.example.com\r\n"),
            Say(b"250-mail.example.com\r\n250 8BITMIME\r\n"),
        ]),
        ill: Script(&[Say(b"554 no service\r\n")]),
    },
    Row {
        example: "submission",
        keys: "helo = \"lb1.example.com\"\n",
        well: Script(&[
            Say(b"220 mail.example.com ready\r\n"),
            Hear(b"EHLO lb1.example.com\r\n"),
            Say(b"250-mail.example.com\r\n250 STARTTLS\r\n"),
            Hear(b"STARTTLS\r\n"),
            Say(b"220 go ahead\r\n"),
            Secure,
            Hear(b"EHLO lb1.example.com\r\n"),
            Say(b"250 mail.example.com\r\n"),
        ]),
        ill: Script(&[
            Say(b"220 mail.example.com ready\r\n"),
            Hear(b"EHLO lb1.example.com\r\n"),
            Say(b"250 mail.example.com\r\n"),
        ]),
    },
    Row { example: "imap", keys: "", well: Script(IMAP), ill: Script(&[Say(b"* BYE overloaded\r\n")]) },
    Row {
        example: "imaps",
        keys: "",
        well: Script(&[Secure, IMAP[0], IMAP[1], IMAP[2]]),
        ill: Script(&[Secure, Say(b"* BYE overloaded\r\n")]),
    },
    Row {
        example: "imap-login",
        keys: "",
        well: Script(&[
            Secure,
            IMAP[0],
            Hear(b"a1 LOGIN check secret\r\n"),
            Say(b"* CAPABILITY IMAP4rev1\r\na1 OK logged in\r\n"),
        ]),
        ill: Script(&[
            Secure,
            IMAP[0],
            Hear(b"a1 LOGIN check secret\r\n"),
            Say(b"a1 NO authentication failed\r\n"),
        ]),
    },
    Row {
        example: "pop3",
        keys: "",
        well: Script(&[Say(b"+OK ready\r\n")]),
        ill: Script(&[Say(b"-ERR no mail here\r\n")]),
    },
    Row {
        example: "pop3s",
        keys: "",
        well: Script(&[
            Secure,
            Say(b"+OK ready\r\n"),
            Hear(b"USER check\r\n"),
            Say(b"+OK\r\n"),
            Hear(b"PASS secret\r\n"),
            Say(b"+OK 0 messages\r\n"),
        ]),
        ill: Script(&[
            Secure,
            Say(b"+OK ready\r\n"),
            Hear(b"USER check\r\n"),
            Say(b"+OK\r\n"),
            Hear(b"PASS secret\r\n"),
            Say(b"-ERR wrong password\r\n"),
        ]),
    },
    Row {
        example: "ftp",
        keys: "",
        well: Script(&[Say(b"220-Welcome\r\n220 ready\r\n")]),
        ill: Script(&[Say(b"421 too many users\r\n")]),
    },
    Row {
        example: "ftp-login",
        keys: "",
        well: Script(&[
            Say(b"220 ready\r\n"),
            Hear(b"USER anonymous\r\n"),
            Say(b"331 who are you\r\n"),
            Hear(b"PASS checkd@example.com\r\n"),
            Say(b"230 come in\r\n"),
        ]),
        ill: Script(&[Say(b"220 ready\r\n"), Hear(b"USER anonymous\r\n"), Say(b"530 nobody may\r\n")]),
    },
    Row {
        example: "nntp",
        keys: "",
        well: Script(&[Say(b"201 reading only\r\n")]),
        ill: Script(&[Say(b"400 out of space\r\n")]),
    },
    Row {
        example: "redis",
        keys: "",
        well: Script(&[
            Hear(b"PING\r\n"),
            Say(b"+PONG\r\n"),
            Hear(b"ROLE\r\n"),
            Say(b"*3\r\n$6\r\nmaster\r\n:3129659\r\n*0\r\n"),
        ]),
        ill: Script(&[
            Hear(b"PING\r\n"),
            Say(b"+PONG\r\n"),
            Hear(b"ROLE\r\n"),
            Say(b"*5\r\n$5\r\nslave\r\n$9\r\n192.0.2.1\r\n:6379\r\n$9\r\nconnected\r\n:1\r\n"),
        ]),
    },
    Row {
        example: "mysql",
        keys: "",
        well: Script(&[Say(mysql::GREETING), Hear(mysql::LOGIN), Say(mysql::ACCESS_DENIED)]),
        ill: Script(&[Say(mysql::TOO_MANY)]),
    },
    Row {
        example: "postgresql",
        keys: "",
        well: Script(&[Hear(b"checkd\0\0"), Say(b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0")]),
        ill: Script(&[
            Hear(b"checkd\0\0"),
            Say(b"E\0\0\0\x30SFATAL\0C57P03\0Mthe database is starting up\0\0"),
        ]),
    },
    Row {
        example: "ldap",
        keys: "",
        well: Script(&[
            Hear(b"\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
            Say(b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"),
            Hear(b"1.1"),
            Say(b"\x30\x1a\x02\x01\x03\x64\x15\x04\x11dc=example,dc=com\x30\x00"),
            Say(b"\x30\x0c\x02\x01\x03\x65\x07\x0a\x01\x00\x04\x00\x04\x00"),
        ]),
        ill: Script(&[
            Hear(b"\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
            Say(b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"),
            Hear(b"1.1"),
            Say(b"\x30\x0c\x02\x01\x03\x65\x07\x0a\x01\x20\x04\x00\x04\x00"),
        ]),
    },
    Row {
        example: "ldaps",
        keys: "",
        well: Script(&[
            Secure,
            Hear(b"\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
            Say(b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"),
        ]),
        ill: Script(&[
            Secure,
            Hear(b"\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
            Say(b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x33\x04\x00\x04\x00"),
        ]),
    },
    Row {
        example: "http-proxy",
        keys: "",
        well: Script(&[
            Hear(
                b"GET http://www.example.com/ HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\n\r\n",
            ),
            Say(b"HTTP/1.1 200 OK\r\nVia: 1.1 proxy\r\n\r\n<html><title>Example Domain</title>"),
        ]),
        ill: Script(&[REQUEST, Say(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")]),
    },
    Row {
        example: "simple-tcp",
        keys: "",
        well: Script(&[Hear(b"version\r\n"), Say(b"VERSION 1.6.18\r\n")]),
        ill: Script(&[Hear(b"version\r\n"), Say(b"ERROR\r\n")]),
    },
    Row {
        example: "sip",
        keys: "",
        well: Script(&[REQUEST, Say(b"SIP/2.0 100 Trying\r\n\r\n"), Say(b"SIP/2.0 200 OK\r\n\r\n")]),
        ill: Script(&[REQUEST, Say(b"SIP/2.0 503 Service Unavailable\r\n\r\n")]),
    },
];
