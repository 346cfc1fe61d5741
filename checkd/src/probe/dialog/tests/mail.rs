//! SMTP, IMAP, POP3, FTP and NNTP: what Postfix 3.10, Dovecot 2.4 and vsftpd 3.0 of Debian 13 say, as captured; NNTP as
//! RFC 3977 and RFC 4642 print it.

use super::*;

const POSTFIX: &[u8] = b"220 mx1.example.com ESMTP Postfix\r\n";
const POSTFIX_EHLO: &[u8] =
    b"250-mx1.example.com\r\n250-PIPELINING\r\n250-SIZE 10240000\r\n250-VRFY\r\n250-ETRN\r\n\
    250-STARTTLS\r\n250-ENHANCEDSTATUSCODES\r\n250-8BITMIME\r\n250-DSN\r\n250-SMTPUTF8\r\n250 CHUNKING\r\n";
const EHLO: &[u8] = b"EHLO check\r\n";
const DOVECOT: &[u8] =
    b"* OK [CAPABILITY IMAP4rev1 LOGIN-REFERRALS ID ENABLE IDLE SASL-IR LITERAL+ STARTTLS AUTH=PLAIN] \
    Dovecot ready.\r\n";
const DOVECOT_CAPABILITY: &[u8] =
    b"* CAPABILITY IMAP4rev1 LOGIN-REFERRALS ID ENABLE IDLE SASL-IR LITERAL+ STARTTLS \
    AUTH=PLAIN\r\na2 OK Pre-login capabilities listed, post-login capabilities have more.\r\n";

fn smtp(starttls: bool) -> Settings {
    plain(Script::Smtp { helo: "check".into(), starttls })
}

#[test]
fn smtp_is_a_greeting_and_ehlo_and_starttls_where_it_is_wanted() {
    passes(&smtp(false), &[(b"", POSTFIX), (EHLO, POSTFIX_EHLO)], "greeting 220, EHLO 250", b"QUIT\r\n");
    let ready = b"220 2.0.0 Ready to start TLS\r\n";
    let turns = [(&b""[..], POSTFIX), (EHLO, POSTFIX_EHLO), (b"STARTTLS\r\n", ready), (EHLO, b"250 mx1\r\n")];
    passes(&smtp(true), &turns, "greeting 220, EHLO 250, STARTTLS", b"QUIT\r\n");
    let old = [(&b""[..], POSTFIX), (EHLO, &b"502 5.5.1 what?\r\n"[..]), (b"HELO check\r\n", b"250 mx1\r\n")];
    passes(&smtp(false), &old, "greeting 220, HELO 250", b"QUIT\r\n");
}

#[test]
fn smtp_that_refuses_is_down_in_its_own_words() {
    let busy = b"421 4.3.2 mx1 too many connections\r\n";
    fails(&smtp(false), &[(b"", busy)], "greeting: the server said '421 4.3.2 mx1 too many connections'");
    let turns = [(&b""[..], POSTFIX), (EHLO, &b"550 not you\r\n"[..])];
    fails(&smtp(false), &turns, "EHLO: the server said '550 not you'");
    let turns = [(&b""[..], POSTFIX), (EHLO, &b"250-mx1\r\n250-STARTTLSX\r\n250 XSTARTTLS\r\n"[..])];
    fails(&smtp(true), &turns, "EHLO: the server does not offer STARTTLS");
    // HELO offers nothing: where TLS is wanted that is no way out.
    let turns = [(&b""[..], POSTFIX), (EHLO, &b"502 5.5.1 what?\r\n"[..])];
    fails(&smtp(true), &turns, "EHLO: the server said '502 5.5.1 what?'");
    let late = b"454 4.7.0 TLS not available due to local problem\r\n";
    let turns = [(&b""[..], POSTFIX), (EHLO, POSTFIX_EHLO), (b"STARTTLS\r\n", late)];
    fails(
        &smtp(true),
        &turns,
        "STARTTLS: the server said '454 4.7.0 TLS not available due to local problem'",
    );
    assert_eq!(
        failure(&smtp(false), &[(b"", b"SSH-2.0-OpenSSH_9.2\r\n")]),
        "not SMTP: starts with 'SSH-2.0-OpenSSH_9.2'"
    );
}

#[test]
fn imap_is_a_greeting_and_its_capabilities() {
    let imap = |starttls| plain(Script::Imap { starttls });
    let ask = &b"a2 CAPABILITY\r\n"[..];
    let turns = [(&b""[..], DOVECOT), (ask, DOVECOT_CAPABILITY)];
    passes(&imap(false), &turns, "greeting OK, CAPABILITY", b"a3 LOGOUT\r\n");
    let ready = &b"a1 OK Begin TLS negotiation now.\r\n"[..];
    let turns = [(&b""[..], DOVECOT), (b"a1 STARTTLS\r\n", ready), (ask, DOVECOT_CAPABILITY)];
    passes(&imap(true), &turns, "greeting OK, CAPABILITY, STARTTLS", b"a3 LOGOUT\r\n");
    let known = &b"* PREAUTH IMAP4rev1 server logged in as Smith\r\n"[..];
    passes(
        &imap(false),
        &[(b"", known), (ask, DOVECOT_CAPABILITY)],
        "greeting OK, CAPABILITY",
        b"a3 LOGOUT\r\n",
    );
    fails(
        &imap(true),
        &[(b"", known)],
        "greeting: the server has logged us in (PREAUTH) and knows no STARTTLS then",
    );
    let bye = b"* BYE Too many connections\r\n";
    fails(&imap(false), &[(b"", bye)], "greeting: the server said '* BYE Too many connections'");
    fails(
        &imap(false),
        &[(b"", DOVECOT), (ask, bye)],
        "CAPABILITY: the server said '* BYE Too many connections'",
    );
    fails(
        &imap(false),
        &[(b"", DOVECOT), (ask, b"a2 BAD no\r\n")],
        "CAPABILITY: the server said 'a2 BAD no'",
    );
    assert_eq!(
        failure(&imap(false), &[(b"", POSTFIX)]),
        "not IMAP: starts with '220 mx1.example.com ESMTP Postfix'"
    );
}

#[test]
fn pop3_is_a_greeting_and_stls_where_it_is_wanted() {
    let pop3 = |starttls| plain(Script::Pop3 { starttls });
    let greeting = &b"+OK Dovecot ready.\r\n"[..];
    passes(&pop3(false), &[(b"", greeting)], "greeting +OK", b"QUIT\r\n");
    let capabilities = &b"+OK\r\nCAPA\r\nTOP\r\nUIDL\r\nRESP-CODES\r\n.\r\n"[..];
    let turns = [
        (&b""[..], greeting),
        (b"STLS\r\n", b"+OK Begin TLS negotiation now.\r\n"),
        (b"CAPA\r\n", capabilities),
    ];
    passes(&pop3(true), &turns, "greeting +OK, STLS", b"QUIT\r\n");
    let turns = [turns[0], turns[1], (turns[2].0, b"-ERR what?\r\n")];
    passes(&pop3(true), &turns, "greeting +OK, STLS", b"QUIT\r\n");
    fails(
        &pop3(false),
        &[(b"", b"-ERR [SYS/TEMP] busy\r\n")],
        "greeting: the server said '-ERR [SYS/TEMP] busy'",
    );
    let turns = [(&b""[..], greeting), (b"STLS\r\n", &b"-ERR what?\r\n"[..])];
    fails(&pop3(true), &turns, "STLS: the server said '-ERR what?'");
    assert_eq!(failure(&pop3(false), &[(b"", b"+PONG\r\n")]), "not POP3: starts with '+PONG'");
}

#[test]
fn ftp_is_a_greeting_of_any_length_and_auth_tls_where_it_is_wanted() {
    let ftp = |starttls| plain(Script::Ftp { starttls });
    let greeting = &b"220 (vsFTPd 3.0.5)\r\n"[..];
    passes(&ftp(false), &[(b"", greeting)], "greeting 220", b"QUIT\r\n");
    let long = b"220-Welcome\r\n  to our server\r\n220 ready\r\n";
    passes(&ftp(false), &[(b"", long)], "greeting 220", b"QUIT\r\n");
    let turns = [
        (&b""[..], greeting),
        (b"AUTH TLS\r\n", b"234 Proceed with negotiation.\r\n"),
        (b"NOOP\r\n", b"530 Please login with USER and PASS.\r\n"),
    ];
    passes(&ftp(true), &turns, "greeting 220, AUTH TLS", b"QUIT\r\n");
    fails(&ftp(false), &[(b"", b"120 in 5 minutes\r\n")], "greeting: the server said '120 in 5 minutes'");
    let turns = [(&b""[..], greeting), (b"AUTH TLS\r\n", &b"530 no\r\n"[..])];
    fails(&ftp(true), &turns, "AUTH TLS: the server said '530 no'");
}

#[test]
fn nntp_is_a_greeting_and_starttls_where_it_is_wanted() {
    let nntp = |starttls| plain(Script::Nntp { starttls });
    passes(
        &nntp(false),
        &[(b"", b"200 InterNetNews server INN 2.7.0 ready\r\n")],
        "greeting 200",
        b"QUIT\r\n",
    );
    let turns = [
        (&b""[..], &b"201 NNTP Service Ready, posting prohibited\r\n"[..]),
        (b"STARTTLS\r\n", b"382 Continue with TLS negotiation\r\n"),
        (b"DATE\r\n", b"111 19990623135624\r\n"),
    ];
    passes(&nntp(true), &turns, "greeting 201, STARTTLS", b"QUIT\r\n");
    let turns = [turns[0], turns[1], (turns[2].0, b"480 who are you?\r\n")];
    passes(&nntp(true), &turns, "greeting 201, STARTTLS", b"QUIT\r\n");
    fails(
        &nntp(true),
        &[turns[0], turns[1], (turns[2].0, b"400 load too high\r\n")],
        "DATE under TLS: the server said '400 load too high'",
    );
    passes(&nntp(false), &[turns[0]], "greeting 201", b"QUIT\r\n");
    fails(&nntp(false), &[(b"", b"400 load too high\r\n")], "greeting: the server said '400 load too high'");
}
