//! A pair of routers among packets that nobody should send, ten thousand a second: it goes on. And packets with odd
//! headers, which are believed or not for a reason. Times are the kernel's, at the switch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, now, pace, wait};
use trivet_tests::forge::{Forged, GROUP_V4, GROUP_V6, Ipv4, group_mac, ipv6};
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::stalls::judge;
use trivet_tests::tap::{Stamp, Tap};
use trivet_tests::trivet::Trivet;
use trivet_tests::wire::Wire;

const ROUTER: &str = "gateway";
const ACTIVE: usize = 0;
const BACKUP: usize = 1;
/// What the storm lasts.
const STORM: Duration = Duration::from_secs(3);
const PER_SECOND: u32 = 10_000;
/// They leave in portions, so often.
const PORTION: Duration = Duration::from_millis(10);
/// Longer than that a machine may not stand still, or a test of these tenths of a second shows nothing.
const BEARABLE: Duration = Duration::from_millis(50);

struct Site {
    trivets: [Trivet; 2],
    tap: Tap,
    wire: Wire,
    hosts: [Host; 2],
    _mallory: Host,
    _lab: Lab,
}

#[derive(Clone, Copy)]
struct Plan {
    interval: Duration,
    own: [&'static str; 2],
    shared: &'static str,
    mallory: &'static str,
}

const TEN_MILLISECONDS: Plan = Plan {
    interval: Duration::from_millis(10),
    own: ["10.0.0.1/16", "10.0.0.2/16"],
    shared: "10.0.0.9/16",
    mallory: "10.0.0.66/16",
};
const TENTH: Plan = Plan { interval: Duration::from_millis(100), ..TEN_MILLISECONDS };
const OVER_IPV6: Plan = Plan {
    interval: Duration::from_millis(100),
    own: ["2001:db8::1/64", "2001:db8::2/64"],
    shared: "fe80::9/64",
    mallory: "2001:db8::66/64",
};

impl Site {
    fn new(plan: &Plan) -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        let hosts = [0, 1]
            .map(|index: usize| lab.host(&format!("n{}", index + 1), &[("eth0", "lan", plan.own[index])]));
        let mallory = lab.host("mallory", &[("eth0", "lan", plan.mallory)]);
        let wire = Wire::open(&mallory, "eth0");
        let tap = Tap::start(&lab, &["n1-eth0", "n2-eth0"]);
        let trivets = [ACTIVE, BACKUP].map(|index| {
            let text = format!(
                "interface = 'eth0'\nvirtual_router_id = 7\npriority = {}\nadvert_interval = '{}ms'\n\
                 addresses = ['{}']\n",
                if index == ACTIVE { 110 } else { 100 },
                plan.interval.as_millis(),
                plan.shared
            );
            let mut trivet = Trivet::with_files(&hosts[index], &[("vrrp.d/gateway.toml", &text)]);
            trivet.start_bus(&hosts[index]);
            trivet.run(&hosts[index], "vrrpd");
            trivet
        });
        let site = Self { trivets, tap, wire, hosts, _mallory: mallory, _lab: lab };
        site.expect(["Active", "Backup"]);
        site
    }

    fn expect(&self, states: [&str; 2]) {
        for (trivet, state) in self.trivets.iter().zip(states) {
            trivet.wait_for_property(&Property::router(ROUTER, "State"), &format!("s \"{state}\""));
        }
    }

    fn expect_counter(&self, index: usize, name: &str, least: u64) {
        wait(&format!("counter {name} reaches {least}"), PATIENCE, || {
            (self.trivets[index].counter(ROUTER, name) >= least).then_some(())
        });
    }

    /// Sends packet after packet for as long as the storm lasts, and returns when it began and how many they were.
    fn storm(&self, mut packet: impl FnMut(u32) -> Vec<u8>) -> (Stamp, u32) {
        let (began, end) = (Stamp::now(), now() + STORM);
        let portion = PER_SECOND / 100;
        let mut count = 0;
        let mut due = now();
        while now() < end {
            for _ in 0..portion {
                let packet = packet(count);
                self.wire.deliver(group_mac(&packet), &packet);
                count += 1;
            }
            // What was missed is not made up for: a burst would be more than anybody has room for.
            due = now().max(due + PORTION);
            pace(due.saturating_duration_since(now()));
        }
        (began, count)
    }

    /// The Active router's advertisements since a time: how many, and the longest time between two.
    fn adverts(&self, since: Stamp) -> (usize, Duration) {
        let sent = self.tap.since(since);
        let times: Vec<Stamp> = sent
            .iter()
            .filter(|sent| sent.by == ACTIVE && sent.advert().is_some())
            .map(|sent| sent.at)
            .collect();
        let longest = times.windows(2).map(|two| two[1].since(two[0])).max().unwrap_or_default();
        (times.len(), longest)
    }

    fn assert_the_backup_said_nothing(&self, since: Stamp) {
        let spoke = self.tap.find(since, |sent| sent.by == BACKUP && sent.advert().is_some());
        assert!(spoke.is_none(), "the Backup took over: {spoke:?}");
    }
}

fn forged(from: IpAddr, priority: u8) -> Forged {
    let (to, shared) = match from {
        IpAddr::V4(_) => (GROUP_V4, "10.0.0.9"),
        IpAddr::V6(_) => (GROUP_V6, "fe80::9"),
    };
    let addresses = vec![shared.parse().expect("an address")];
    Forged { from, to, ttl: 255, vrid: 7, priority, interval: 10, addresses }
}

/// One of sixty thousand.
fn source(number: u32) -> IpAddr {
    let [_, _, third, fourth] = (number % 60_000 + 256).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 0, third, fourth))
}

#[test]
fn a_pair_at_ten_milliseconds_stands_still_and_moves_when_it_must() {
    judge(TEN_MILLISECONDS.interval, stand_still_and_move);
}

fn stand_still_and_move() {
    let mut site = Site::new(&TEN_MILLISECONDS);
    let since = Stamp::now();
    wait("three hundred advertisements", PATIENCE, || (site.adverts(since).0 >= 300).then_some(()));
    site.assert_the_backup_said_nothing(since);
    let (_, longest) = site.adverts(since);
    eprintln!("10 ms: the longest time between two advertisements was {longest:?}");

    let stopped = Stamp::now();
    site.trivets[ACTIVE].stop("vrrpd");
    let released = wait("it says so", PATIENCE, || {
        site.tap.find(stopped, |sent| sent.advert().is_some_and(|advert| advert.priority == 0))
    });
    let released = released.at;
    let takeover = wait("the other speaks", PATIENCE, || {
        site.tap.find(released, |sent| sent.by == BACKUP && sent.advert().is_some())
    });
    let time = takeover.at.since(released);
    eprintln!("10 ms: handed over in {time:?}");
    // Skew_Time is 6.1 ms.
    assert!(time >= Duration::from_millis(6) && time < Duration::from_millis(60), "{time:?}");
}

#[test]
fn ten_thousand_packets_of_junk_a_second_are_counted_and_change_nothing() {
    judge(BEARABLE, count_junk);
}

fn count_junk() {
    let site = Site::new(&TENTH);
    let junk = |number: u32| {
        let mut packet = forged(source(number), 250).packet();
        // Wrong, each in another place: version, type, count, checksum, TTL, or not for anybody here.
        match number % 6 {
            0 => packet[20] = 0x51,
            1 => packet[20] = 0x37,
            2 => packet[23] = 9,
            3 => packet[26] ^= 0xff,
            4 => packet = Forged { ttl: 64, ..forged(source(number), 250) }.packet(),
            _ => packet[21] = 99,
        }
        packet
    };
    let (began, count) = site.storm(junk);
    site.expect_counter(BACKUP, "DiscardedTtl", u64::from(count / 6));
    site.expect_counter(ACTIVE, "DiscardedTtl", u64::from(count / 6));
    site.assert_the_backup_said_nothing(began);
    site.expect(["Active", "Backup"]);
    let (_, longest) = site.adverts(began);
    eprintln!("{count} packets of junk: the longest time between two advertisements was {longest:?}");
    assert!(longest < TENTH.interval * 3, "an advertisement waited: {longest:?}");
}

#[test]
fn a_router_that_stops_among_junk_has_no_address_a_moment_later_though_it_has_one_processor_and_goes_first() {
    judge(BEARABLE, stop_among_junk);
}

fn stop_among_junk() {
    let mut site = Site::new(&TENTH);
    site.trivets[ACTIVE].stop("vrrpd");
    // So many that the kernel is at it for some milliseconds.
    let many: Vec<String> = (1..=200).map(|last| format!("'10.0.9.{last}/16'")).collect();
    let more = format!("excluded_addresses = [{}]\naddresses", many.join(", "));
    site.trivets[ACTIVE].edit("vrrp.d/gateway.toml", "addresses", &more);
    // As the unit has it, on a machine with one processor: the loop goes before the thread that removes addresses.
    let alone = ["chrt", "--rr", "--reset-on-fork", "5", "taskset", "--cpu-list", "0"];
    site.trivets[ACTIVE].run_under(&site.hosts[ACTIVE], &alone, "vrrpd");
    let held = || site.hosts[ACTIVE].namespace().addresses("eth0").len();
    wait("it has all addresses", PATIENCE, || (held() == 202).then_some(()));
    let stops = AtomicBool::new(false);
    let time = std::thread::scope(|scope| {
        scope.spawn(|| {
            let junk = Forged { ttl: 64, ..forged(source(1), 100) }.packet();
            while !stops.load(Ordering::Relaxed) {
                site.wire.deliver(group_mac(&junk), &junk);
                pace(Duration::from_millis(1));
            }
        });
        site.expect_counter(ACTIVE, "DiscardedTtl", 10);
        let began = now();
        site.trivets[ACTIVE].process("vrrpd").stop();
        let time = now() - began;
        stops.store(true, Ordering::Relaxed);
        time
    });
    assert_eq!(held(), 1);
    eprintln!("stopped among junk in {time:?}");
    // The kernel leaves a twentieth of each second to those who do not go first.
    assert!(time < Duration::from_millis(250), "{time:?}");
}

// RFC 9568: -sim-rate +6.4.3-lesser
#[test]
fn valid_advertisements_of_lesser_routers_from_everywhere_cost_at_most_one_answer_an_interval() {
    judge(BEARABLE, answer_lesser_routers);
}

fn answer_lesser_routers() {
    let site = Site::new(&TENTH);
    let (began, count) = site.storm(|number| forged(source(number), 50).packet());
    let (adverts, longest) = site.adverts(began);
    eprintln!("{count} lesser advertisements: {adverts} of ours, {longest:?} apart at most");
    site.assert_the_backup_said_nothing(began);
    site.expect(["Active", "Backup"]);
    assert!(longest < TENTH.interval * 3, "an advertisement waited: {longest:?}");
    let intervals = usize::try_from(STORM.as_millis() / TENTH.interval.as_millis()).expect("thirty");
    assert!(adverts <= 2 * intervals + 4, "{adverts} advertisements in {intervals} intervals");
    assert!(site.trivets[ACTIVE].process("vrrpd").log().lines().count() < 40, "it logged each of them");
}

// RFC 9568: -sim-rate +6.4.3-greater
#[test]
fn valid_advertisements_of_greater_routers_from_everywhere_are_yielded_to_once_and_taken_over_from_once() {
    judge(BEARABLE, yield_to_greater_routers);
}

fn yield_to_greater_routers() {
    let site = Site::new(&TENTH);
    let (began, _) = site.storm(|number| forged(source(number), 250).packet());
    // Nobody of us speaks while they do, and one of us soon after.
    site.expect(["Active", "Backup"]);
    let spoke = site.tap.since(began).iter().filter(|sent| sent.advert().is_some()).count();
    assert!(spoke > 0);
    let became = site.trivets[ACTIVE].counter(ROUTER, "BecameActive");
    assert!(became <= 3, "it became Active {became} times");
}

#[test]
fn ipv4_packets_with_odd_headers_are_judged_by_what_is_in_them() {
    judge(BEARABLE, odd_ipv4_headers);
}

fn odd_ipv4_headers() {
    let site = Site::new(&TENTH);
    let from = Ipv4Addr::new(10, 0, 0, 66);
    let message = forged(IpAddr::V4(from), 50).message();
    let plain = Ipv4 { from, to: Ipv4Addr::new(224, 0, 0, 18), ttl: 255, options: &[], fragment: 0 };
    // Sixty bytes of header, as many as there can be: no-operations.
    let options = [1; 40];
    let believed = [
        plain.packet(&message),
        Ipv4 { options: &options, ..plain }.packet(&message),
        // Ethernet's padding, and the trailer of an authentication that we do not know.
        [plain.packet(&message), vec![0; 14]].concat(),
    ];
    for packet in believed {
        let before = site.trivets[BACKUP].counter(ROUTER, "Conflicts");
        let heard = site.trivets[ACTIVE].counter(ROUTER, "Conflicts");
        site.wire.deliver(group_mac(&packet), &packet);
        // The Active router has the precedence, and says that it heard a lesser one.
        site.expect_counter(ACTIVE, "Conflicts", heard + 1);
        assert_eq!(site.trivets[BACKUP].counter(ROUTER, "Conflicts"), before);
    }
    // Two fragments are one packet, whatever is between them; one alone is none.
    let heard = site.trivets[ACTIVE].counter(ROUTER, "Conflicts");
    let more = Ipv4 { fragment: 0x2000, ..plain }.packet(&message[..8]);
    let last = Ipv4 { fragment: 1, ..plain }.packet(&message[8..]);
    site.wire.deliver(group_mac(&more), &more);
    site.wire.deliver(group_mac(&last), &last);
    site.expect_counter(ACTIVE, "Conflicts", heard + 1);
    site.wire.deliver(group_mac(&more), &more);
    let short = plain.packet(&message[..7]);
    let lying = {
        // Its total length says more than there is, its header length less than a header.
        let mut packet = plain.packet(&message);
        packet[0] = 0x44;
        packet
    };
    for packet in [&short, &lying] {
        site.wire.deliver(group_mac(packet), packet);
    }
    let low = Ipv4 { options: &options, ttl: 254, ..plain }.packet(&message);
    site.wire.deliver(group_mac(&low), &low);
    site.expect_counter(ACTIVE, "DiscardedTtl", 1);
    site.expect_counter(ACTIVE, "DiscardedLength", 1);
    assert_eq!(site.trivets[ACTIVE].counter(ROUTER, "Conflicts"), heard + 1, "one of them was believed");
    site.expect(["Active", "Backup"]);
}

#[test]
fn ipv6_packets_with_extension_headers_are_judged_by_what_follows_them() {
    judge(BEARABLE, extension_headers);
}

fn extension_headers() {
    const DESTINATION_OPTIONS: u8 = 60;
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    let site = Site::new(&OVER_IPV6);
    let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x66);
    let to = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
    let message = forged(IpAddr::V6(from), 50).message();
    // A header of eight bytes whose only option is padding.
    let padded = |next: u8| [&[next, 0, 1, 4, 0, 0, 0, 0][..], &message].concat();
    let believed = [
        ipv6(from, to, 255, 112, &message),
        ipv6(from, to, 255, DESTINATION_OPTIONS, &padded(112)),
        ipv6(from, to, 255, HOP_BY_HOP, &padded(112)),
        // A fragment that is the whole (RFC 6946).
        ipv6(from, to, 255, FRAGMENT, &[&[112, 0, 0, 0, 0, 0, 0, 7][..], &message].concat()),
    ];
    for packet in &believed {
        let heard = site.trivets[ACTIVE].counter(ROUTER, "Conflicts");
        site.wire.deliver(group_mac(packet), packet);
        site.expect_counter(ACTIVE, "Conflicts", heard + 1);
    }
    let heard = site.trivets[ACTIVE].counter(ROUTER, "Conflicts");
    let far = ipv6(from, to, 254, DESTINATION_OPTIONS, &padded(112));
    let dropped = [
        // The source route that RFC 5095 abolished, with a segment left.
        ipv6(from, to, 255, ROUTING, &[&[112, 2, 0, 1, 0, 0, 0, 0][..], &to.octets(), &message].concat()),
        // An extension header longer than the packet.
        ipv6(from, to, 255, DESTINATION_OPTIONS, &[112, 200, 1, 4, 0, 0, 0, 0]),
        // A part of a packet whose other parts never come.
        ipv6(from, to, 255, FRAGMENT, &[&[112, 0, 0, 1, 0, 0, 0, 8][..], &message[..8]].concat()),
        far.clone(),
    ];
    for packet in &dropped {
        site.wire.deliver(group_mac(packet), packet);
    }
    site.expect_counter(ACTIVE, "DiscardedTtl", 1);
    assert_eq!(site.trivets[ACTIVE].counter(ROUTER, "Conflicts"), heard, "one of them was believed");
    site.expect(["Active", "Backup"]);
}
