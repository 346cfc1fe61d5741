use super::*;

fn request() -> Request {
    Request {
        command: vec!["/usr/bin/check x".into(), "-H".into(), String::new(), "é'\"$(x)".into()],
        environment: vec![("TRIVET_CHECK".into(), "web".into()), ("TRIVET_PORT".into(), String::new())],
        limit: Duration::from_millis(2_500),
    }
}

fn reports() -> Vec<Report> {
    let ended = |how, last_line: &[u8], survivors| {
        Report::Ended(End { how, last_line: last_line.to_vec(), survivors })
    };
    vec![
        Report::Started,
        ended(How::Exited(0), b"OK", 0),
        ended(How::Exited(255), b"", 3),
        ended(How::Signalled(11), b"\xff\x00", 0),
        ended(How::TimedOut, b"waiting", u16::MAX),
        Report::NotStarted("/x does not exist".into()),
        Report::Busy(256),
        Report::Refused("no".into()),
    ]
}

#[test]
fn what_one_side_writes_the_other_reads() {
    let frame = request().encode().unwrap();
    assert_eq!(frame_length(&frame, REQUEST_LIMIT), Ok(Some(frame.len())));
    assert_eq!(Request::decode(body(&frame)), Ok(request()));
    for report in reports() {
        let frame = report.encode();
        assert_eq!(frame_length(&frame, REPORT_LIMIT), Ok(Some(frame.len())));
        assert_eq!(Report::decode(body(&frame)), Ok(report));
    }
}

#[test]
fn a_frame_that_is_cut_anywhere_or_goes_on_is_refused_and_never_misread() {
    let whole = request().encode().unwrap();
    for end in 0..whole.len() - 4 {
        assert!(Request::decode(&whole[4..4 + end]).is_err(), "{end} bytes");
    }
    assert!(Request::decode(&[&whole[4..], b"x"].concat()).is_err());
    for report in reports() {
        let frame = report.encode();
        let fixed = match report {
            Report::Started | Report::NotStarted(_) | Report::Refused(_) => 1,
            Report::Busy(_) | Report::Ended(_) => 5,
        };
        for end in 0..fixed {
            assert!(Report::decode(&frame[4..4 + end]).is_err(), "{report:?}, {end} bytes");
        }
    }
}

#[test]
fn a_length_is_believed_only_up_to_the_limit() {
    assert_eq!(frame_length(&[0, 0, 0], 100), Ok(None));
    assert_eq!(frame_length(&[0, 0, 0, 100], 100), Ok(Some(104)));
    assert!(frame_length(&[0, 0, 0, 101], 100).is_err());
    assert!(frame_length(&[255; 4], REQUEST_LIMIT).is_err());
}

#[test]
fn no_text_of_a_request_can_end_early_at_a_nul_and_no_command_may_be_missing() {
    let with = |command: Vec<String>| Request { command, ..request() }.encode().unwrap();
    assert!(Request::decode(body(&with(vec!["/bin/a\0b".into()]))).is_err());
    assert!(Request::decode(body(&with(Vec::new()))).is_err());
}

#[test]
fn another_form_of_request_is_told_as_such() {
    let mut frame = request().encode().unwrap();
    frame[4] = VERSION + 1;
    let Err(Broken(reason)) = Request::decode(body(&frame)) else { panic!("it was read") };
    assert!(reason.contains("not of checkd's version"), "{reason}");
}

#[test]
fn a_request_that_would_be_too_long_is_not_made_and_a_report_is_cut() {
    let long = Request { command: vec!["/bin/x".into(), "y".repeat(REQUEST_LIMIT)], ..request() };
    assert_eq!(long.encode(), None);
    let report = Report::NotStarted("z".repeat(REPORT_LIMIT)).encode();
    assert!(report.len() <= HEADER + REPORT_LIMIT, "{}", report.len());
}
