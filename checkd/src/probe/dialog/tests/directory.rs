//! LDAP: what OpenLDAP 2.6 of Debian 13 says, as captured, and what RFC 4511 allows beside it.

use super::*;
use crate::probe::secret::Secret;

const BIND: &[u8] = b"0\x0c\x02\x01\x02`\x07\x02\x01\x03\x04\x00\x80\x00";
const BOUND: &[u8] = b"0\x0c\x02\x01\x02a\x07\n\x01\x00\x04\x00\x04\x00";
const UNBIND: &[u8] = b"0\x05\x02\x01\x04B\x00";
const SEARCH: &[u8] =
    b"0;\x02\x01\x03c6\x04\x11dc=example,dc=com\n\x01\x00\n\x01\x00\x02\x01\x01\x02\x01\x05\x01\x01\x00\
    \x87\x0bobjectClass0\x05\x04\x031.1";

fn ldap(base: Option<&str>, starttls: bool) -> Settings {
    plain(Script::Ldap(ldap::Settings { bind: None, base: base.map(str::to_owned), starttls }))
}

#[test]
fn ldap_is_a_bind_and_starttls_where_it_is_wanted() {
    passes(&ldap(None, false), &[(BIND, BOUND)], "bind", UNBIND);
    let request = b"0\x1d\x02\x01\x01w\x18\x80\x161.3.6.1.4.1.1466.20037";
    let ready = b"0\x0c\x02\x01\x01x\x07\n\x01\x00\x04\x00\x04\x00";
    passes(&ldap(None, true), &[(request, ready), (BIND, BOUND)], "StartTLS, bind", UNBIND);
    let refusal = b"0\x19\x02\x01\x01x\x14\n\x01\x02\x04\x00\x04\x0dunsupported!!";
    fails(
        &ldap(None, true),
        &[(request, refusal)],
        "StartTLS: the server said '2 protocolError: unsupported!!'",
    );
}

#[test]
fn ldap_that_refuses_strangers_is_up_and_one_that_is_busy_is_not() {
    let refusal = |code: u8, text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        [&[0x30, length + 12, 2, 1, 2, 0x61, length + 7, 10, 1, code, 4, 0, 4, length], text.as_bytes()]
            .concat()
    };
    let strict = refusal(48, "anonymous bind disallowed");
    let up = "refuses an anonymous bind ('48 inappropriateAuthentication: anonymous bind disallowed')";
    passes(&ldap(None, false), &[(BIND, &strict)], up, UNBIND);
    let told = "bind: the server said '48 inappropriateAuthentication: anonymous bind disallowed'";
    fails(&ldap(Some("dc=example,dc=com"), false), &[(BIND, &strict)], told);
    fails(&ldap(None, false), &[(BIND, &refusal(51, ""))], "bind: the server said '51 busy'");
    let notice = b"0\x20\x02\x01\x00x\x1b\n\x014\x04\x00\x04\x00\x8a\x121.3.6.1.4.1.1466.9";
    let notice =
        [&[notice[0], 0x1f], &notice[2..6], &[0x1a], &notice[7..15], &[0x11], &notice[16..]].concat();
    assert!(failure(&ldap(None, false), &[(BIND, &notice)]).contains("52 unavailable"));
    assert_eq!(failure(&ldap(None, false), &[(BIND, b"220 no\r\n")]), "not LDAP: starts with '220 no'");
}

#[test]
fn ldap_looks_at_an_entry_as_whoever_it_is_told_to_be() {
    let entry = b"0\x18\x02\x01\x03d\x13\x04\x11dc=example,dc=com";
    let entry = [&entry[..6], &[0x15], &entry[7..], b"0\x00"].concat();
    let entry = [&[entry[0], 0x1a], &entry[2..]].concat();
    let done = b"0\x0c\x02\x01\x03e\x07\n\x01\x00\x04\x00\x04\x00";
    let found = [&entry[..], done].concat();
    let base = Some("dc=example,dc=com");
    passes(&ldap(base, false), &[(BIND, BOUND), (SEARCH, &found)], "bind, entry found", UNBIND);
    let referred = [b"0\x10\x02\x01\x03s\x0b\x04\x09ldap://x/", &found[..]].concat();
    passes(&ldap(base, false), &[(BIND, BOUND), (SEARCH, &referred)], "bind, entry found", UNBIND);
    fails(&ldap(base, false), &[(BIND, BOUND), (SEARCH, done)], "search: the server shows no such entry");
    let missing = b"0\x0c\x02\x01\x03e\x07\n\x01\x20\x04\x00\x04\x00";
    fails(
        &ldap(base, false),
        &[(BIND, BOUND), (SEARCH, missing)],
        "search: the server said '32 noSuchObject'",
    );
    let bind = ("cn=admin,dc=example,dc=com".to_owned(), Secret::new(b"secreT".to_vec()));
    let admin = plain(Script::Ldap(ldap::Settings { bind: Some(bind), base: None, starttls: false }));
    let request = b"0,\x02\x01\x02`'\x02\x01\x03\x04\x1acn=admin,dc=example,dc=com\x80\x06secreT";
    let wrong = b"0\x0c\x02\x01\x02a\x07\n\x011\x04\x00\x04\x00";
    fails(&admin, &[(request, wrong)], "bind: the server said '49 invalidCredentials'");
    // Nothing that a name of its own is no answer to.
    let strict = b"0\x0c\x02\x01\x02a\x07\n\x010\x04\x00\x04\x00";
    fails(&admin, &[(request, strict)], "bind: the server said '48 inappropriateAuthentication'");
}
