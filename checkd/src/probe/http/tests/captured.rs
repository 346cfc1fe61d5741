//! What nginx 1.22.1 and Apache 2.4.71 really sent, byte for byte: `captured/SERVER-WHAT`. The page is "the page is
//! well", the ones made by the server end in "page is well" or "is well", each with a line end.

use super::bodies::{closed, containing, matching, reason, verdict};
use super::*;

const APACHE_PLAIN: &[u8] = include_bytes!("captured/apache-plain");
const APACHE_CHUNKED: &[u8] = include_bytes!("captured/apache-chunked");
const APACHE_GZIP: &[u8] = include_bytes!("captured/apache-gzip");
const APACHE_206: &[u8] = include_bytes!("captured/apache-206");
const APACHE_301: &[u8] = include_bytes!("captured/apache-301");
const APACHE_304: &[u8] = include_bytes!("captured/apache-304");
const NGINX_PLAIN: &[u8] = include_bytes!("captured/nginx-plain");
const NGINX_CHUNKED: &[u8] = include_bytes!("captured/nginx-chunked");
const NGINX_PROXIED: &[u8] = include_bytes!("captured/nginx-proxied");
const NGINX_1_0: &[u8] = include_bytes!("captured/nginx-1-0");
const NGINX_GZIP: &[u8] = include_bytes!("captured/nginx-gzip");
const NGINX_206: &[u8] = include_bytes!("captured/nginx-206");
const NGINX_304: &[u8] = include_bytes!("captured/nginx-304");
const NGINX_HEAD: &[u8] = include_bytes!("captured/nginx-head");

fn passes(code: u16) -> Outcome {
    Outcome::Pass(format!("status {code}, body as expected"))
}

#[test]
fn whole_pages_are_whole() {
    for bytes in [APACHE_PLAIN, APACHE_CHUNKED, NGINX_PLAIN, NGINX_CHUNKED, NGINX_PROXIED] {
        let text = bytes.escape_ascii();
        assert_eq!(verdict(&containing("is well"), bytes), Ok(passes(200)), "{text}");
        assert_eq!(verdict(&matching(r"^[^\r]* is well\n$"), bytes), Ok(passes(200)), "{text}");
        assert_eq!(sent(&Request::default()).on_received(bytes), pass(200), "{text}");
        // Any beginning of it is not the whole.
        let cut = closed(&matching(r"is well\n$"), &bytes[..bytes.len() - 1]);
        assert!(reason(cut).starts_with("the server closed the connection too early"), "{text}");
    }
    assert_eq!(closed(&matching(r"^/ssi/a\.html is well\n$"), NGINX_1_0), passes(200));
}

#[test]
fn their_digests_are_those_that_md5sum_and_sha256sum_tell() {
    for digest in [
        "md5:61b6ce0a9ddb822b4ae42883cef6a5d2",
        "sha256:640340ab186ca682102fc6c0c9abc0212b9565dbd2caa408c15be2aa644df7db",
    ] {
        let digest = Digest::parse(digest).ok();
        let request =
            Request { body: Expectations { digest, ..Expectations::default() }, ..Request::default() };
        for bytes in [APACHE_PLAIN, NGINX_PLAIN] {
            assert_eq!(verdict(&request, bytes), Ok(passes(200)));
        }
    }
}

#[test]
fn a_compressed_page_is_not_looked_at() {
    for bytes in [APACHE_GZIP, NGINX_GZIP] {
        let told = reason(verdict(&containing("is well"), bytes).unwrap());
        assert_eq!(told, "the body is compressed (gzip), which the request does not accept");
        assert_eq!(sent(&Request::default()).on_received(bytes), pass(200));
    }
}

#[test]
fn other_codes_are_what_they_are() {
    let status = StatusSet::new(vec![200..=399]).unwrap();
    for bytes in [APACHE_206, NGINX_206] {
        assert_eq!(verdict(&matching("^page$"), bytes), Ok(passes(206)));
    }
    for bytes in [APACHE_304, NGINX_304] {
        assert_eq!(verdict(&Request { status: status.clone(), ..matching("^$") }, bytes), Ok(passes(304)));
    }
    assert_eq!(failure(answer(APACHE_301)), "status 301 to 'http://localhost/dir/', expected 200-299");
    let head = Request { method: Method::Head, ..Request::default() };
    assert_eq!(sent(&head).on_received(NGINX_HEAD), pass(200));
}
