use super::*;
use crate::check::Check;
use crate::probe::Kind;

fn timeline() -> Timeline {
    let clock = Clock::new().unwrap();
    Timeline::new(clock, clock.now())
}

fn checks() -> Checks {
    let tcp = || Arc::new(Check::with_defaults(Kind::Tcp));
    Checks::from([("tcp".to_owned(), tcp()), ("a name\nwith a break".to_owned(), tcp())])
}

/// Memories of every kind, as a file and as they were.
fn file(timeline: &Timeline) -> (String, Vec<Record>) {
    let mut text = String::new();
    let numbers = write_head(&mut text, &checks());
    // To the microsecond, as the file has it.
    let then = timeline.instant(u64::try_from(timeline.stamp(timeline.now)).unwrap() - 1_234_567).unwrap();
    let plain = Memory {
        is_up: true,
        since: WallClock(1_700_000_000_000_000),
        reason: "status 200".into(),
        judged: then,
        weight: None,
        provisional: false,
        held: None,
    };
    let held = Moment { now: then, wall: WallClock(5) };
    let memories = [
        ("tcp", "10.0.0.5:80", plain.clone()),
        ("tcp", "[2001:db8::1]:80", Memory { weight: Some(0), ..plain.clone() }),
        ("tcp", "10.0.0.5", Memory { provisional: true, weight: Some(65_535), ..plain.clone() }),
        ("a name\nwith a break", "", Memory { is_up: false, held: Some(None), ..plain.clone() }),
        ("tcp", "10.0.0.7:80", Memory { is_up: false, held: Some(Some(held)), ..plain.clone() }),
        ("tcp", "10.0.0.8:80", Memory { reason: "two\nlines \\n and a \\".into(), ..plain.clone() }),
        ("tcp", "10.0.0.9:80", Memory { reason: String::new(), ..plain }),
    ];
    let mut records = Vec::new();
    for (check, address, memory) in memories {
        let key: Key = (Arc::from(check), parse_address(address).unwrap());
        write_row(&mut text, numbers[check], &key, &memory, timeline);
        records.push(Record { key, fingerprint: checks()[check].fingerprint(), memory });
    }
    write_end(&mut text, records.len());
    (text, records)
}

#[test]
fn what_is_written_is_read_back() {
    let timeline = timeline();
    let (text, records) = file(&timeline);
    assert_eq!(parse(text.as_bytes(), &timeline).unwrap(), records, "{text}");
}

#[test]
fn a_file_that_is_cut_anywhere_is_refused() {
    let timeline = timeline();
    let (text, _) = file(&timeline);
    for length in 0..text.len() {
        assert!(parse(&text.as_bytes()[..length], &timeline).is_err(), "{:?}", &text[..length]);
    }
}

#[test]
fn a_file_that_is_not_ours_is_refused_with_the_place_and_the_reason() {
    let timeline = timeline();
    let good = "0 up 10.0.0.5:80 1 1 - - up\n";
    let row = |row: &str| format!("{HEADER}\ncheck 0 tcp\n{row}end 1\n");
    assert!(parse(row(good).as_bytes(), &timeline).is_ok());
    for (text, expected) in [
        (String::new(), "does not begin with"),
        ("trivet-checkd results 2\nend 0\n".into(), "does not begin with"),
        (format!("{HEADER}\n"), "has no end"),
        (format!("{HEADER}\nend 1\n"), "line 2: not 1 rows, but 0"),
        (format!("{HEADER}\nend 0\nend 0\n"), "line 2: more after the end"),
        (format!("{HEADER}\ncheck xyz tcp\nend 0\n"), "line 2: no fingerprint"),
        (row("1 up 10.0.0.5:80 1 1 - - up\n"), "line 3: no such check"),
        (row("99999999999999999999 up 10.0.0.5:80 1 1 - - up\n"), "line 3: no such check"),
        (row("0 sideways 10.0.0.5:80 1 1 - - up\n"), "line 3: no such state"),
        (row("0 up 10.0.0.5:0 1 1 - - up\n"), "line 3: no address"),
        (row("0 up 10.0.0.5:80 -1 1 - - up\n"), "no time since when"),
        (row("0 up 10.0.0.5:80 1 18446744073709551616 - - up\n"), "no time"),
        (row("0 up 10.0.0.5:80 1 1 65536 - up\n"), "no weight"),
        (row("0 up 10.0.0.5:80 1 1 - 5 up\n"), "no hold"),
        (row("0 up 10.0.0.5:80 1 1 - -\n"), "no reason"),
        (row("0 up 10.0.0.5:80 1 1 - - a\\b\n"), "a backslash"),
        (row("0 up 10.0.0.5:80 1 1 - - a\u{1b}[2Jb\n"), "a control character"),
        (row(&format!("0 up 10.0.0.5:80 1 1 - - {}\n", "x".repeat(REASON + 1))), "more than 16384 bytes"),
        (row("nonsense\n"), "has one word"),
    ] {
        let error = parse(text.as_bytes(), &timeline).unwrap_err();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    assert!(parse(b"trivet-checkd results 1\n\xff\n", &timeline).unwrap_err().contains("no text"));
    // No clock shows this, and none panics.
    let _ = parse(row(&format!("0 up 10.0.0.5:80 1 {} - - up\n", u64::MAX)).as_bytes(), &timeline);
}

#[test]
fn what_a_probe_said_cannot_break_the_file() {
    let timeline = timeline();
    let (_, records) = file(&timeline);
    let reason = format!("\r\u{1b}[2J\0{}", "ü".repeat(REASON));
    let memory = Memory { reason, ..records[0].memory.clone() };
    let mut text = String::new();
    write_head(&mut text, &checks());
    write_row(&mut text, 1, &records[0].key, &memory, &timeline);
    write_end(&mut text, 1);
    let read = parse(text.as_bytes(), &timeline).unwrap();
    assert!(read[0].memory.reason.starts_with("\u{fffd}\u{fffd}[2J\u{fffd}üü"), "{text}");
}
