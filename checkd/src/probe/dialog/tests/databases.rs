//! Redis, MySQL and PostgreSQL: what Redis 8.0, MariaDB 11.8 and PostgreSQL 17 of Debian 13 say, as captured; MySQL 8 as
//! its documentation has it.

use super::*;
use crate::probe::dialog::redis::Role;
use crate::probe::secret::Secret;

const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
const ROLE: &[u8] = b"*1\r\n$4\r\nROLE\r\n";

#[test]
fn redis_answers_ping_or_says_why_not() {
    let redis = plain(Script::Redis(redis::Settings::default()));
    passes(&redis, &[(PING, b"+PONG\r\n")], "PING PONG", b"");
    let noauth = "answers, but asks for a password (NOAUTH): more is not known without one";
    passes(&redis, &[(PING, b"-NOAUTH Authentication required.\r\n")], noauth, b"");
    for (said, told) in [
        (
            &b"-LOADING Redis is loading the dataset in memory\r\n"[..],
            "LOADING Redis is loading the dataset in memory",
        ),
        (
            b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to \\'no\\'.",
        ),
        (b"-ERR max number of clients reached\r\n", "ERR max number of clients reached"),
    ] {
        fails(&redis, &[(PING, said)], &format!("PING: the server said '{told}'"));
    }
    assert_eq!(
        failure(&redis, &[(PING, b"HTTP/1.1 400 Bad\r\n")]),
        "not Redis: starts with 'HTTP/1.1 400 Bad'"
    );
}

#[test]
fn redis_with_a_password_logs_in_first_and_never_shows_it() {
    let settings = redis::Settings { password: Some(Secret::new(b"hunter2".to_vec())), ..Default::default() };
    let redis = plain(Script::Redis(settings.clone()));
    assert!(!format!("{:?} {:?}", redis, Probe::new(&redis, route())).contains("hunter2"));
    let auth = b"*2\r\n$4\r\nAUTH\r\n$7\r\nhunter2\r\n";
    passes(&redis, &[(auth, b"+OK\r\n"), (PING, b"+PONG\r\n")], "PING PONG", b"");
    let wrong = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n";
    let told = "AUTH: the server said 'WRONGPASS invalid username-password pair or user is disabled.'";
    fails(&redis, &[(auth, wrong)], told);
    fails(&redis, &[(auth, b"+OK\r\n"), (PING, b"-NOAUTH no\r\n")], "PING: the server said 'NOAUTH no'");
    // Redis repeats what it does not know.
    let renamed = b"-ERR unknown command `AUTH`, with args beginning with: `hunter2`, \r\n";
    fails(&redis, &[(auth, renamed)], "AUTH: the server said 'ERR unknown command `AUTH`'");
    fails(&redis, &[(auth, b"-ERR what is hunter2?\r\n")], "AUTH: the server said 'ERR what is'");
    let redis = plain(Script::Redis(redis::Settings { user: Some("checker".into()), ..settings }));
    let auth = b"*3\r\n$4\r\nAUTH\r\n$7\r\nchecker\r\n$7\r\nhunter2\r\n";
    passes(&redis, &[(auth, b"+OK\r\n"), (PING, b"+PONG\r\n")], "PING PONG", b"");
}

#[test]
fn redis_of_another_role_than_is_wanted_is_down() {
    let wants = |role| plain(Script::Redis(redis::Settings { role: Some(role), ..Default::default() }));
    let master = &b"*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"[..];
    let replica = &b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:1\r\n$7\r\nconnect\r\n:-1\r\n"[..];
    let pong = (PING, &b"+PONG\r\n"[..]);
    passes(&wants(Role::Master), &[pong, (ROLE, master)], "PING PONG, role master", b"");
    passes(&wants(Role::Replica), &[pong, (ROLE, replica)], "PING PONG, role slave", b"");
    let told = "ROLE, where 'master' is wanted: the server said 'slave'";
    fails(&wants(Role::Master), &[pong, (ROLE, replica)], told);
    fails(&wants(Role::Master), &[pong, (ROLE, b"+master\r\n")], "ROLE: the server said '+master'");
    let noauth = (PING, &b"-NOAUTH Authentication required.\r\n"[..]);
    fails(&wants(Role::Master), &[noauth], "asks for a password (NOAUTH): its role is not known without one");
}

const MARIADB: &[u8] =
    b"h\x00\x00\x00\n11.8.6-MariaDB-0+deb13u1 from Debian\x00\x04\x00\x00\x00tX>iyB~s\x00\xfe\xff-\x02\
    \x00\xff\x81\x15\x00\x00\x00\x00\x00\x00=\x00\x00\x00HL%r3A1p_n,,\x00mysql_native_password\x00";
const MARIADB_LOGIN: &[u8] =
    b">\x00\x00\x01\x01\x82\x08\x00\x00\x00\x00\x01!\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\
    \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00trivet\x00\x00mysql_native_password\x00";
const MARIADB_REFUSAL: &[u8] =
    b"H\x00\x00\x02\xff\x15\x04#28000Access denied for user 'trivet'@'10.0.0.5' (using password: NO)";
const MARIADB_NOT_ALLOWED: &[u8] =
    b"C\x00\x00\x00\xffj\x04Host '10.0.0.5' is not allowed to connect to this MariaDB server";
const MARIADB_BLOCKED: &[u8] =
    b"i\x00\x00\x00\xffi\x04Host '10.0.0.5' is blocked because of many connection errors; unblock \
    with 'mariadb-admin flush-hosts'";
const VERSION: &str = "version 11.8.6-MariaDB-0+deb13u1 from Debian";

fn mysql(user: Option<&str>, starttls: bool) -> Settings {
    plain(Script::Mysql(mysql::Settings { user: user.map(str::to_owned), starttls }))
}

#[test]
fn mysql_is_a_greeting_and_a_login_whose_refusal_is_an_answer_unless_a_user_was_named() {
    let turns = [(&b""[..], MARIADB), (MARIADB_LOGIN, MARIADB_REFUSAL)];
    passes(&mysql(None, false), &turns, &format!("{VERSION}, refuses trivet (1045)"), b"");
    let told = "the login: the server said '1045 Access denied for user \\'trivet\\'@\\'10.0.0.5\\' (using password: NO)'";
    fails(&mysql(Some("trivet"), false), &turns, told);
    let ok = b"\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00";
    let turns = [(&b""[..], MARIADB), (MARIADB_LOGIN, ok)];
    passes(&mysql(None, false), &turns, &format!("{VERSION}, let trivet in"), b"\x01\x00\x00\x00\x01");
}

#[test]
fn mysql_that_does_not_even_greet_is_down_in_its_own_words() {
    let told = |turns: &[Turn<'_>]| failure(&mysql(None, false), turns);
    assert_eq!(
        told(&[(b"", MARIADB_NOT_ALLOWED)]),
        "greeting: the server said '1130 Host \\'10.0.0.5\\' is not allowed to connect to this MariaDB server'"
    );
    assert!(
        told(&[(b"", MARIADB_BLOCKED)]).contains("1129 Host \\'10.0.0.5\\' is blocked because of many conn")
    );
    let full = b"\x17\x00\x00\x00\xff\x10\x04Too many connections";
    assert_eq!(told(&[(b"", full)]), "greeting: the server said '1040 Too many connections'");
    let full = b"\x1a\x00\x00\x02\xff\x10\x04#08004Too many connections"[..].to_vec();
    let full = [&[full[0] + 3], &full[1..]].concat();
    assert_eq!(
        told(&[(b"", MARIADB), (MARIADB_LOGIN, &full)]),
        "the login: the server said '1040 Too many connections'"
    );
    assert_eq!(told(&[(b"", b"220 mx1 ESMTP\r\n")]), "not MySQL: starts with '220 mx1 ESMTP'");
    // At once, whatever may follow: too long for a greeting, nothing at all, not the first packet.
    for head in [&b"\x00\x40\x00\x00"[..], b"\x00\x00\x00\x00", b"\x4a\x00\x00\x01"] {
        let mut probe = Probe::new(&mysql(None, false), route());
        assert_eq!(probe.on_connected(), None);
        let outcome = probe.on_received(head);
        assert!(
            matches!(&outcome, Some(Outcome::Fail(why)) if why.starts_with("not MySQL: ")),
            "{outcome:?}"
        );
    }
}

#[test]
fn mysql_8_is_told_that_there_is_no_password_in_the_way_that_it_asks_for() {
    let mut greeting =
        b"J\x00\x00\x00\n8.4.0\x00\x08\x00\x00\x00abcdefgh\x00\xff\xff\xff\x02\x00\xff\xdf\x15".to_vec();
    greeting.extend_from_slice(b"\0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0caching_sha2_password\0");
    greeting[0] = u8::try_from(greeting.len() - 4).unwrap();
    let mut login = MARIADB_LOGIN.to_vec();
    login.truncate(login.len() - 22);
    login.extend_from_slice(b"caching_sha2_password\0");
    let switch = b",\x00\x00\x02\xfecaching_sha2_password\0abcdefghijklmnopqrst\0";
    let refusal = b"\x13\x00\x00\x04\xff\x15\x04#28000Access denied";
    let refusal = [&[refusal[0] + 2], &refusal[1..]].concat();
    // The length of the challenge, of which 13 bytes always follow.
    for length in [0x15, 8] {
        greeting[31] = length;
        let turns = [(&b""[..], &greeting[..]), (&login, switch), (b"\x01\x00\x00\x03\x00", &refusal)];
        passes(&mysql(None, false), &turns, "version 8.4.0, refuses trivet (1045)", b"");
    }
}

#[test]
fn mysql_asks_for_tls_in_the_clear_and_logs_in_under_it() {
    let settings = mysql(None, true);
    let mut probe = Probe::new(&settings, route());
    assert_eq!(probe.on_connected(), None);
    assert_eq!(probe.on_received(MARIADB), None);
    let request = probe.unsent().to_vec();
    assert_eq!(request.len(), 36);
    assert_eq!(
        request[..8],
        *b" \x00\x00\x01\x01\x8a\x08\x00",
        "32 bytes, number 1, CLIENT_SSL among the flags"
    );
    assert!(!probe.wants_tls(), "not before the request is on its way");
    probe.on_sent(30);
    assert!(!probe.wants_tls());
    probe.on_sent(6);
    assert!(probe.wants_tls());
    assert_eq!(probe.unsent()[3], 2, "the login is number 2, and under TLS");
    let without = [&MARIADB[..55], b"\xfe\xf7", &MARIADB[57..]].concat();
    assert_eq!(without.len(), MARIADB.len());
    assert_eq!(failure(&settings, &[(b"", &without)]), format!("{VERSION}: the server does not offer TLS"));
}

fn postgresql(user: Option<&str>, starttls: bool) -> Settings {
    let settings = postgresql::Settings { user: user.map(str::to_owned), database: None, starttls };
    plain(Script::Postgresql(settings))
}

const STARTUP: &[u8] = b"\x00\x00\x00-\x00\x03\x00\x00user\x00trivet\x00application_name\x00checkd\x00\x00";
const SSL_REQUEST: &[u8] = b"\x00\x00\x00\x08\x04\xd2\x16/";
const SCRAM: &[u8] = b"R\x00\x00\x00\x17\x00\x00\x00\nSCRAM-SHA-256\x00\x00";

fn fatal(code: &str, message: &str) -> Vec<u8> {
    let body =
        format!("SFATAL\0VFATAL\0C{code}\0M{message}\0Fbackend_startup.c\0L275\0RBackendInitialize\0\0");
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [b"E", &length[..], body.as_bytes()].concat()
}

#[test]
fn postgresql_that_asks_for_a_password_or_lets_us_in_accepts_connections() {
    let asks = "accepts connections, asks for a password";
    passes(&postgresql(None, false), &[(STARTUP, SCRAM)], asks, b"");
    let turns = [(SSL_REQUEST, &b"S"[..]), (STARTUP, SCRAM)];
    passes(&postgresql(None, true), &turns, "accepts connections, TLS, asks for a password", b"");
    let trusted =
        b"R\0\0\0\x08\0\0\0\0S\0\0\0\x19server_version\x0017.11\0K\0\0\0\x0c\0\0\0\x07\0\0\0\x09Z\0\0\0\x05I";
    let lets_in = "accepts connections, let us in";
    passes(&postgresql(None, false), &[(STARTUP, trusted)], lets_in, b"X\0\0\0\x04");
    fails(
        &postgresql(None, true),
        &[(SSL_REQUEST, b"N")],
        "SSLRequest: the server does not offer TLS (ssl = off)",
    );
}

#[test]
fn postgresql_that_refuses_everybody_is_down_and_one_that_refuses_nobody_in_particular_is_up() {
    let starting = fatal("57P03", "the database system is starting up");
    let told = "the startup message: the server said '57P03 the database system is starting up'";
    fails(&postgresql(None, false), &[(STARTUP, &starting)], told);
    let full = fatal("53300", "sorry, too many clients already");
    let told = "the startup message: the server said '53300 sorry, too many clients already'";
    fails(&postgresql(None, false), &[(STARTUP, &full)], told);
    let stranger = fatal("28000", "role \"trivet\" does not exist");
    let up = "accepts connections, refuses user trivet (28000 role \\\"trivet\\\" does not exist)";
    passes(&postgresql(None, false), &[(STARTUP, &stranger)], up, b"");
    // Before TLS anybody on the way can say so.
    let clear = "SSLRequest: the server said '28000 role \\\"trivet\\\" does not exist'";
    fails(&postgresql(None, true), &[(SSL_REQUEST, &stranger)], clear);
    let told = "the startup message: the server said '28000 role \\\"trivet\\\" does not exist'";
    fails(&postgresql(Some("trivet"), false), &[(STARTUP, &stranger)], told);
    assert_eq!(
        failure(&postgresql(None, false), &[(STARTUP, b"HTTP/1.1 400 Bad Request\r\n")]),
        "not PostgreSQL: starts with 'HTTP/1.1 400 Bad Request'"
    );
    // At once, whatever may follow.
    for length in [[0, 0, 0x40, 0], [0, 0, 0, 3]] {
        let mut probe = Probe::new(&postgresql(None, false), route());
        assert_eq!(probe.on_connected(), None);
        let outcome = probe.on_received(&[&b"E"[..], &length].concat());
        assert!(
            matches!(&outcome, Some(Outcome::Fail(why)) if why.starts_with("not Postgre")),
            "{outcome:?}"
        );
    }
}
