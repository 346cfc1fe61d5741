//! Each kind with what a good server says, and how a reason calls the place where it goes wrong.

use crate::support::script::Turn::{self, Answer, Hear, Say, Secure};
use crate::support::{dns, mysql};

#[derive(Debug)]
pub struct Kind {
    pub name: &'static str,
    /// The drop-in, without its times.
    pub check: &'static str,
    pub script: &'static [Turn],
    /// For each saying: words of the reason, when it was that which did not come.
    pub phases: &'static [&'static str],
}

impl Kind {
    /// Whether the server speaks first.
    pub fn speaks_first(&self) -> bool {
        matches!(self.script, [Say(_), ..])
    }
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
    Kind {
        name: "smtp",
        check: "type = \"smtp\"\nstarttls = true\ntls_name = \"www.example.com\"\nhelo = \"lb1.example.com\"\n",
        script: &[
            Say(b"220-mail.example.com ready\r\n220 for you\r\n"),
            Hear(b"EHLO lb1.example.com\r\n"),
            Say(b"250-mail.example.com\r\n250 STARTTLS\r\n"),
            Hear(b"STARTTLS\r\n"),
            Say(b"220 go ahead\r\n"),
            Secure,
            Hear(b"EHLO lb1.example.com\r\n"),
            Say(b"250 mail.example.com\r\n"),
        ],
        phases: &["greeting", "EHLO", "STARTTLS", HELLO, "EHLO"],
    },
    Kind {
        name: "imap",
        check: "type = \"imap\"\n",
        script: &[
            Say(b"* OK [CAPABILITY IMAP4rev1] ready\r\n"),
            Hear(b" CAPABILITY\r\n"),
            Say(b"* CAPABILITY IMAP4rev1\r\na2 OK done with it\r\n"),
        ],
        phases: &["greeting", "CAPABILITY"],
    },
    Kind { name: "pop3", check: "type = \"pop3\"\n", script: &[Say(b"+OK ready for you\r\n")], phases: &["greeting"] },
    Kind { name: "ftp", check: "type = \"ftp\"\n", script: &[Say(b"220 ready for you\r\n")], phases: &["greeting"] },
    Kind { name: "nntp", check: "type = \"nntp\"\n", script: &[Say(b"200 ready for you\r\n")], phases: &["greeting"] },
    Kind {
        name: "redis",
        check: "type = \"redis\"\nrole = \"master\"\n",
        script: &[
            Hear(b"PING\r\n"),
            Say(b"+PONG\r\n"),
            Hear(b"ROLE\r\n"),
            Say(b"*3\r\n$6\r\nmaster\r\n"),
        ],
        phases: &["PING", "ROLE"],
    },
    Kind { name: "mysql", check: "type = \"mysql\"\n", script: &[Say(mysql::GREETING), Hear(mysql::LOGIN), Say(mysql::ACCESS_DENIED)], phases: &["greeting", "login"] },
    Kind {
        name: "postgresql",
        check: "type = \"postgresql\"\n",
        script: &[Hear(b"checkd\0\0"), Say(b"R\0\0\0\x08\0\0\0\x03")],
        phases: &["startup"],
    },
    Kind {
        name: "ldap",
        check: "type = \"ldap\"\nbase = \"dc=example\"\n",
        script: &[
            Hear(b"\x60\x07\x02\x01\x03\x04\x00\x80\x00"),
            Say(b"\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00"),
            Hear(b"1.1"),
            Say(b"\x30\x13\x02\x01\x03\x64\x0e\x04\x0adc=example\x30\x00\x30\x0c\x02\x01\x03\x65\x07\x0a\x01\x00\x04\x00\x04\x00"),
        ],
        phases: &["bind", "search"],
    },
    Kind {
        name: "dns-tcp",
        check: "type = \"dns\"\nname = \"www.example.test\"\nrecord = \"A\"\nanswer = \"192.0.2.1\"\nprotocol = \"tcp\"\n",
        script: &[Hear(dns::END_OF_QUESTION), Answer(answer)],
        phases: &["question sent, "],
    },
    Kind {
        name: "dialog",
        check: "type = \"dialog\"\nstep = [{ expect = \"^hello stranger\\r\\n\", send = \"who?\\r\\n\" }, { expect = \"^me\\r\\n\" }]\n",
        script: &[Say(b"hello stranger\r\n"), Hear(b"who?\r\n"), Say(b"me\r\n")],
        phases: &["step 1", "step 2"],
    },
];

/// To a question with its length before it.
fn answer(question: &[u8]) -> Vec<u8> {
    dns::framed(&dns::good(&question[2..]))
}
