//! One function for each parser: any bytes in, no panic, and what comes out is fit for an operator. Run by `cargo fuzz`
//! (checkd/fuzz) for long, and by the test beside this file for a moment in every run of the tests.

use std::net::SocketAddr;
use std::sync::Arc;

use checkd::check::Check;
use checkd::config;
use checkd::probe::http::{self, Digest, Expectations, Method, Pattern, Request, Text};
use checkd::probe::{Conversation, Kind, Outcome, status};
use checkd::registry::Record;
use checkd::results::{self, Timeline};
use daemon::diagnostic::Report;
use daemon::event_loop::Clock;
use daemon::testing::TempRoot;

/// How long a reason may be, in characters.
const LONGEST_REASON: usize = 400;

fn target() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 80))
}

/// An HTTP response, for requests that look at as much of it as there is to look at.
pub(crate) fn http(bytes: &[u8]) {
    thread_local!(static WANTED: Vec<Arc<Request>> = requests().into_iter().map(Arc::new).collect());
    WANTED.with(|wanted| {
        for request in wanted {
            converse(bytes, || http::Probe::new(request, target()));
        }
    });
}

fn requests() -> [Request; 4] {
    let plain = Request::default();
    let body = |body| Request { body, ..Request::default() };
    let whole = Expectations {
        not_contains: vec![Text::new("no")],
        matches: vec![Pattern::new("(?i)^o+k").expect("a pattern")],
        limit: 64,
        ..Expectations::default()
    };
    let digest = Digest::parse("md5:900150983cd24fb0d6963f7d28e17f72").ok();
    let texts = Expectations {
        contains: vec![Text::new("ok"), Text::new("Wiki")],
        digest,
        ..Expectations::default()
    };
    [Request { method: Method::Head, ..plain.clone() }, plain, body(whole), body(texts)]
}

/// What a peer says, in one portion, byte by byte, and in portions that its first byte chooses: the outcome is the
/// same.
fn converse<C: Conversation>(bytes: &[u8], begin: impl Fn() -> C) {
    let Some((first, said)) = bytes.split_first() else { return };
    let sizes = [usize::MAX, 1, 1 + usize::from(*first)];
    let [whole, single, portions] = sizes.map(|size| passes(begin(), said, size));
    assert_eq!(whole, single, "in one portion and byte by byte");
    assert_eq!(whole, portions, "in portions of {}", sizes[2]);
}

/// Whether a conversation in which the peer says this, and no more, ends well.
fn passes(mut conversation: impl Conversation, said: &[u8], size: usize) -> bool {
    if let Some(outcome) = conversation.on_connected() {
        return judge(&outcome);
    }
    for portion in said.chunks(size.min(said.len()).max(1)) {
        send(&mut conversation);
        if let Some(outcome) = conversation.on_received(portion) {
            return judge(&outcome);
        }
    }
    send(&mut conversation);
    judge(&conversation.on_closed())
}

fn send(conversation: &mut impl Conversation) {
    readable(&conversation.progress());
    // In portions, as a slow network has it.
    while !conversation.unsent().is_empty() {
        conversation.on_sent(conversation.unsent().len().div_ceil(2));
        readable(&conversation.progress());
    }
}

fn judge(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Pass(reason) | Outcome::PassWithWeight(reason, _) => readable(reason),
        Outcome::Fail(reason) => {
            readable(reason);
            return false;
        }
        Outcome::Local(reason) => panic!("a peer's bytes are no fault of this machine: {reason}"),
    }
    true
}

/// Fit for a terminal and for the bus.
fn readable(reason: &str) {
    assert!(!reason.is_empty(), "no reason");
    assert!(reason.chars().count() <= LONGEST_REASON, "a long reason: {reason}");
    assert!(!reason.contains(char::is_control), "raw bytes in {reason:?}");
}

/// A set of status codes.
pub(crate) fn status(bytes: &[u8]) {
    if let Ok(range) = status::StatusSet::parse_range(&String::from_utf8_lossy(bytes)) {
        assert!((100..=599).contains(range.start()) && range.start() <= range.end() && *range.end() <= 599);
    }
}

/// The file that an earlier run left. What is read can be written, and is read again as the same.
pub(crate) fn results(bytes: &[u8]) {
    thread_local!(static CLOCK: Clock = Clock::new().expect("there is a clock"));
    let timeline = CLOCK.with(|clock| Timeline::new(*clock, clock.now()));
    let Ok(records) = results::parse(bytes, &timeline) else { return };
    let mut text = String::new();
    let names = records.iter().map(|record| record.key.0.to_string());
    let check = || Arc::new(Check::with_defaults(Kind::Tcp));
    let numbers = results::write_head(&mut text, &names.map(|name| (name, check())).collect());
    for record in &records {
        results::write_row(&mut text, numbers[&*record.key.0], &record.key, &record.memory, &timeline);
    }
    results::write_end(&mut text, records.len());
    let again = results::parse(text.as_bytes(), &timeline).expect("what was written can be read");
    let reasons =
        |records: &[Record]| records.iter().map(|record| record.memory.reason.clone()).collect::<Vec<_>>();
    assert_eq!(reasons(&records), reasons(&again));
}

/// A drop-in of a check.
pub(crate) fn drop_in(bytes: &[u8]) {
    thread_local!(static ROOT: TempRoot = TempRoot::new());
    ROOT.with(|root| {
        root.write("etc/trivet/check.d/x.toml", &String::from_utf8_lossy(bytes));
        let mut report = Report::new();
        let configuration = config::load(root.path(), &mut report);
        assert!(report.has_errors() || !report.to_string().contains("error:"));
        let Some(check) = configuration.checks.get("x").filter(|_| !report.has_errors()) else { return };
        assert!(!check.interval.is_zero() && !check.timeout.is_zero() && !check.retry_interval.is_zero());
        assert!(check.kind.parts() > 0, "a probe asks something");
        match &check.kind {
            Kind::Tcp | Kind::Tls(_) | Kind::Exec(_) => {}
            Kind::Http(settings) => settings.requests().iter().for_each(request),
        }
    });
}

/// Nothing of the configuration breaks out of its line.
fn request(request: &Arc<Request>) {
    let probe = http::Probe::new(request, target());
    let lines = probe.unsent().iter().filter(|byte| **byte == b'\n').count();
    assert!(lines < 8 + request.headers.len(), "one line each");
}
