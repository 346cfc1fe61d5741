//! When the servers' machine refused connections: the moments from which a checker can know that a server is dead.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use nix::time::{ClockId, clock_gettime};
use trivet_tests::stamps::Stamps;

use crate::clock::monotonic;
use crate::lan::Lan;
use crate::plan::server;

const TCP: u8 = 6;
const RST: u8 = 4;

/// Listens from when it is made on.
#[derive(Debug)]
pub(crate) struct Refusals(Stamps);

impl Refusals {
    pub(crate) fn watch(lan: &Lan) -> Self {
        Self(Stamps::open(lan.servers.namespace(), "eth0"))
    }

    /// By server, in order; nanoseconds of CLOCK_MONOTONIC.
    pub(crate) fn take(&self) -> BTreeMap<u32, Vec<i64>> {
        let realtime = clock_gettime(ClockId::CLOCK_REALTIME).expect("a clock that everybody may read");
        let ahead = realtime.tv_sec() * 1_000_000_000 + realtime.tv_nsec() - monotonic();
        let mut all = BTreeMap::<u32, Vec<i64>>::new();
        let mut buffer = [0; 2048];
        while let Some((at, length)) = self.0.next(&mut buffer) {
            if let Some(address) = refused_by(&buffer[..length]) {
                all.entry(server(address)).or_default().push(at - ahead);
            }
        }
        all
    }
}

/// Who says in this frame that nobody listens there.
fn refused_by(frame: &[u8]) -> Option<Ipv4Addr> {
    let packet = frame.get(14..)?;
    let segment = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
    let is_refusal = frame.get(12..14)? == [0x08, 0x00] && packet[9] == TCP && segment.get(13)? & RST != 0;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    // The servers' networks are theirs; the director, who may reset as well, is 10.0.0.1.
    (is_refusal && source[..2] != [10, 0]).then(|| Ipv4Addr::from(source))
}
