//! Announcements of many addresses at once: all of them leave, as often as configured, and no advertisement waits for
//! one. Frames are judged by the kernel's time stamps at the switch.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, wait, wait_for};
use trivet_tests::frames::Frame;
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::stalls::judge;
use trivet_tests::tap::{Stamp, Tap};
use trivet_tests::trivet::Trivet;

const INTERVAL: Duration = Duration::from_millis(100);
/// Longer than that a machine may not stand still, or nothing is shown.
const BEARABLE: Duration = Duration::from_millis(50);
/// keepalived's garp_master_repeat, and ours.
const REPEAT: usize = 5;

struct Site {
    trivet: Trivet,
    tap: Tap,
    host: Host,
    _lab: Lab,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        let host = lab.host("many", &[("eth0", "lan", "10.0.0.1/8")]);
        let tap = Tap::start(&lab, &["many-eth0"]);
        let trivet = Trivet::with_files(&host, &[]);
        Self { trivet, tap, host, _lab: lab }
    }

    /// Routers 1 to `routers`, each with so many addresses of its own.
    fn start(&mut self, routers: u8, addresses: u8) {
        for vrid in 1..=routers {
            let list: Vec<String> =
                addresses_of(vrid, addresses).map(|address| format!("'{address}/8'")).collect();
            let text = format!(
                "interface = 'eth0'\nvirtual_router_id = {vrid}\nadvert_interval = '100ms'\naddresses = [{}]\n\
                 [garp]\ndelay = 0\nrefresh = 0\n",
                list.join(", ")
            );
            let file = self.trivet.file(&format!("vrrp.d/{}.toml", name(vrid)));
            std::fs::create_dir_all(file.parent().expect("below etc/trivet")).expect("making a directory");
            std::fs::write(file, text).expect("writing a drop-in");
        }
        self.trivet.start_bus(&self.host);
        self.trivet.run(&self.host, "vrrpd");
    }

    /// How often each address was announced so far.
    fn announced(&self) -> BTreeMap<IpAddr, usize> {
        let mut counts = BTreeMap::new();
        self.tap.visit(|sent| {
            if let Some(Frame::Announcement { address, .. }) = sent.frame {
                *counts.entry(address).or_default() += 1;
            }
        });
        let lost = self.tap.lost();
        assert!(lost == 0, "the recording lost {lost} frames: this machine is too slow for it");
        counts
    }

    /// The longest time between two advertisements of one router, from the first announcement to the last.
    fn longest_silence(&self) -> Duration {
        let sent = self.tap.everything();
        let announcement =
            |sent: &&trivet_tests::tap::Sent| matches!(sent.frame, Some(Frame::Announcement { .. }));
        let first = sent.iter().find(announcement).expect("something was announced").at;
        let last = sent.iter().rev().find(announcement).expect("something was announced").at;
        let mut latest: BTreeMap<u8, Stamp> = BTreeMap::new();
        let mut longest = Duration::ZERO;
        for sent in &sent {
            let Some(advert) = sent.advert() else { continue };
            let before = latest.insert(advert.vrid, sent.at);
            if let Some(before) = before.filter(|_| sent.at >= first)
                && before <= last
            {
                longest = longest.max(sent.at.since(before));
            }
        }
        longest
    }
}

fn name(vrid: u8) -> String {
    format!("r{vrid}")
}

fn addresses_of(vrid: u8, count: u8) -> impl Iterator<Item = IpAddr> {
    (1..=count).map(move |last| IpAddr::V4(Ipv4Addr::new(10, 1, vrid, last)))
}

#[test]
fn a_hundred_routers_with_a_hundred_addresses_each_announce_them_all_and_never_miss_an_advertisement() {
    judge(BEARABLE, announce_ten_thousand);
}

fn announce_ten_thousand() {
    const ROUTERS: u8 = 100;
    const ADDRESSES: u8 = 100;
    let mut site = Site::new();
    site.start(ROUTERS, ADDRESSES);
    let wanted: BTreeMap<IpAddr, usize> = (1..=ROUTERS)
        .flat_map(|vrid| addresses_of(vrid, ADDRESSES))
        .map(|address| (address, REPEAT))
        .collect();
    wait("every address is announced five times", PATIENCE, || {
        let announced = site.announced();
        (announced.values().sum::<usize>() >= wanted.len() * REPEAT).then_some(())
    });
    assert!(site.announced() == wanted, "some address was announced too often");
    let longest = site.longest_silence();
    eprintln!("10000 addresses: the longest time between two advertisements was {longest:?}");
    // A Backup waits for three intervals and its skew. (Not built for speed, and on a busy machine.)
    assert!(longest < INTERVAL * 3, "an advertisement waited: {longest:?}");
}

#[test]
fn announcements_that_find_no_room_in_the_interface_are_sent_later_and_advertisements_overtake_them() {
    judge(BEARABLE, announce_over_a_slow_link);
}

fn announce_over_a_slow_link() {
    const ADDRESSES: u8 = 40;
    let mut site = Site::new();
    // About 200 such frames a second, and room for fifty in each of three bands: a quarter of a second.
    site.host.sh("ip link set eth0 txqueuelen 50");
    site.host.sh("tc qdisc add dev eth0 root handle 1: tbf rate 100kbit burst 2000 limit 4000");
    site.host.sh("tc qdisc add dev eth0 parent 1:1 handle 10: pfifo_fast");
    site.start(1, ADDRESSES);
    site.trivet.wait_for_property(&Property::router("r1", "State"), "s \"Active\"");
    let wanted: BTreeMap<IpAddr, usize> =
        addresses_of(1, ADDRESSES).map(|address| (address, REPEAT)).collect();
    wait_for("every address is announced five times", &wanted, || site.announced());
    let frames = u64::from(ADDRESSES) * 5;
    wait_for("frames are counted once each", &frames, || site.trivet.counter("r1", "GratuitousArpsSent"));
    assert!(site.trivet.counter("r1", "AnnouncementsDeferred") > 0, "the queue was never full");
    let longest = site.longest_silence();
    eprintln!("on a slow link: the longest time between two advertisements was {longest:?}");
    assert!(longest < INTERVAL * 2, "an advertisement waited: {longest:?}");
}

#[test]
fn a_changed_mac_address_is_announced_at_once() {
    judge(BEARABLE, announce_changed_mac);
}

fn announce_changed_mac() {
    let mut site = Site::new();
    site.start(1, 3);
    let wanted: BTreeMap<IpAddr, usize> = addresses_of(1, 3).map(|address| (address, REPEAT)).collect();
    wait_for("the addresses are announced", &wanted, || site.announced());
    let changed = Stamp::now();
    site.host.sh("ip link set eth0 address 02:00:00:00:0a:0b");
    for address in addresses_of(1, 3) {
        wait(&format!("{address} is announced with the new MAC address"), PATIENCE, || {
            site.tap.find(changed, |sent| {
                let new = [2, 0, 0, 0, 0x0a, 0x0b];
                sent.frame == Some(Frame::Announcement { address, mac: new }) && sent.bytes[6..12] == new
            })
        });
    }
    wait_for("it became Active once", &1, || site.trivet.counter("r1", "BecameActive"));
}

#[test]
fn an_interface_that_leaves_the_namespace_and_comes_back_as_the_same_has_sockets_that_work() {
    judge(BEARABLE, leave_and_return);
}

fn leave_and_return() {
    let lab = Lab::new();
    lab.segment("lan");
    let hosts = [1, 2]
        .map(|number| lab.host(&format!("n{number}"), &[("eth0", "lan", &format!("10.0.0.{number}/24"))]));
    // No other interface has its index there.
    let away = lab.host("away", &[]);
    let text = |priority: u8| {
        format!(
            "interface = 'eth0'\nvirtual_router_id = 1\npriority = {priority}\nadvert_interval = '100ms'\n\
             addresses = ['10.0.0.9/24']\n"
        )
    };
    let tap = Tap::start(&lab, &["n1-eth0", "n2-eth0"]);
    let [one, two] = [0, 1].map(|index: usize| {
        let mut trivet = Trivet::with_files(
            &hosts[index],
            &[("vrrp.d/r1.toml", &text(if index == 0 { 90 } else { 100 }))],
        );
        trivet.start_bus(&hosts[index]);
        trivet.run(&hosts[index], "vrrpd");
        trivet
    });
    let state = Property::router("r1", "State");
    one.wait_for_property(&state, "s \"Backup\"");
    two.wait_for_property(&state, "s \"Active\"");
    // What is shown may be half a second old.
    let sent = Stamp::now();
    wait("ten more advertisements", PATIENCE, || {
        let later = tap.since(sent).iter().filter(|sent| sent.by == 1 && sent.advert().is_some()).count();
        (later > 10).then_some(())
    });
    let became = one.counter("r1", "BecameActive");
    let heard = one.counter("r1", "AdvertisementsReceived");
    // Away and back while vrrpd looks elsewhere: same name, same index, and what was joined is forgotten.
    one.process("vrrpd").signal(nix::sys::signal::Signal::SIGSTOP);
    let index = || hosts[0].sh("cat /sys/class/net/eth0/ifindex");
    let before = index();
    hosts[0].sh(&format!("ip link set eth0 netns {}", away.namespace().name()));
    away.sh(&format!("ip link set eth0 netns {}", hosts[0].namespace().name()));
    hosts[0].sh("ip addr add 10.0.0.1/24 dev eth0 && ip link set eth0 up");
    assert_eq!(index(), before, "it is the same for whoever looks at its index only");
    let state_of_link = || hosts[0].sh("cat /sys/class/net/eth0/operstate");
    wait_for("all is as it was before vrrpd looks again", &"up\n".to_owned(), state_of_link);
    one.process("vrrpd").signal(nix::sys::signal::Signal::SIGCONT);
    wait("it hears the Active router again", PATIENCE, || {
        (one.counter("r1", "AdvertisementsReceived") > heard + 30).then_some(())
    });
    one.wait_for_property(&state, "s \"Backup\"");
    two.wait_for_property(&state, "s \"Active\"");
    assert_eq!(one.counter("r1", "BecameActive"), became, "it was deaf for a while");
}
