//! Each kind with what a good server says, and how a reason calls the place where it goes wrong.

use crate::support::script::Turn::{self, Hear, Say, Secure};

#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    /// The drop-in, without its times.
    pub check: &'static str,
    pub script: &'static [Turn],
    /// For each saying: words of the reason, when it was that which did not come.
    pub phases: &'static [&'static str],
}

const END_OF_REQUEST: Turn = Hear(b"\r\n\r\n");
/// "TLS begun, …", "TLS 1.3 agreed on, …"
const HELLO: &str = "TLS ";

pub const KINDS: &[Kind] = &[
    Kind {
        name: "http",
        check: "type = \"http\"\ncontains = \"hello\"\n",
        script: &[
            END_OF_REQUEST,
            Say(b"HTTP/1.1 200 OK\r\n"),
            Say(b"Content-Length: 50000\r\n\r\n"),
            Say(b"hello"),
        ],
        phases: &["request sent, ", "'HTTP/1.1 200 OK' and ", "bytes of the body"],
    },
    Kind {
        name: "chunked",
        check: "type = \"http\"\nmatches = \"^hello$\"\n",
        script: &[
            END_OF_REQUEST,
            Say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Say(b"5\r\nhello\r\n"),
            Say(b"0\r\n\r\n"),
        ],
        phases: &["request sent, ", "bytes of the chunked body", "5 bytes of the chunked body"],
    },
    Kind {
        name: "tls",
        check: "type = \"tls\"\ntls_name = \"www.example.com\"\n",
        script: &[Secure],
        phases: &[HELLO],
    },
    Kind {
        name: "https",
        check: "type = \"http\"\ntls = true\nhost = \"www.example.com\"\n",
        script: &[Secure, END_OF_REQUEST, Say(b"HTTP/1.1 200 OK\r\n"), Say(b"Content-Length: 2\r\n\r\n")],
        phases: &[HELLO, "request sent, ", "'HTTP/1.1 200 OK' and "],
    },
];
