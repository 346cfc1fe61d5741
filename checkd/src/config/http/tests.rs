use std::sync::Arc;

use super::*;
use crate::config::{Kind as ProbeKind, load};
use crate::probe::http::{Digest, Expectations, Pattern, Text};

/// The report on the keys of a check of type http, and its settings if there was no error.
fn read(keys: &str) -> (String, Option<Settings>) {
    let root = daemon::testing::TempRoot::new();
    root.write("etc/trivet/check.d/web.toml", &format!("type = \"http\"\n{keys}\n"));
    let mut report = Report::new();
    let checks = load(root.path(), &mut report).checks;
    let settings = match checks.get("web").map(|check| check.kind.clone()) {
        Some(ProbeKind::Http(settings)) if !report.has_errors() => Some(settings),
        _ => None,
    };
    (report.to_string(), settings)
}

fn good(keys: &str) -> Settings {
    let (report, settings) = read(keys);
    assert_eq!(report, "");
    settings.unwrap()
}

fn errors(keys: &str) -> String {
    let (report, settings) = read(keys);
    assert_eq!(settings, None, "{keys}: {report}");
    report
}

fn paths(settings: &Settings) -> Vec<&str> {
    settings.requests().iter().map(|request| request.path.as_str()).collect()
}

#[test]
fn one_path_several_paths_or_a_table_each() {
    assert_eq!(paths(&good("path = \"/a\"")), ["/a"]);
    let settings = good("paths = [\"/a\", \"/b?x=1\"]\nhost = \"www\"\nstatus = 204");
    assert_eq!(paths(&settings), ["/a", "/b?x=1"]);
    for request in settings.requests() {
        assert_eq!((request.host.as_deref(), request.status.to_string().as_str()), (Some("www"), "204"));
    }
    assert_eq!((settings.label(0), settings.label(1)), ("/a", "/b?x=1"));
}

#[test]
fn a_request_has_what_the_check_says_unless_it_says_otherwise() {
    let settings = good(
        "host = \"www\"\nstatus = 200\ncontains = \"up\"\nbody_limit = \"64K\"\nheaders = { X = \"1\" }\n\
         [[request]]\npath = \"/a\"\n\
         [[request]]\npath = \"/b\"\nhost = \"api\"\nstatus = 204\nmethod = \"GET\"\ncontains = []\nbody_limit = 10\n\
         digest = \"md5:900150983cd24fb0d6963f7d28e17f72\"\n[request.headers]\nY = \"2\"\n",
    );
    let (a, b): (&Arc<Request>, &Arc<Request>) = (&settings.requests()[0], &settings.requests()[1]);
    let body = Expectations { contains: vec![Text::new("up")], limit: 65_536, ..Expectations::default() };
    assert_eq!((a.path.as_str(), a.host.as_deref(), &a.body), ("/a", Some("www"), &body));
    assert_eq!((a.headers.len(), a.headers[0].0.as_str()), (1, "X"));
    let digest = Digest::parse("md5:900150983cd24fb0d6963f7d28e17f72").ok();
    assert_eq!(b.body, Expectations { digest, limit: 10, ..Expectations::default() });
    assert_eq!((b.host.as_deref(), b.status.to_string().as_str()), (Some("api"), "204"));
    assert_eq!((b.headers.len(), b.headers[0].0.as_str()), (1, "Y"));
}

#[test]
fn requests_for_one_path_of_several_hosts_are_told_apart() {
    let settings = good(
        "[[request]]\npath = \"/\"\nhost = \"a.example\"\n[[request]]\npath = \"/\"\nhost = \"b.example\"\n\
         [[request]]\npath = \"/c\"\nhost = \"b.example\"\n",
    );
    let labels: Vec<&str> = (0..3).map(|number| settings.label(number)).collect();
    assert_eq!(labels, ["a.example/", "b.example/", "/c"]);
    let long = good(&format!("path = \"/{}\"", "x".repeat(500)));
    assert!(long.label(0).chars().count() <= 61, "{}", long.label(0));
}

#[test]
fn what_is_asked_is_said_once() {
    for keys in [
        "path = \"/\"\npaths = [\"/a\"]",
        "path = \"/\"\n[[request]]\npath = \"/a\"",
        "paths = [\"/\"]\n[[request]]\npath = \"/a\"",
    ] {
        assert!(errors(keys).contains("only one of 'path', 'paths' and [[request]]"), "{keys}");
    }
    assert!(errors("paths = []").contains("'paths' is empty"));
    assert!(
        errors("paths = [\"/a\", 3]").contains("2:16: error: 'paths' is made of strings, not an integer")
    );
    assert!(errors("paths = [\"/a\", \"b\"]").contains("what is in 'paths' is not a path"));
    assert!(errors("[[request]]\nstatus = 200").contains("'path' is missing"));
    assert!(errors("[[request]]\npath = \"/\"\nintervall = 3").contains("unknown key 'intervall'"));
    let many: String = (0..33).map(|number| format!("\"/{number}\",")).collect();
    assert!(errors(&format!("paths = [{many}]")).contains("33 requests: one check can make 32 at most"));
    assert!(errors(&format!("path = \"/{}\"", "x".repeat(2048))).contains("at most 2048"));
}

#[test]
fn what_the_body_must_be_is_read() {
    let settings = good(
        "contains = [\"a\", \"b\"]\nnot_contains = \"c\"\nmatches = \"^a+\"\nnot_matches = [\"d$\"]\nbody_limit = \"2M\"\n\
         digest = \"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n",
    );
    let pattern = |text| vec![Pattern::new(text).unwrap()];
    let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let expected = Expectations {
        contains: vec![Text::new("a"), Text::new("b")],
        not_contains: vec![Text::new("c")],
        matches: pattern("^a+"),
        not_matches: pattern("d$"),
        digest: Digest::parse(digest).ok(),
        limit: 2 << 20,
    };
    assert_eq!(settings.requests()[0].body, expected);
    assert!(good("path = \"/\"").requests()[0].body.is_empty());
    assert_eq!(Expectations::default().limit, 1 << 20);
}

#[test]
fn every_mistake_about_the_body_is_told_where_it_stands() {
    let report = errors(
        "contains = [\"\", 3]\nnot_contains = true\nmatches = \"(a\"\nnot_matches = [\"(?=a)\"]\ndigest = \"md5:12\"\n\
         body_limit = \"0\"\n",
    );
    for expected in [
        "web.toml:2:13: error: 'contains' is 0 bytes long",
        "web.toml:2:17: error: 'contains' must be a string or an array of strings, not an integer",
        "web.toml:3:16: error: 'not_contains' must be a string or an array of strings, not true or false",
        "web.toml:4:11: error: 'matches' is not a regular expression: unclosed group",
        "web.toml:5:16: error: 'not_matches' is not a regular expression: look-around",
        "web.toml:6:10: error: 'digest' is not a digest: md5 has 32",
        "web.toml:7:14: error: 'body_limit' must be from 1 to \"64M\"",
    ] {
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
    }
    assert!(errors("body_limit = \"1 megabyte\"").contains("'body_limit' is not a size"));
    assert!(errors("digest = \"900150983cd24fb0d6963f7d28e17f72\"").contains("write \"md5:900150983cd24"));
}

#[test]
fn the_answer_to_head_has_no_body_to_expect_anything_of() {
    let expected = "the answer to method = \"HEAD\" has no body to look at";
    assert!(errors("method = \"HEAD\"\ncontains = \"a\"").contains(&format!("3:12: error: {expected}")));
    assert!(errors("contains = \"a\"\n[[request]]\npath = \"/\"\nmethod = \"HEAD\"").contains(expected));
    let report = errors(
        "method = \"HEAD\"\n[[request]]\npath = \"/\"\ndigest = \"md5:900150983cd24fb0d6963f7d28e17f72\"",
    );
    assert!(report.contains(expected), "{report}");
    good("method = \"HEAD\"\nbody_limit = 10");
}

#[test]
fn the_words_of_keepalived_and_ldirectord_are_answered_with_ours() {
    for (theirs, ours) in [
        ("url = {}", "path = \"/\""),
        ("status_code = 200", "status ="),
        ("regex = \"a\"", "matches ="),
        ("regex_no_match = true", "not_matches ="),
        ("regex_options = \"caseless\"", "(?i)"),
        ("regex_max_offset = 3", "body_limit ="),
        ("http_protocol = \"1.1\"", "leave it out"),
        ("virtualhost = \"x\"", "host ="),
        ("enable_sni = true", "always sent"),
        ("fast_recovery = true", "asked at once"),
        ("request = \"index.html\"", "path = \"/index.html\""),
        ("receive = \"ok\"", "matches ="),
        ("httpmethod = \"HEAD\"", "method ="),
    ] {
        let report = errors(theirs);
        assert!(report.contains("2:1") && report.contains(ours), "{report}");
    }
    assert!(errors("[[request]]\npath = \"/\"\nregex = \"a\"").contains("matches ="));
    assert!(errors("method = \"POST\"").contains("one of \"GET\", \"HEAD\""));
}
