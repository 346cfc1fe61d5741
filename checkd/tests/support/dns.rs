//! What a DNS server says (RFC 1035, section 4.1).

/// The question of `name = "www.example.test"`, `record = "A"` ends so: with an OPT record (RFC 6891).
pub const END_OF_QUESTION: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00";
/// www.example.test has the address 192.0.2.1.
pub const ADDRESS: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\xc0\x00\x02\x01";

/// The answer to a question: its id and question, these flags, so many answers, and this behind it.
pub fn answer(question: &[u8], flags: [u8; 2], answers: u8, records: &[u8]) -> Vec<u8> {
    // Up to the question's end; the OPT record behind it is not repeated.
    let end = question.len() - END_OF_QUESTION.len();
    [&question[..2], &flags, &[0, 1, 0, answers, 0, 0, 0, 0], &question[12..end], records].concat()
}

/// As it should be.
pub fn good(question: &[u8]) -> Vec<u8> {
    answer(question, [0x84, 0], 1, ADDRESS)
}

/// Flags that say: this is not all of it.
pub fn truncated(question: &[u8]) -> Vec<u8> {
    answer(question, [0x86, 0], 0, b"")
}

/// As it goes over TCP, behind its length.
pub fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes(), message].concat()
}
