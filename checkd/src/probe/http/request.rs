//! The text of a request (RFC 9112 section 3).

use std::net::SocketAddr;

use super::settings::Request;

/// `target` names the host where the settings do not; what they say is sent as it is, with the scheme's own port if they
/// have it, as curl does with a header that it is given. `port` is the scheme's own. One allocation, since this runs
/// for every probe.
pub(super) fn text(request: &Request, target: SocketAddr, port: u16) -> String {
    let host = request.host.clone().unwrap_or_else(|| host_of(target, port));
    let mut text = String::with_capacity(256);
    for part in [request.method.as_str(), " ", &request.path, " HTTP/1.1\r\nHost: ", &host] {
        text.push_str(part);
    }
    text.push_str("\r\nConnection: close\r\n");
    let mut unless_given = |name: &str, line: &str| {
        if !request.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
            text.push_str(line);
        }
    };
    unless_given("user-agent", "User-Agent: trivet-checkd\r\n");
    unless_given("accept", "Accept: */*\r\n");
    // Without this, any coding may come (RFC 9110 section 12.5.3), and a compressed body cannot be looked at.
    if !request.body.is_empty() {
        unless_given("accept-encoding", "Accept-Encoding: identity\r\n");
    }
    for (name, value) in &request.headers {
        for part in [name, ": ", value, "\r\n"] {
            text.push_str(part);
        }
    }
    text.push_str("\r\n");
    text
}

/// The authority of the target's URI (RFC 9110 section 7.2) in its normal form, without the port if that is the scheme's
/// own (section 4.2.3), as curl and browsers send it. A zone id (RFC 6874) stays at home.
pub(super) fn host_of(target: SocketAddr, scheme_port: u16) -> String {
    match (target, target.port()) {
        (SocketAddr::V4(v4), port) if port == scheme_port => v4.ip().to_string(),
        (SocketAddr::V4(v4), port) => format!("{}:{port}", v4.ip()),
        (SocketAddr::V6(v6), port) if port == scheme_port => format!("[{}]", v6.ip()),
        (SocketAddr::V6(v6), port) => format!("[{}]:{port}", v6.ip()),
    }
}
