use super::*;

fn text(text: &str) -> Text {
    Text::new(text)
}

/// Whether each of `contains` was found, in portions of this size.
fn found(contains: &[&str], bytes: &[u8], size: usize) -> Vec<bool> {
    let expected = Expectations {
        contains: contains.iter().map(|needle| text(needle)).collect(),
        // Never there: the scan goes on to the end.
        not_contains: vec![text("\0")],
        ..Expectations::default()
    };
    let mut scan = Scan::new(&expected);
    for portion in bytes.chunks(size) {
        assert_eq!(scan.on_bytes(&expected, portion), None);
    }
    scan.found
}

#[test]
fn a_text_is_found_wherever_the_portions_part_it() {
    let body = b"aab aabaaac abcabcabd";
    for needle in ["a", "aab ", "aabaaac", "abcabd", "aab aabaaac abcabcabd", "d", "c abcabca"] {
        for size in 1..=body.len() {
            assert_eq!(found(&[needle], body, size), [true], "{needle:?} in portions of {size}");
        }
    }
    for needle in ["abcabe", "aaaa", "aab aabaaac abcabcabda", "baac"] {
        for size in 1..=body.len() {
            assert_eq!(found(&[needle], body, size), [false], "{needle:?} in portions of {size}");
        }
    }
}

#[test]
fn texts_of_different_lengths_are_found_side_by_side() {
    let body = b"0123456789";
    for size in 1..=body.len() {
        assert_eq!(found(&["9", "0123456", "456789", "98"], body, size), [true, true, true, false], "{size}");
    }
}

#[test]
fn texts_are_the_same_if_their_words_are() {
    assert_eq!(text("a"), text("a"));
    assert_ne!(text("a"), text("b"));
}
