//! For each example a server that is well and one that is not.

use crate::peers::Peer::{self, Address, Datagrams, Pages, Script};
use crate::support::script::Turn::{self, Hear, Say, Secure};

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
            _ => "www.example.com",
        }
    }
}

const REQUEST: Turn = Hear(b"\r\n\r\n");
const OK: Turn = Say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
const NOT_FOUND: &[Turn] = &[REQUEST, Say(b"HTTP/1.1 404 Not Found\r\n\r\n")];
/// Accepts, and that is all.
const MUTE: &[Turn] = &[];

/// The well server of commands is at 192.0.2.1.
const HERE: Peer = Address("192.0.2.1:80", "");
const ELSEWHERE: Peer = Address("192.0.2.2:80", "");

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
    Row { example: "tls", keys: "", well: Script(&[Secure]), ill: Script(&[REQUEST]) },
];
