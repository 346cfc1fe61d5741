//! Dialogs that an administrator wrote.

use std::time::Duration;

use super::*;
use crate::probe::dialog::steps::{Expect, Step, Text};
use crate::probe::pattern::Pattern;

fn pattern(text: &str) -> Pattern {
    Pattern::of_lines(text).unwrap()
}

fn step(expect: &str, send: &str) -> Step {
    Step {
        expect: (!expect.is_empty()).then(|| Expect::Text(pattern(expect))),
        send: Text::Words(send.to_owned()),
        ..Step::default()
    }
}

fn dialog(steps: Vec<Step>) -> Settings {
    let farewell = Text::Words("QUIT\r\n".into());
    plain(Script::Steps(steps::Settings { steps: steps.into(), farewell }))
}

#[test]
fn steps_are_taken_in_their_order_and_the_farewell_does_not_decide() {
    let settings = dialog(vec![
        step("", "HELLO {address} {port} {target} {\"a\":{}}\r\n"),
        step("^220 .*$", "EHLO x\r\n"),
        step("^250 .*$", ""),
    ]);
    let hello = b"HELLO 10.0.0.5 25 10.0.0.5:25 {\"a\":{}}\r\n";
    let turns = [(&hello[..], &b"220-a\r\n220 b\r\n"[..]), (b"EHLO x\r\n", b"250-a\r\n250 b\r\n")];
    let (whole, farewell) = play(&settings, &turns, usize::MAX);
    assert_eq!(whole, Outcome::Pass("3 steps passed".into()));
    assert_eq!(farewell, b"QUIT\r\n");
}

#[test]
fn what_was_matched_and_what_came_before_it_is_gone_and_a_line_begins_where_it_began() {
    let settings = dialog(vec![step("^220 ", ""), step("^250 ", ""), step("x", "")]);
    // In the middle of a line, "250 " is not at its beginning, wherever the last match ended.
    let text = b"220 250 no\r\n250 yes\r\nx";
    for size in 1..text.len() {
        assert_eq!(play(&settings, &[(b"", text)], size).0, Outcome::Pass("3 steps passed".into()), "{size}");
    }
    assert_eq!(
        failure(&settings, &[(b"", b"220 250 no\r\n")]),
        "the server closed the connection: step 2 waits for \"^250 \": 8 bytes received, '250 no'"
    );
}

#[test]
fn what_is_rejected_ends_it_at_once_in_the_server_s_words() {
    let mut second = step("^250 ", "");
    second.reject = Some(pattern("^[45]"));
    let settings = dialog(vec![step("^220 .*\r\n", "EHLO x\r\n"), second]);
    let turns = |answer| [(&b""[..], &b"220 a\r\n"[..]), (b"EHLO x\r\n", answer)];
    assert_eq!(
        failure(&settings, &turns(b"250-a\r\n550 5.7.1 \x1b[31mno\r\n250 x\r\n")),
        "step 2 rejects \"^[45]\": the server said '550 5.7.1 \\x1b[31mno'"
    );
    assert_eq!(
        play(&settings, &turns(b"250 a\r\n550 late\r\n"), usize::MAX).0,
        Outcome::Pass("2 steps passed".into())
    );
    // What fits both is rejected.
    let mut only = step("^[0-9]+", "");
    only.reject = Some(pattern("^5"));
    let told = "step 1 rejects \"^5\": the server said '550 no'";
    assert_eq!(failure(&dialog(vec![only]), &[(b"", b"550 no\r\n")]), told);
}

#[test]
fn each_step_may_take_its_own_many_pieces() {
    let settings = dialog(vec![step("^220 .*\r\n", ""), step("^250 .*\r\n", "")]);
    let line = |code: &str| format!("{code} {}\r\n", "x".repeat(400));
    let text = [line("220"), line("250")].concat();
    assert_eq!(play(&settings, &[(b"", text.as_bytes())], 1).0, Outcome::Pass("2 steps passed".into()));
}

#[test]
fn bytes_may_be_expected_and_sent() {
    let bytes =
        Step { expect: Some(Expect::Bytes(vec![0, 0xff])), send: Text::Bytes(vec![1, 0]), ..Step::default() };
    let settings = dialog(vec![bytes, step("ok", "")]);
    passes(&settings, &[(b"", b"ab\0\0\xff"), (b"\x01\0", b"ok")], "2 steps passed", b"QUIT\r\n");
    assert_eq!(
        failure(&settings, &[(b"", b"\0")]),
        "the server closed the connection: step 1 waits for the bytes 00ff: 1 bytes received, '\\x00'"
    );
}

#[test]
fn a_time_limit_says_which_step_waited_for_what_and_what_had_come() {
    let settings = dialog(vec![step("^220 .*\r\n", "EHLO x\r\n"), step("^250 ", "")]);
    let mut probe = Probe::new(&settings, route());
    let limit = Duration::from_secs(5);
    let told = |probe: &Probe| match probe.on_timeout(limit) {
        Outcome::Fail(reason) => reason,
        other @ (Outcome::Pass(_) | Outcome::PassWithWeight(..) | Outcome::Local(_)) => panic!("{other:?}"),
    };
    assert_eq!(probe.on_connected(), None);
    assert_eq!(
        told(&probe),
        "no answer within 5s: connected, step 1 waits for \"^220 .*\\r\\n\": nothing received"
    );
    assert_eq!(probe.on_received(b"220 a\r\n"), None);
    assert!(
        told(&probe).ends_with("step 2 waits for \"^250 \" after EHLO: 0 of 8 bytes sent"),
        "{}",
        told(&probe)
    );
    probe.on_sent(8);
    assert!(
        told(&probe).ends_with("step 2 waits for \"^250 \" after EHLO: nothing received"),
        "{}",
        told(&probe)
    );
    assert_eq!(probe.on_received(b"250-x\r\n"), None);
    assert!(told(&probe).ends_with("after EHLO: 7 bytes received, '250-x'"), "{}", told(&probe));
    assert_eq!(probe.on_received(b"250 x\r\n"), None, "the farewell is under way");
    assert_eq!(probe.decided(), Some(Outcome::Pass("2 steps passed".into())));
    assert_eq!(probe.on_closed(), Outcome::Pass("2 steps passed".into()));
}

#[test]
fn no_reason_tells_what_was_said_after_a_command() {
    for (said, secret) in [
        ("AUTH PLAIN hunter2\r\n", "hunter2"),
        ("hunter2\r\n", "hunter2"),
        ("hunter2", "hunter2"),
        ("user hunter2\r\n", "hunter2"),
        ("HUNTER", "HUNTER"),
    ] {
        let settings = dialog(vec![step("", said), step("^250 ", "")]);
        let mut probe = Probe::new(&settings, route());
        assert_eq!(probe.on_connected(), None);
        probe.on_sent(probe.unsent().len());
        assert!(!probe.progress().contains(secret), "{}", probe.progress());
    }
}

#[test]
fn tls_begins_at_its_step_and_nothing_that_came_before_it_counts() {
    let mut go = step("^220 .*\r\n", "EHLO x\r\n");
    go.starttls = true;
    let settings = dialog(vec![step("", "STARTTLS\r\n"), go, step("^250 ", "")]);
    let mut probe = Probe::new(&settings, route());
    assert_eq!(probe.on_connected(), None);
    assert!(!probe.wants_tls());
    probe.on_sent(probe.unsent().len());
    assert_eq!(probe.on_received(b"220 go\r\n"), None);
    assert!(probe.wants_tls());
    assert_eq!(probe.unsent(), b"EHLO x\r\n");
    let injected = b"220 go\r\n250 injected\r\n";
    assert_eq!(
        failure(&settings, &[(b"STARTTLS\r\n", injected)]),
        "the server said more before TLS began, in the clear: '250 injected'"
    );
    let mut probe = Probe::new(&settings, route());
    assert_eq!(probe.on_connected(), None);
    let early = Outcome::Fail("the server agreed to TLS before it was asked".into());
    assert_eq!(probe.on_received(b"220 go\r\n"), Some(early));
}
