//! `type = "ping"`: the server is up if it answers an ICMP echo request (RFC 792, RFC 4443 section 4) with the same
//! sequence number and the same content. keepalived's PING_CHECK.
//!
//! Over ping sockets: identifier and checksums are the kernel's, which also gives us our own replies only.

use std::net::SocketAddr;

use super::misfits::Misfits;
use super::{Exchange, Outcome, Reply};

/// Type, code, checksum, identifier and sequence number.
const HEADER: usize = 8;
/// What makes one probe's content different from another's.
const TOKEN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of content, [`Settings::SIZES`].
    pub size: u16,
}

impl Settings {
    /// At least a token; at most what one read takes.
    pub const SIZES: std::ops::RangeInclusive<i64> = 8..=16_000;
}

impl Default for Settings {
    /// As much as ping(8) sends.
    fn default() -> Self {
        Self { size: 56 }
    }
}

#[derive(Debug)]
pub struct Probe {
    /// The last that was sent, or is to be. Its sequence numbers begin with 1.
    request: Vec<u8>,
    reply_type: u8,
    sequence: u16,
    misfits: Misfits<&'static str>,
}

impl Probe {
    /// `token` is another one for every probe.
    pub fn new(settings: Settings, endpoint: SocketAddr, token: u64) -> Self {
        let (request_type, reply_type) = if endpoint.is_ipv4() { (8, 0) } else { (128, 129) };
        let mut request = vec![request_type, 0, 0, 0, 0, 0, 0, 0];
        request.extend_from_slice(&token.to_be_bytes());
        let padding = usize::from(settings.size).saturating_sub(TOKEN);
        // ping(8) fills with rising bytes, too: a shifted or cut copy shows.
        request.extend((0..=u8::MAX).cycle().take(padding));
        Self { request, reply_type, sequence: 0, misfits: Misfits::default() }
    }

    /// What is wrong with it.
    fn fault_of(&self, reply: &[u8]) -> Option<&'static str> {
        let Some((&[kind, code, _, _, _, _, high, low], content)) = reply.split_first_chunk::<HEADER>()
        else {
            return Some("too short");
        };
        if (kind, code) != (self.reply_type, 0) {
            return Some("no echo reply");
        }
        if !(1..=self.sequence).contains(&u16::from_be_bytes([high, low])) {
            return Some("to a request that was not sent");
        }
        (content != &self.request[HEADER..]).then_some("with another content than was sent")
    }
}

impl Exchange for Probe {
    fn request(&mut self) -> &[u8] {
        self.sequence += 1;
        self.request[6..HEADER].copy_from_slice(&self.sequence.to_be_bytes());
        &self.request
    }

    fn on_received(&mut self, datagram: &[u8]) -> Reply {
        match self.fault_of(datagram) {
            None => Reply::Decides(Outcome::Pass("echo reply".to_owned())),
            Some(fault) => self.misfits.add(fault),
        }
    }

    fn progress(&self) -> String {
        self.misfits.progress(
            |fault| format!("a reply {fault} received"),
            |count, fault| format!("{count} wrong replies received, the last {fault}"),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(endpoint: &str) -> Probe {
        Probe::new(Settings::default(), endpoint.parse().unwrap(), 0x0102_0304_0506_0708)
    }

    /// What an honest peer makes of a request.
    fn echo(request: &[u8]) -> Vec<u8> {
        let mut reply = request.to_vec();
        reply[0] = if request[0] == 8 { 0 } else { 129 };
        reply
    }

    fn passes(reply: &Reply) -> bool {
        matches!(reply, Reply::Decides(Outcome::Pass(reason)) if reason == "echo reply")
    }

    #[test]
    fn requests_are_echo_requests_with_rising_sequence_numbers_and_one_content() {
        let mut probe = probe("10.0.0.1:0");
        let first = probe.request().to_vec();
        assert_eq!(first[..16], [8, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((first.len(), first[16], first[63]), (8 + 56, 0, 47));
        let second = probe.request().to_vec();
        assert_eq!((second[6..8].to_vec(), &second[8..]), (vec![0, 2], &first[8..]));
        assert_eq!(self::probe("[2001:db8::1]:0").request()[0], 128);
        let large = Settings { size: 1000 };
        assert_eq!(Probe::new(large, "10.0.0.1:0".parse().unwrap(), 1).request().len(), 1008);
    }

    #[test]
    fn the_reply_to_any_of_the_requests_passes() {
        for endpoint in ["10.0.0.1:0", "[2001:db8::1]:0"] {
            let mut probe = probe(endpoint);
            let first = echo(probe.request());
            let second = echo(probe.request());
            assert!(passes(&probe.on_received(&second)) && passes(&probe.on_received(&first)), "{endpoint}");
        }
    }

    #[test]
    fn a_reply_that_does_not_fit_is_passed_over_and_told_at_the_timeout() {
        let mut probe = probe("10.0.0.1:0");
        let good = echo(probe.request());
        assert_eq!(probe.progress(), "nothing received");
        let mut damaged = good.clone();
        damaged[40] ^= 1;
        let mut unsent = good.clone();
        unsent[7] = 2;
        let mut other = good.clone();
        other[0] = 3;
        let longer = [good.as_slice(), b"x"].concat();
        for (reply, progress) in [
            (damaged, "a reply with another content than was sent received"),
            (good[..63].to_vec(), "2 wrong replies received, the last with another content than was sent"),
            (longer, "3 wrong replies received, the last with another content than was sent"),
            (unsent, "4 wrong replies received, the last to a request that was not sent"),
            (other, "5 wrong replies received, the last no echo reply"),
            (good[..7].to_vec(), "6 wrong replies received, the last too short"),
            (Vec::new(), "7 wrong replies received, the last too short"),
        ] {
            assert!(matches!(probe.on_received(&reply), Reply::Another), "{progress}");
            assert_eq!(probe.progress(), progress);
        }
        assert!(probe.on_timeout().is_none());
        assert!(passes(&probe.on_received(&good)), "the right one still counts");
    }
}
