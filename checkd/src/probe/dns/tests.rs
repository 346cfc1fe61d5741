use std::str::FromStr as _;

use domain::base::iana::{Class, Rcode};
use domain::base::{Message, MessageBuilder, Name, Serial, Ttl};
use domain::rdata::{A, Cname, Mx, Soa, Txt};

use super::*;
use crate::probe::{Conversation as _, Outcome};

const ID: u16 = 0x1234;

fn settings(name: &str, record: Rtype) -> Settings {
    Settings { name: name.parse().unwrap(), record, ..Settings::default() }
}

fn wanting(name: &str, record: Rtype, wanted: &[&str]) -> Settings {
    let wanted = wanted.iter().map(|text| Wanted::parse(record, text).unwrap()).collect();
    Settings { wanted, ..settings(name, record) }
}

fn probe(settings: Settings) -> Probe {
    Probe::new(Arc::new(settings), ID)
}

type Answer = domain::base::message_builder::AnswerBuilder<Vec<u8>>;

fn name(text: &str) -> OwnedName {
    Name::from_str(text).unwrap()
}

/// An honest answer to this question, with these records.
fn answer(settings: &Settings, rcode: Rcode, records: impl FnOnce(&mut Answer)) -> Vec<u8> {
    let question = Question { settings: Arc::new(settings.clone()), id: ID }.message();
    let question = Message::from_octets(question).unwrap();
    let mut answer = MessageBuilder::new_vec().start_answer(&question, rcode).unwrap();
    records(&mut answer);
    answer.finish()
}

fn addresses(answer: &mut Answer, owner: &str, addresses: &[&str]) {
    for address in addresses {
        let data = A::new(address.parse().unwrap());
        answer.push((name(owner), Class::IN, Ttl::from_secs(60), data)).unwrap();
    }
}

fn judged(settings: Settings, message: &[u8]) -> Outcome {
    match probe(settings).on_received(message) {
        Reply::Decides(outcome) => outcome,
        other @ (Reply::Another | Reply::Continues(_)) => panic!("{other:?}"),
    }
}

fn pass(reason: &str) -> Outcome {
    Outcome::Pass(reason.to_owned())
}

fn fail(reason: &str) -> Outcome {
    Outcome::Fail(reason.to_owned())
}

#[test]
fn the_question_is_one_of_rfc_1035_with_an_opt_record() {
    let mut probe = probe(settings("www.example.com", Rtype::AAAA));
    let expected =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01\x03www\x07example\x03com\x00\x00\x1c\x00\x01\
        \x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
    assert_eq!(probe.request(), expected);
    assert_eq!(probe.request(), expected, "again the same");
    let plain = Settings { edns_size: 0, recursion: false, ..Settings::default() };
    let expected = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x06\x00\x01";
    assert_eq!(self::probe(plain).request(), expected);
}

#[test]
fn an_answer_with_a_record_passes_and_one_without_does_not() {
    let asked = settings("www.example.com", Rtype::A);
    let two = answer(&asked, Rcode::NOERROR, |answer| {
        addresses(answer, "www.example.com", &["192.0.2.1", "192.0.2.2"]);
    });
    assert_eq!(judged(asked.clone(), &two), pass("NOERROR, 2 A records"));
    let three = Settings { least: 3, ..asked.clone() };
    assert_eq!(judged(three, &two), fail("NOERROR, but only 2 of at least 3 A records"));
    let none = answer(&asked, Rcode::NOERROR, |_| {});
    assert_eq!(judged(asked.clone(), &none), fail("NOERROR, but no A record in the answer"));
    let content = Settings { least: 0, ..asked.clone() };
    assert_eq!(judged(content, &none), pass("NOERROR"));
    let alias = answer(&asked, Rcode::NOERROR, |answer| {
        let alias = Cname::new(name("web.example.com"));
        answer.push((name("www.example.com"), Class::IN, Ttl::from_secs(60), alias)).unwrap();
        addresses(answer, "web.example.com", &["192.0.2.1"]);
    });
    assert_eq!(judged(asked, &alias), pass("NOERROR, 1 A record"));
}

#[test]
fn the_expected_records_are_in_the_answer_all_or_any_of_them() {
    let message = |wanted: &[&str], matching, there: &[&str]| {
        let asked = Settings { matching, ..wanting("www.example.com", Rtype::A, wanted) };
        let message = answer(&asked, Rcode::NOERROR, |answer| addresses(answer, "www.example.com", there));
        judged(asked, &message)
    };
    let (all, any) = (Matching::All, Matching::Any);
    assert_eq!(message(&["192.0.2.1"], all, &["192.0.2.2", "192.0.2.1"]), pass("NOERROR, 2 A records"));
    assert_eq!(
        message(&["192.0.2.1", "192.0.2.9"], all, &["192.0.2.2", "192.0.2.1"]),
        fail("NOERROR, but not 192.0.2.9 in the answer: 192.0.2.2, 192.0.2.1")
    );
    assert_eq!(message(&["192.0.2.1", "192.0.2.9"], any, &["192.0.2.1"]), pass("NOERROR, 1 A record"));
    assert_eq!(
        message(&["192.0.2.1", "192.0.2.9"], any, &["192.0.2.3"; 5]),
        fail("NOERROR, but none of the expected records in the answer: 192.0.2.3, 192.0.2.3, 192.0.2.3, …")
    );
}

#[test]
fn records_are_compared_by_what_they_mean() {
    let mail = wanting("example.com", Rtype::MX, &["10 MAIL.example.COM"]);
    let message = answer(&mail, Rcode::NOERROR, |answer| {
        let data = Mx::new(10, name("mail.Example.com"));
        answer.push((name("example.com"), Class::IN, Ttl::from_secs(60), data)).unwrap();
    });
    assert_eq!(judged(mail, &message), pass("NOERROR, 1 MX record"));
    let other = wanting("example.com", Rtype::MX, &["20 mail.example.com."]);
    assert!(
        matches!(judged(other, &message), Outcome::Fail(reason) if reason.contains("not 20 mail.example.com"))
    );
    let text = wanting("example.com", Rtype::TXT, &["v=spf1 -all"]);
    let message = answer(&text, Rcode::NOERROR, |answer| {
        let data: Txt<Vec<u8>> = Txt::build_from_slice(b"v=spf1 -all").unwrap();
        answer.push((name("example.com"), Class::IN, Ttl::from_secs(60), data)).unwrap();
    });
    assert_eq!(judged(text, &message), pass("NOERROR, 1 TXT record"));
    let other = wanting("example.com", Rtype::TXT, &["v=spf1 +all"]);
    let Outcome::Fail(reason) = judged(other, &message) else { panic!("another text passes") };
    assert!(reason.starts_with("NOERROR, but not 'v=spf1 +all' in the answer: "), "{reason}");
}

#[test]
fn every_rcode_but_the_expected_is_down_in_words() {
    let asked = settings("www.example.com", Rtype::A);
    for (rcode, expected) in [
        (Rcode::SERVFAIL, "SERVFAIL (it failed to find an answer), expected NOERROR"),
        (Rcode::NXDOMAIN, "NXDOMAIN (there is no such name), expected NOERROR"),
        (Rcode::REFUSED, "REFUSED (it refuses to answer this), expected NOERROR"),
        (Rcode::NOTIMP, "NOTIMP (it does not do this), expected NOERROR"),
    ] {
        assert_eq!(judged(asked.clone(), &answer(&asked, rcode, |_| {})), fail(expected));
    }
    // A header alone, as servers answer that read no further.
    let bare = b"\x12\x34\x80\x01\x00\x00\x00\x00\x00\x00\x00\x00";
    let reason = "FORMERR (it does not understand the question), expected NOERROR";
    assert_eq!(judged(asked.clone(), bare), fail(reason));
    let refused = Settings { rcodes: vec![OptRcode::NXDOMAIN, OptRcode::REFUSED], least: 0, ..asked.clone() };
    assert_eq!(judged(refused.clone(), &answer(&asked, Rcode::REFUSED, |_| {})), pass("REFUSED"));
    let reason = "NOERROR, expected NXDOMAIN, REFUSED";
    assert_eq!(judged(refused, &answer(&asked, Rcode::NOERROR, |_| {})), fail(reason));
}

#[test]
fn an_authority_may_be_insisted_on() {
    let asked = Settings { authoritative: true, least: 0, ..Settings::default() };
    let mut message = answer(&asked, Rcode::NOERROR, |_| {});
    assert_eq!(judged(asked.clone(), &message), fail("the answer is not authoritative"));
    message[2] |= 0x04;
    assert_eq!(judged(asked, &message), pass("NOERROR"));
}

#[test]
fn what_is_no_answer_to_the_question_is_passed_over_and_counted() {
    let asked = Settings { least: 0, ..settings("www.example.com", Rtype::A) };
    let good = answer(&asked, Rcode::NOERROR, |_| {});
    let other_name = answer(&settings("evil.example.com", Rtype::A), Rcode::NOERROR, |_| {});
    let other_type = answer(&settings("www.example.com", Rtype::AAAA), Rcode::NOERROR, |_| {});
    let mut probe = probe(asked);
    let mut other_id = good.clone();
    other_id[0] ^= 1;
    let question = probe.request().to_vec();
    let mut nameless = good.clone();
    nameless[5] = 0;
    for (message, progress) in [
        (other_id, "an answer to another question received (another id)"),
        (other_name, "2 answers to another question received (the last: another name or type)"),
        (other_type, "3 answers to another question received (the last: another name or type)"),
        (question, "4 answers to another question received (the last: a question, no answer)"),
        (b"\x12\x34\x80".to_vec(), "5 answers to another question received (the last: no DNS message)"),
        (nameless, "6 answers to another question received (the last: another name or type)"),
    ] {
        assert!(matches!(probe.on_received(&message), Reply::Another), "{progress}");
        assert_eq!(probe.progress(), progress);
    }
    assert!(
        matches!(probe.on_received(&good), Reply::Decides(Outcome::Pass(_))),
        "the right one still counts"
    );
    assert_eq!(probe.on_timeout(), None);
}

#[test]
fn loops_lying_counts_and_cut_records_are_down_as_broken() {
    let asked = settings("www.example.com", Rtype::A);
    // The owner is a pointer to the question's name, as servers write it.
    let record = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01";
    let mut good = answer(&asked, Rcode::NOERROR, |_| {});
    good[7] = 1;
    good.extend_from_slice(record);
    assert_eq!(judged(asked.clone(), &good), pass("NOERROR, 1 A record"));
    let owner = 12 + 17 + 4;
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = good.clone();
        change(&mut message);
        judged(asked.clone(), &message)
    };
    for (what, outcome) in [
        ("a pointer to itself", with(&|message| message[owner + 1] = u8::try_from(owner).unwrap())),
        ("a pointer beyond the end", with(&|message| message[owner] = 0xff)),
        ("more records than there are", with(&|message| message[7] = 200)),
        ("more in the authority section", with(&|message| message[9] = 1)),
        ("more in the additional section", with(&|message| message[11] = 7)),
        ("a record that is longer than the message", with(&|message| message[owner + 11] = 200)),
        (
            "an address of three bytes",
            with(&|message| {
                message[owner + 11] = 3;
                message.remove(owner + 12);
            }),
        ),
        ("cut off", with(&|message| message.truncate(owner + 8))),
    ] {
        let Outcome::Fail(reason) = &outcome else { panic!("{what}: {outcome:?}") };
        assert!(reason.starts_with("broken answer: ") && reason.len() < 100, "{what}: {reason}");
    }
    // A loop in the question itself: it cannot be ours.
    let looped = [&good[..12], b"\xc0\x0c\x00\x01\x00\x01"].concat();
    assert!(matches!(judged(asked, &looped), Outcome::Fail(reason) if reason.starts_with("broken answer")));
}

#[test]
fn a_truncated_answer_is_asked_for_again_over_tcp_where_its_records_matter() {
    let asked = settings("www.example.com", Rtype::A);
    let mut message = answer(&asked, Rcode::NOERROR, |_| {});
    message[2] |= 0x02;
    let Reply::Continues(mut stream) = probe(asked.clone()).on_received(&message) else {
        panic!("no stream")
    };
    let mut expected = vec![0, 44];
    expected.extend_from_slice(probe(asked.clone()).request());
    assert_eq!(stream.unsent(), expected);
    stream.on_sent(expected.len());
    let whole = answer(&asked, Rcode::NOERROR, |answer| addresses(answer, "www.example.com", &["192.0.2.1"]));
    let framed = [&u16::try_from(whole.len()).unwrap().to_be_bytes(), whole.as_slice()].concat();
    assert_eq!(stream.on_received(&framed), Some(pass("NOERROR, 1 A record")));
    let careless = Settings { least: 0, ..asked.clone() };
    assert_eq!(judged(careless, &message), pass("NOERROR"));
    let mut refused = message;
    refused[3] |= 5;
    assert!(matches!(judged(asked, &refused), Outcome::Fail(reason) if reason.starts_with("REFUSED")));
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}

fn sent(settings: &Settings) -> Stream {
    let mut stream = Stream::new(Arc::new(settings.clone()), ID);
    stream.on_sent(stream.unsent().len());
    stream
}

#[test]
fn an_answer_over_tcp_is_whole_whatever_its_portions() {
    let asked = settings("example.com", Rtype::SOA);
    let message = answer(&asked, Rcode::NOERROR, |answer| {
        let times = [3600, 600, 86_400, 60].map(Ttl::from_secs);
        let [refresh, retry, expire, minimum] = times;
        let (server, mailbox) = (name("ns.example.com"), name("root.example.com"));
        let data = Soa::new(server, mailbox, Serial(7), refresh, retry, expire, minimum);
        answer.push((name("example.com"), Class::IN, Ttl::from_secs(60), data)).unwrap();
    });
    let bytes = framed(&message);
    for size in 1..=bytes.len() + 5 {
        let mut stream = sent(&asked);
        let surplus = [bytes.as_slice(), b"more!"].concat();
        let outcome = surplus.chunks(size).find_map(|portion| stream.on_received(portion));
        assert_eq!(outcome, Some(pass("NOERROR, 1 SOA record")), "in portions of {size}");
        assert!(stream.answer.len() <= bytes.len(), "no more is kept than was announced");
    }
}

#[test]
fn what_goes_wrong_over_tcp_is_told_with_how_far_it_came() {
    let asked = Settings { least: 0, ..Settings::default() };
    let good = answer(&asked, Rcode::NOERROR, |_| {});
    let mut stream = Stream::new(Arc::new(asked.clone()), ID);
    assert_eq!(stream.progress(), "the question is not sent yet");
    stream.on_sent(stream.unsent().len());
    let closed = |stream: &mut Stream| match stream.on_closed() {
        Outcome::Fail(reason) => reason,
        other @ (Outcome::Pass(_) | Outcome::PassWithWeight(..) | Outcome::Local(_)) => panic!("{other:?}"),
    };
    let beginning = "the server closed the connection: question sent, ";
    assert_eq!(closed(&mut stream), format!("{beginning}nothing received"));
    assert_eq!(stream.on_received(&[0]), None);
    assert_eq!(closed(&mut stream), format!("{beginning}half of the answer's length received"));
    assert_eq!(stream.on_received(&[100, 1, 2, 3]), None);
    assert_eq!(closed(&mut stream), format!("{beginning}3 of 100 bytes of the answer received"));
    let mut other = good.clone();
    other[0] ^= 1;
    let reason = "an answer to another question: another id";
    assert_eq!(sent(&asked).on_received(&framed(&other)), Some(fail(reason)));
    assert_eq!(
        sent(&asked).on_received(&[0, 0]),
        Some(fail("an answer to another question: no DNS message"))
    );
    let mut truncated = good;
    truncated[2] |= 0x02;
    let records = Settings::default();
    let reason = "the answer is truncated, and that over TCP";
    assert_eq!(sent(&records).on_received(&framed(&truncated)), Some(fail(reason)));
}

#[test]
fn an_expected_record_that_is_none_is_answered() {
    for (record, text, expected) in [
        (Rtype::A, "web1", "no A record as a zone file has it"),
        (Rtype::A, "192.0.2.1 192.0.2.2", "more than one A record"),
        (Rtype::AAAA, "192.0.2.1", "no AAAA record"),
        (Rtype::MX, "mail.example.com", "no MX record"),
        (Rtype::A, "", "no A record"),
    ] {
        let error = Wanted::parse(record, text).unwrap_err();
        assert!(error.starts_with(expected), "{text:?}: {error}");
    }
    for (record, text) in [
        (Rtype::CAA, "0 issue \"ca.example.net\""),
        (Rtype::SRV, "0 5 5060 sip.example.com"),
        (Rtype::NS, "ns1.example.com"),
        (Rtype::PTR, "host.example.com."),
        (Rtype::SOA, "ns.example.com. root.example.com. 1 2 3 4 5"),
    ] {
        assert!(Wanted::parse(record, text).is_ok(), "{text}: {:?}", Wanted::parse(record, text));
    }
}
