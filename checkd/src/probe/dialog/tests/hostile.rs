//! What no server should say: without end, at random, and almost right.

use super::*;
use crate::probe::dialog::steps::{Expect, Step};
use crate::probe::pattern::Pattern;

fn scripts() -> Vec<Script> {
    let steps = vec![
        Step { expect: Some(Expect::Text(Pattern::of_lines("^220 ").unwrap())), ..Step::default() },
        Step { expect: Some(Expect::Bytes(b"250".to_vec())), starttls: true, ..Step::default() },
        Step { expect: Some(Expect::Text(Pattern::of_lines("x+y").unwrap())), ..Step::default() },
    ];
    let mut scripts = vec![
        Script::Steps(steps::Settings { steps: steps.into(), ..Default::default() }),
        Script::Redis(redis::Settings { role: Some(redis::Role::Master), ..Default::default() }),
    ];
    for starttls in [false, true] {
        scripts.extend([
            Script::Smtp { helo: "check".into(), starttls },
            Script::Imap { starttls },
            Script::Pop3 { starttls },
            Script::Ftp { starttls },
            Script::Nntp { starttls },
            Script::Mysql(mysql::Settings { user: None, starttls }),
            Script::Postgresql(postgresql::Settings { user: None, database: None, starttls }),
            Script::Ldap(ldap::Settings { bind: None, base: Some("dc=x".into()), starttls }),
        ]);
    }
    scripts
}

#[test]
fn tls_is_used_where_it_begins_with_the_connection_or_in_the_middle() {
    let used: Vec<bool> = scripts().into_iter().map(|script| plain(script).uses_tls()).collect();
    assert_eq!(used, [&[true, false][..], &[false; 8], &[true; 8]].concat());
    assert!(scripts().into_iter().all(|script| Settings { script, tls: true }.uses_tls()));
}

#[test]
fn how_much_was_sent_is_told_of_the_last_words() {
    let mut probe = Probe::new(&plain(Script::Smtp { helo: "check".into(), starttls: true }), route());
    assert_eq!(probe.on_connected(), None);
    assert_eq!(probe.on_received(b"220 mx\r\n"), None);
    assert_eq!(probe.progress(), "waiting for the answer to EHLO: 0 of 12 bytes sent");
    probe.on_sent(12);
    assert_eq!(probe.on_received(b"250-mx\r\n250 STARTTLS\r\n"), None);
    probe.on_sent(4);
    assert_eq!(probe.progress(), "waiting for the answer to STARTTLS: 4 of 10 bytes sent");
}

#[test]
fn an_answer_without_end_is_held_up_to_a_limit_and_told() {
    for script in scripts() {
        let settings = plain(script);
        for (beginning, portion) in [
            (&b"220-"[..], &b"x"[..]),
            (b"* OK ", b"y"),
            (b"+OK", b"z"),
            (b"-ERR ", b"x"),
            (b"\xff\x3f\x00\x00\x0a", b"x"),
            (b"E\x00\x00\x3f\xffSFATAL", b"x"),
            (b"0\x82\x3f\xff", b"x"),
        ] {
            let mut probe = Probe::new(&settings, route());
            let mut outcome = probe.on_connected().or_else(|| probe.on_received(beginning));
            let mut held = 0;
            for _ in 0..40 {
                if outcome.is_some() {
                    break;
                }
                probe.on_sent(probe.unsent().len());
                outcome = probe.on_received(&portion.repeat(1000));
                held = held.max(probe.heard.len());
            }
            assert!(held <= TURN_LIMIT + CONTEXT, "{held} bytes held: {settings:?}");
            let Some(Outcome::Fail(reason)) = outcome else { panic!("{outcome:?} of {settings:?}") };
            assert!(reason.len() < 300, "{reason}");
        }
    }
}

#[test]
fn a_server_that_drips_is_not_looked_at_for_ever() {
    let steps = vec![Step { expect: Some(Expect::Text(Pattern::of_lines("y").unwrap())), ..Step::default() }];
    let settings = plain(Script::Steps(steps::Settings { steps: steps.into(), ..Default::default() }));
    let mut probe = Probe::new(&settings, route());
    let mut outcome = probe.on_connected();
    let count = (0..TURN_LIMIT).take_while(|_| {
        outcome = probe.on_received(b"x");
        outcome.is_none()
    });
    assert!(count.count() < 600);
    assert_eq!(
        outcome,
        Some(Outcome::Fail("an answer in more than 512 pieces: step 1 waits for \"y\"".to_owned()))
    );
}

/// xorshift64.
fn random(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).unwrap()
}

/// What servers say, as the other tests have it.
const SEEDS: &[&[u8]] = &[
    b"220 mx1 ESMTP\r\n250-mx1\r\n250 STARTTLS\r\n220 go\r\n250 x\r\n",
    b"* OK ready\r\na1 OK\r\n* CAPABILITY\r\na2 OK done\r\n",
    b"+OK ready\r\n+OK go\r\n-ERR what\r\n",
    b"220-a\r\n220 b\r\n234 go\r\n530 no\r\n",
    b"200 ready\r\n382 go\r\n111 1999\r\n",
    b"+PONG\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n",
    b"h\x00\x00\x00\n11.8.6-MariaDB-0+deb13u1 from Debian\x00\x04\x00\x00\x00tX>iyB~s\x00\xfe\xff-\x02\x00\xff\x81\x15\
      \x00\x00\x00\x00\x00\x00=\x00\x00\x00HL%r3A1p_n,,\x00mysql_native_password\x00\
      \x17\x00\x00\x02\xfecaching_sha2_password\x00\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00",
    b"SR\0\0\0\x08\0\0\0\0S\0\0\0\x19server_version\x0017.11\0E\0\0\0\x14SFATAL\0C57P03\0\0\0Z\0\0\0\x05I",
    b"0\x0c\x02\x01\x01x\x07\n\x01\x00\x04\x00\x04\x000\x0c\x02\x01\x02a\x07\n\x01\x00\x04\x00\x04\x00\
      0\x0c\x02\x01\x03e\x07\n\x01\x00\x04\x00\x04\x00",
];

#[test]
fn whatever_a_server_says_is_judged_within_bounds_and_in_words() {
    let mut state = 0x5eed;
    let settings: Vec<_> = scripts().into_iter().map(plain).collect();
    for round in 0..30_000 {
        let settings = &settings[round % settings.len()];
        let mut bytes = SEEDS[random(&mut state) % SEEDS.len()].to_vec();
        for _ in 0..random(&mut state) % 6 {
            let at = random(&mut state) % bytes.len();
            match random(&mut state) % 4 {
                0 => bytes[at] = u8::try_from(random(&mut state) % 256).unwrap(),
                1 => bytes.truncate(at + 1),
                2 => bytes.insert(at, [0, 0xff, b'\n', b'-', 0x84][random(&mut state) % 5]),
                _ => bytes.extend_from_within(at..),
            }
        }
        let mut probe = Probe::new(settings, route());
        let mut outcome = probe.on_connected();
        let mut rest = &bytes[..];
        while outcome.is_none() && !rest.is_empty() {
            probe.on_sent(probe.unsent().len());
            assert!(!probe.progress().is_empty());
            let (portion, next) = rest.split_at(1 + random(&mut state) % rest.len());
            outcome = probe.on_received(portion);
            rest = next;
        }
        let (Outcome::Pass(reason) | Outcome::Fail(reason)) = outcome.unwrap_or_else(|| probe.on_closed())
        else {
            panic!("{settings:?} blames this machine");
        };
        assert!(reason.len() < 400 && reason.chars().all(|c| !c.is_control()), "{reason:?}");
    }
}

#[test]
fn what_had_no_room_with_the_agreement_on_tls_was_said_in_the_clear_too() {
    let mut probe = Probe::new(&plain(Script::Smtp { helo: "check".into(), starttls: true }), route());
    assert_eq!(probe.on_connected(), None);
    for said in [&b"220 mx\r\n"[..], b"250-mx\r\n250 STARTTLS\r\n"] {
        assert_eq!(probe.on_received(said), None);
        probe.on_sent(probe.unsent().len());
    }
    // The agreement is as long as one turn may be, and comes in two portions, the second with more behind it.
    let agreement = [&b"220-xxxxx\r\n"[..], &b"220-x\r\n".repeat(2338), b"220 x\r\n"].concat();
    assert_eq!(agreement.len(), TURN_LIMIT);
    assert_eq!(probe.on_received(&agreement[..1000]), None);
    let second = [&agreement[1000..], &b"250 injected\r\n".repeat(70)].concat();
    let Some(Outcome::Fail(reason)) = probe.on_received(&second) else { panic!("taken for words under TLS") };
    assert!(reason.starts_with("the server said more before TLS began, in the clear: '"), "{reason}");
}
