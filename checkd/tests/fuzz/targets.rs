//! One function for each parser: any bytes in, no panic, and what comes out is fit for an operator. Run by `cargo fuzz`
//! (checkd/fuzz) for long, and by the test beside this file for a moment in every run of the tests.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use checkd::check::Check;
use checkd::config;
use checkd::exec::frame;
use checkd::exec::last_line::LastLine;
use checkd::probe::dialog::{self, Script, ldap, mysql, postgresql, redis};
use checkd::probe::http::{self, Digest, Expectations, Method, Pattern, Request, Text};
use checkd::probe::tls::{self, Peer};
use checkd::probe::{Conversation, Exchange, Kind, Outcome, Reply, Route, dns, exec, ping, status, udp};
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

/// What servers say by turns, to every protocol that there is. Where TLS would begin in the middle it matters how much
/// has come by then: those are left out.
pub(crate) fn dialog(bytes: &[u8]) {
    thread_local!(static SCRIPTS: Vec<dialog::Settings> = scripts());
    let route = Route { target: target(), endpoint: target() };
    SCRIPTS.with(|scripts| {
        for settings in scripts {
            converse(bytes, || dialog::Probe::new(settings, route));
        }
    });
}

fn scripts() -> Vec<dialog::Settings> {
    let starttls = false;
    let scripts = [
        Script::Smtp { helo: "check".to_owned(), starttls },
        Script::Imap { starttls },
        Script::Pop3 { starttls },
        Script::Ftp { starttls },
        Script::Nntp { starttls },
        Script::Redis(redis::Settings { role: Some(redis::Role::Master), ..redis::Settings::default() }),
        Script::Mysql(mysql::Settings::default()),
        Script::Postgresql(postgresql::Settings::default()),
        Script::Ldap(ldap::Settings { base: Some("dc=x".to_owned()), ..ldap::Settings::default() }),
    ];
    scripts.into_iter().map(|script| dialog::Settings { script, tls: false }).collect()
}

/// A conversation with a peer over the network, whose bytes are no fault of this machine.
fn converse<C: Conversation>(bytes: &[u8], begin: impl Fn() -> C) {
    assert_ne!(ending(bytes, begin), "local", "a peer's bytes are no fault of this machine");
}

/// How a conversation ends in which the peer says this, and no more: in one portion, byte by byte, and in portions that
/// its first byte chooses. It is the same.
fn ending<C: Conversation>(bytes: &[u8], begin: impl Fn() -> C) -> &'static str {
    let Some((first, said)) = bytes.split_first() else { return "" };
    let sizes = [usize::MAX, 1, 1 + usize::from(*first)];
    let [whole, single, portions] = sizes.map(|size| end_of(begin(), said, size));
    assert_eq!(whole, single, "in one portion and byte by byte");
    assert_eq!(whole, portions, "in portions of {}", sizes[2]);
    whole
}

fn end_of(mut conversation: impl Conversation, said: &[u8], size: usize) -> &'static str {
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

fn judge(outcome: &Outcome) -> &'static str {
    let (reason, word) = match outcome {
        Outcome::Pass(reason) => (reason, "pass"),
        Outcome::PassWithWeight(reason, _) => (reason, "pass with a weight"),
        Outcome::Fail(reason) => (reason, "fail"),
        Outcome::Local(reason) => (reason, "local"),
    };
    readable(reason);
    word
}

/// Fit for a terminal and for the bus.
fn readable(reason: &str) {
    assert!(!reason.is_empty(), "no reason");
    assert!(reason.chars().count() <= LONGEST_REASON, "a long reason: {reason}");
    assert!(!reason.contains(char::is_control), "raw bytes in {reason:?}");
}

/// What checkd-exec answers.
pub(crate) fn exec_report(bytes: &[u8]) {
    let settings = exec::Settings {
        check: "x".to_owned(),
        command: vec!["/bin/true".to_owned(), "{address}".to_owned()],
        status_is_weight: bytes.first().is_some_and(|first| first & 1 == 1),
    };
    let socket = Arc::from(Path::new("/x"));
    let begin =
        || exec::Probe::new(&settings, target(), Duration::from_secs(1), &socket).expect("a short command");
    let _ = ending(bytes, begin);
}

/// What checkd-exec is asked to run: understood and said again, it is the same.
pub(crate) fn exec_request(bytes: &[u8]) {
    let Ok(request) = frame::Request::decode(bytes) else { return };
    assert!(!request.command.is_empty(), "nothing to run");
    let again = request.encode().expect("it was short enough");
    assert_eq!(frame::Request::decode(frame::body(&again)), Ok(request));
}

/// What a command prints: the same last line, in whatever portions.
pub(crate) fn last_line(bytes: &[u8]) {
    let Some((first, output)) = bytes.split_first() else { return };
    let [whole, single, portions] = [output.len(), 1, usize::from(*first)].map(|size| {
        let mut line = LastLine::default();
        output.chunks(size.max(1)).for_each(|portion| line.add(portion));
        line.get().to_vec()
    });
    assert!(whole.len() <= frame::LINE_LIMIT && !whole.contains(&b'\n'), "one line");
    assert!(whole == single && whole == portions, "{:?}", [&whole, &single, &portions]);
}

/// Datagrams, each with its length before it, to one probe: what it says of them, and whether it passes in the end.
fn exchange(bytes: &[u8], mut exchange: impl Exchange) -> bool {
    let mut rest = bytes;
    while let Some((length, more)) = rest.split_first() {
        let (datagram, more) = more.split_at(more.len().min(usize::from(*length)));
        rest = more;
        readable(&exchange.progress());
        assert!(exchange.request().len() <= 16_384, "a request of bounded length");
        match exchange.on_received(datagram) {
            Reply::Another => {}
            Reply::Decides(outcome) => return judge(&outcome) == "pass",
            // Where it goes on has a target of its own.
            Reply::Continues(_) => return false,
        }
    }
    readable(&exchange.progress());
    exchange.on_timeout().is_some_and(|outcome| judge(&outcome) == "pass")
}

/// Replies to UDP checks that expect as much as there is to expect.
pub(crate) fn udp(bytes: &[u8]) {
    let content = [
        udp::Content::Any,
        udp::Content::Text(Pattern::new("^o+k").expect("a pattern")),
        udp::Content::Bytes(udp::BytePattern::parse("6f 6x").expect("a pattern")),
    ];
    for content in content {
        let expected = Some(udp::Expected { content, length: 1..=100 });
        exchange(bytes, udp::Probe::new(Arc::new(udp::Settings { send: Vec::new(), expected })));
    }
}

/// Echo replies. Nobody can foresee a content.
pub(crate) fn ping(bytes: &[u8]) {
    let passed =
        exchange(bytes, ping::Probe::new(ping::Settings::default(), target(), 0x0123_4567_89ab_cdef));
    assert!(!passed || bytes.windows(8).any(|window| window == 0x0123_4567_89ab_cdef_u64.to_be_bytes()));
}

/// Answers to DNS questions: datagrams, and what comes over a stream.
pub(crate) fn dns(bytes: &[u8]) {
    thread_local!(static WANTED: [Arc<dns::Settings>; 3] = questions().map(Arc::new));
    WANTED.with(|wanted| {
        for settings in wanted {
            let _ = exchange(bytes, dns::Probe::new(Arc::clone(settings), DNS_ID));
            converse(bytes, || dns::Stream::new(Arc::clone(settings), DNS_ID));
        }
    });
}

/// Of the questions.
pub(crate) const DNS_ID: u16 = 0x1234;

/// For `www.example`, as little and as much as can be expected of the answer.
fn questions() -> [dns::Settings; 3] {
    use checkd::probe::dns::{Matching, Rtype, Settings, Wanted};
    let (address, text) = (Rtype::A, Rtype::TXT);
    let wanted = |record, text| vec![Wanted::parse(record, text).expect("a record")];
    let name = || "www.example".parse().expect("a name");
    [
        Settings { name: name(), record: address, least: 0, ..Settings::default() },
        Settings {
            name: name(),
            record: address,
            wanted: wanted(address, "192.0.2.1"),
            ..Settings::default()
        },
        Settings {
            name: name(),
            record: text,
            wanted: wanted(text, "ok"),
            matching: Matching::Any,
            authoritative: true,
            ..Settings::default()
        },
    ]
}

/// A server's certificate, in the reason of a check that passes.
pub(crate) fn certificate(bytes: &[u8]) {
    let peer = Peer { protocol: "TLS 1.3", certificate: Some(bytes), is_asked: false, now: Duration::ZERO };
    match tls::Probe::new(tls::Settings::default()).on_secured(&peer) {
        Some(Outcome::Pass(reason)) => readable(&reason),
        other => panic!("{other:?}"),
    }
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
            Kind::Tcp
            | Kind::Dns(_)
            | Kind::Tls(_)
            | Kind::Udp(_)
            | Kind::Ping(_)
            | Kind::Exec(_)
            | Kind::Dialog(_)
            | Kind::Unit(_) => {}
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
