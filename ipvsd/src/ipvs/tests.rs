//! The bytes below were captured on an nlmon interface of Linux 6.12, between ipvsadm 1.31 and the kernel, where
//! the family IPVS had the number 0x22. Ports of the sender (the last header field) are set to 0.

use super::attributes::array;
use super::encode::{attribute, daemon_attributes, nest, timeout_attributes, whole_server, whole_service};
use super::*;
use crate::table::{Checksum, Family, Forward, Protocol, Tunnel};

const FAMILY: u16 = 0x22;

/// `ipvsadm -A -t 10.0.10.50:80 -s rr -p 300`
const NEW_SERVICE: &str = "680000002200050016b6006b00000000010100005400018006000100020000000600020006000000140003000a000a32000000000000000000000000060004000050000007000600727200000c00070001000000ffffffff080008002c01000008000900ffffffff";
/// `ipvsadm -A -t [2001:db8::50]:443 -s wlc`
const NEW_SERVICE_6: &str = "680000002200050017b6006b000000000101000054000180060001000a00000006000200060000001400030020010db80000000000000000000000500600040001bb000008000600776c63000c00070000000000ffffffff08000800000000000800090080000000";
/// `ipvsadm -A -f 3 -s lc`
const NEW_SERVICE_MARK: &str = "4c0000002200050017b6006b00000000010100003800018006000100020000000800050003000000070006006c6300000c00070000000000ffffffff080008000000000008000900ffffffff";
/// The reading of `ipvsadm -Ln`, of the servers of 10.0.10.50:80.
const GET_SERVERS: &str = "440000002200050317b6006b00000000080100003000018006000100020000000600020006000000140003000a000a320000000000000000000000000600040000500000";
/// The servers' part of `ipvsadm -a -t 10.0.10.50:80 -r 192.168.100.102:8080 -m -w 3`.
const DEST: &str = "6000028006000b000200000014000100c0a86466000000000000000000000000060002001f9000000800030000000000080004000300000005000d000000000006000e000000000006000f000000000008000500000000000800060000000000";

/// The kernel's answers to `ipvsadm -Ln`: services, without the end of the first datagram.
const SERVICES: &str = concat!(
    "400100002200020017b6006bb70100bd010100002c01010006000100020000000600020006000000140003000a000a32000000000000000000000000060004000050000007000600727200000c00070003000000ffffffff080008002c01000008000900ffffffff5c000a000800010000000000080002000000000008000300000000000c00040000000000000000000c0005000000000000000000080006000000000008000700000000000800080000000000080009000000000008000a00000000007c000c000c00010000000000000000000c00020000000000000000000c00030000000000000000000c00040000000000000000000c00050000000000000000000c00060000000000000000000c00070000000000000000000c00080000000000000000000c00090000000000000000000c000a000000000000000000",
    "400100002200020017b6006bb70100bd010100002c010100060001000a00000006000200060000001400030020010db80000000000000000000000500600040001bb000008000600776c63000c00070002000000ffffffff080008000000000008000900800000005c000a000800010000000000080002000000000008000300000000000c00040000000000000000000c0005000000000000000000080006000000000008000700000000000800080000000000080009000000000008000a00000000007c000c000c00010000000000000000000c00020000000000000000000c00030000000000000000000c00040000000000000000000c00050000000000000000000c00060000000000000000000c00070000000000000000000c00080000000000000000000c00090000000000000000000c000a000000000000000000",
    "240100002200020017b6006bb70100bd010100001001010006000100020000000800050003000000070006006c6300000c00070002000000ffffffff080008000000000008000900ffffffff5c000a000800010000000000080002000000000008000300000000000c00040000000000000000000c0005000000000000000000080006000000000008000700000000000800080000000000080009000000000008000a00000000007c000c000c00010000000000000000000c00020000000000000000000c00030000000000000000000c00040000000000000000000c00050000000000000000000c00060000000000000000000c00070000000000000000000c00080000000000000000000c00090000000000000000000c000a000000000000000000",
);
const DONE: &str = "140000000300020017b6006bb70100bd00000000";
/// The servers of 10.0.10.50:80 and of [2001:db8::50]:443.
const SERVERS: &str = concat!(
    "640100002200020017b6006bb701c0e7050100005001020014000100c0a8646500000000000000000000000006000200005000000800030000000000080004000100000005000d000000000006000e000000000006000f00000000000800050000000000080006000000000008000700000000000800080000000000080009000000000006000b00020000005c000a000800010000000000080002000000000008000300000000000c00040000000000000000000c0005000000000000000000080006000000000008000700000000000800080000000000080009000000000008000a00000000007c000c000c00010000000000000000000c00020000000000000000000c00030000000000000000000c00040000000000000000000c00050000000000000000000c00060000000000000000000c00070000000000000000000c00080000000000000000000c00090000000000000000000c000a000000000000000000",
    "640100002200020017b6006bb70180fa05010000500102001400010020010db80000000000000000000000010600020001bb00000800030003000000080004000500000005000d000000000006000e000000000006000f00000000000800050000000000080006000000000008000700000000000800080000000000080009000000000006000b000a0000005c000a000800010000000000080002000000000008000300000000000c00040000000000000000000c0005000000000000000000080006000000000008000700000000000800080000000000080009000000000008000a00000000007c000c000c00010000000000000000000c00020000000000000000000c00030000000000000000000c00040000000000000000000c00050000000000000000000c00060000000000000000000c00070000000000000000000c00080000000000000000000c00090000000000000000000c000a000000000000000000",
);
/// The answer to a service with the scheduler `bogus`: ENOENT, and the request again.
const REFUSED: &str = "800000000200000017b6006bb40100bdfeffffff6c0000002200050017b6006bb40100bd010100005800018006000100020000000600020011000000140003000a000a3300000000000000000000000006000400003500000a000600626f6775730000000c00070000000000ffffffff080008000000000008000900ffffffff";
/// The answer to the first of the requests above.
const ACKNOWLEDGED: &str = "240000000200000116b6006bac0140bd00000000680000002200050016b6006bac0140bd";
/// IPVS 1.2.1 with 4096 buckets.
const INFO: &str = "240000002200000016b6006bac01808a0e01000008000100010201000800020000100000";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// A request as it was captured, with the number that ipvsadm gave it.
fn encode(request: Request<'_>, captured: &str) -> Vec<u8> {
    let mut out = Vec::new();
    request.encode(&mut out, FAMILY, u32::from_ne_bytes(array(&bytes(captured), 8).unwrap()), true);
    out
}

fn decode(datagram: &[u8]) -> Vec<Result<Reply, WireError>> {
    Messages::new(datagram).map(|message| message?.decode(FAMILY, Family::V4)).collect()
}

fn replies(hex: &str) -> Vec<Reply> {
    decode(&bytes(hex)).into_iter().map(Result::unwrap).collect()
}

fn tcp(address: &str) -> ServiceKey {
    ServiceKey::Address { protocol: Protocol::Tcp, address: address.parse().unwrap() }
}

fn service(scheduler: &str, flags: u32, timeout: u32, netmask: u32) -> Service {
    Service { scheduler: scheduler.into(), flags, timeout, netmask, persistence_engine: None }
}

fn server(forward: Forward, weight: u32) -> Server {
    Server { forward, weight, upper_threshold: 0, lower_threshold: 0 }
}

#[test]
fn a_new_service_is_encoded_byte_for_byte_as_ipvsadm_does() {
    let mark = ServiceKey::Mark { family: Family::V4, mark: 3 };
    for (captured, key, service) in [
        (NEW_SERVICE, tcp("10.0.10.50:80"), service("rr", 1, 300, u32::MAX)),
        (NEW_SERVICE_6, tcp("[2001:db8::50]:443"), service("wlc", 0, 0, 128)),
        (NEW_SERVICE_MARK, mark, service("lc", 0, 0, u32::MAX)),
    ] {
        let change = Change::NewService { key, service };
        assert_eq!(encode(Request::Change(&change), captured), bytes(captured), "{change}");
    }
}

#[test]
fn a_reading_of_servers_is_encoded_as_ipvsadm_does_but_without_asking_for_an_acknowledgement() {
    let mut captured = bytes(GET_SERVERS);
    captured[6] &= !0x04; // NLM_F_ACK, which the kernel does not heed for a dump
    assert_eq!(encode(Request::Servers(&tcp("10.0.10.50:80")), GET_SERVERS), captured);
}

#[test]
fn a_server_is_encoded_as_ipvsadm_does_but_without_a_tunnels_type() {
    let address = "192.168.100.102:8080".parse().unwrap();
    let mut out = Vec::new();
    nest(&mut out, top::DEST, |out| whole_server(out, address, &server(Forward::Nat, 3)));
    let tunnel = "05000d000000000006000e000000000006000f0000000000";
    let mut captured = bytes(&DEST.replace(tunnel, ""));
    captured[0] -= u8::try_from(tunnel.len() / 2).unwrap();
    assert_eq!(out, captured);
}

#[test]
fn the_kernels_services_are_read() {
    assert_eq!(
        replies(&format!("{SERVICES}{DONE}")),
        [
            Reply::Service(tcp("10.0.10.50:80"), service("rr", 1, 300, u32::MAX)),
            Reply::Service(tcp("[2001:db8::50]:443"), service("wlc", 0, 0, 128)),
            Reply::Service(ServiceKey::Mark { family: Family::V4, mark: 3 }, service("lc", 0, 0, u32::MAX)),
            Reply::Done(0),
        ]
    );
}

#[test]
fn the_kernels_servers_are_read() {
    let none = Connections::default();
    let first = "192.168.100.101:80".parse().unwrap();
    let second = "[2001:db8::1]:443".parse().unwrap();
    assert_eq!(
        replies(SERVERS),
        [
            Reply::Server(first, server(Forward::Nat, 1), none),
            Reply::Server(second, server(Forward::Route, 5), none)
        ]
    );
}

#[test]
fn connection_counts_are_read_each_from_its_own_attribute() {
    let counts = [
        "08000700000000000800080000000000080009000000000006000b0002",
        "08000700070000000800080008000000080009000900000006000b0002",
    ];
    let Reply::Server(_, _, connections) = &replies(&SERVERS.replace(counts[0], counts[1]))[0] else {
        panic!()
    };
    assert_eq!(*connections, Connections { active: 7, inactive: 8, persistent: 9 });
}

#[test]
fn a_server_without_an_address_family_has_that_of_its_service() {
    // Kernels before 3.18 did not send the attribute: give it a number that nobody knows.
    let unnamed = bytes(&SERVERS.replace("06000b000a000000", "0600ff000a000000"));
    let message = Messages::new(&unnamed).nth(1).unwrap().unwrap();
    let Ok(Reply::Server(address, ..)) = message.decode(FAMILY, Family::V6) else { panic!("no server") };
    assert_eq!(address, "[2001:db8::1]:443".parse().unwrap());
}

#[test]
fn refusals_acknowledgements_and_the_version_are_read() {
    assert_eq!(replies(REFUSED), [Reply::Result(2)]);
    assert_eq!(replies(ACKNOWLEDGED), [Reply::Result(0)]);
    assert_eq!(replies(INFO), [Reply::Version(1, 2, 1)]);
    let message = bytes(REFUSED);
    assert_eq!(Messages::new(&message).next().unwrap().unwrap().sequence, 0x6b00_b617);
}

#[test]
fn a_reading_that_the_kernel_breaks_off_is_not_taken_for_a_whole_one() {
    // Done, with ENOMEM and with EINTR where the number of answers would be.
    for (end, errno) in [("f4ffffff", 12), ("fcffffff", 4)] {
        let broken = format!("{SERVICES}{}{end}", &DONE[..32]);
        assert_eq!(replies(&broken).last(), Some(&Reply::Done(errno)));
    }
    // One that ends in the middle of a message, and one whose last message says that it is longer.
    let whole = bytes(&format!("{SERVICES}{DONE}"));
    let messages = decode(&whole).len();
    for length in [whole.len() - 1, whole.len() - 19, whole.len() - 21] {
        let part = decode(&whole[..length]);
        assert_eq!(part.last(), Some(&Err(WireError::Framing)), "{length} bytes");
        assert!(part.len() <= messages);
    }
}

#[test]
fn every_change_that_is_encoded_is_understood_by_the_decoder() {
    let key = tcp("[2001:db8::50]:443");
    let address = "[2001:db8::7]:8443".parse().unwrap();
    let tunnels = [
        Tunnel::Ipip,
        Tunnel::Gue { port: 6080, checksum: Checksum::None },
        Tunnel::Gue { port: 6081, checksum: Checksum::Remote },
        Tunnel::Gre { checksum: Checksum::Outer },
    ];
    for forward in [Forward::Nat, Forward::Route].into_iter().chain(tunnels.map(Forward::Tunnel)) {
        let server = Server { forward, weight: 65_535, upper_threshold: 9, lower_threshold: 4 };
        let Reply::Server(read_address, read, _) = round_trip(&Change::NewServer { key, address, server })
        else {
            panic!("no server")
        };
        assert_eq!((read_address, read), (address, server));
    }
    let mut wanted = service("mh", 1, 42, 64);
    wanted.persistence_engine = Some("sip".into());
    let change = Change::NewService { key, service: wanted.clone() };
    assert_eq!(round_trip(&change), Reply::Service(key, wanted));
}

/// Encode a change and decode it as if the kernel had sent it; connection counts, which only it sends, are added.
fn round_trip(change: &Change) -> Reply {
    let mut out = Vec::new();
    match change {
        Change::NewService { key, service } | Change::SetService { key, service } => {
            nest(&mut out, top::SERVICE, |out| whole_service(out, key, service));
            received(command::NEW_SERVICE, &out)
        }
        Change::NewServer { address, server, .. } | Change::SetServer { address, server, .. } => {
            nest(&mut out, top::DEST, |out| {
                whole_server(out, *address, server);
                for kind in [dest::ACTIVE_CONNS, dest::INACT_CONNS, dest::PERSIST_CONNS] {
                    attribute(out, kind, &0_u32.to_ne_bytes());
                }
            });
            received(command::NEW_DEST, &out)
        }
        Change::DelService { .. } | Change::DelServer { .. } => panic!("{change} has no answer"),
    }
}

/// A message of the family IPVS with these attributes, taken in.
fn received(command: u8, attributes: &[u8]) -> Reply {
    let length = u32::try_from(20 + attributes.len()).unwrap();
    let mut datagram = length.to_ne_bytes().to_vec();
    datagram.extend(FAMILY.to_ne_bytes());
    datagram.extend([0; 10]);
    datagram.extend([command, FAMILY_VERSION, 0, 0]);
    datagram.extend(attributes);
    decode(&datagram).remove(0).unwrap()
}

#[test]
fn a_sync_daemon_is_understood_with_all_that_the_kernel_says_of_it() {
    for (state, group) in [(SyncState::Master, "224.0.0.81"), (SyncState::Backup, "ff02::8")] {
        let group = Some(group.parse().unwrap());
        let link = Link { interface: "eth1".into(), id: 7, max_length: 1460, group, port: 8848, ttl: 3 };
        let mut out = Vec::new();
        nest(&mut out, top::DAEMON, |out| daemon_attributes(out, state, &link));
        assert_eq!(received(command::NEW_DAEMON, &out), Reply::Daemon(state, link));
    }
}

#[test]
fn timeouts_are_read_and_0_leaves_one_as_it_is() {
    let mut out = Vec::new();
    timeout_attributes(&mut out, Timeouts { tcp: Some(900), tcp_fin: None, udp: Some(300) });
    let found = TimeoutsFound { tcp: 900, tcp_fin: 0, udp: 300 };
    assert_eq!(received(command::SET_CONFIG, &out), Reply::Timeouts(found));
}

/// Prints a figure: `cargo test --release -p ipvsd --lib -- --ignored --nocapture what_encoding_a_table_costs`.
#[test]
#[ignore = "a measurement"]
fn what_encoding_a_table_costs() {
    let key = tcp("10.0.10.50:80");
    let changes: Vec<Change> = (0..10_000)
        .map(|number| {
            let address = SocketAddr::from(([192, 168, 0, 1], number + 1));
            Change::NewServer { key, address, server: server(Forward::Nat, 1) }
        })
        .collect();
    let clock = ::daemon::event_loop::Clock::new().unwrap();
    for _ in 0..5 {
        let (began, mut out) = (clock.now(), Vec::new());
        for (sequence, change) in (1..).zip(&changes) {
            Request::Change(change).encode(&mut out, FAMILY, sequence, false);
        }
        println!("{} servers, {} bytes: {:?}", changes.len(), out.len(), clock.now() - began);
    }
}

#[test]
fn a_batch_of_requests_is_one_run_of_messages() {
    let key = tcp("10.0.10.50:80");
    let mut out = Vec::new();
    for sequence in 1..=3 {
        Request::Change(&Change::DelService { key }).encode(&mut out, FAMILY, sequence, sequence == 3);
    }
    let sequences: Vec<u32> = Messages::new(&out).map(|message| message.unwrap().sequence).collect();
    assert_eq!(sequences, [1, 2, 3]);
    let flags = |at: usize| u16::from_ne_bytes(array(&out, at + 6).unwrap());
    let length = out.len() / 3;
    assert_eq!([flags(0), flags(length), flags(2 * length)], [1, 1, 5], "only the last one is acknowledged");
}

#[test]
fn no_truncated_datagram_is_taken_for_a_whole_one_or_makes_us_panic() {
    for hex in [SERVICES, SERVERS, REFUSED, ACKNOWLEDGED, INFO] {
        let whole = bytes(hex);
        let complete = decode(&whole);
        assert!(complete.iter().all(Result::is_ok));
        for length in 0..whole.len() {
            let part = decode(&whole[..length]);
            let good = part.iter().filter(|reply| reply.is_ok()).count();
            assert!(good < complete.len(), "{length} of {} bytes give everything", whole.len());
        }
    }
}

#[test]
fn no_corrupted_datagram_makes_us_panic() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(limit).unwrap()).unwrap()
    };
    let mut errors = 0;
    for _ in 0..20_000 {
        let mut datagram = bytes([SERVICES, SERVERS, REFUSED, ACKNOWLEDGED, INFO][random(5)]);
        for _ in 0..=random(4) {
            let at = random(datagram.len());
            datagram[at] = [0, 1, 3, 4, 0x7f, 0xff][random(6)];
        }
        datagram.truncate(random(datagram.len()) + 1);
        errors += decode(&datagram).iter().filter(|reply| reply.is_err()).count();
    }
    assert!(errors > 1_000, "only {errors} were found to be broken");
}
