use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::time::Instant;

use daemon::event_loop::{EventLoop, Interest};
use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::config;
use crate::types::VirtualAddress;

/// More than the receive buffer of the socket would hold answers of.
const MANY: u32 = 4_000;

/// A network namespace of this thread's own, and of those that it starts; `false`: not as root.
fn alone(what: &str) -> bool {
    let alone = unshare(CloneFlags::CLONE_NEWNET).is_ok();
    if !alone {
        let _ = writeln!(io::stderr(), "LEFT OUT ({what}): a network namespace needs root");
    }
    alone
}

fn sh(script: &str) -> String {
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn many(operation: Operation) -> Vec<Request> {
    let options = Arc::new(AddressOptions::default());
    let request = |number| {
        let address = IpAddr::from(Ipv4Addr::from_bits(0x0a01_0001 + number));
        let address = VirtualAddress { interface: "lo".into(), address, prefix_len: 32 };
        let how = How::Address { index: 1, options: Arc::clone(&options) };
        Request { operation, object: Object::Address(address), how }
    };
    (0..MANY).map(request).collect()
}

/// Have a batch done by the thread, and wait for all answers.
fn done(kernel: &Kernel, events: &mut EventLoop<()>, batch: Vec<Request>) -> Vec<Answer> {
    let wanted = batch.len();
    kernel.request(batch).unwrap();
    let deadline = events.clock().now() + Duration::from_secs(20);
    let (mut answers, mut ready) = (Vec::new(), Vec::new());
    while answers.len() < wanted {
        let now = events.wait(Some(deadline), &mut ready).unwrap();
        for report in kernel.reports.drain() {
            let Report::Answers(some) = report else { panic!("nobody asked for a look") };
            answers.extend(some);
        }
        assert!(now < deadline, "only {} of {wanted} were answered", answers.len());
    }
    answers
}

#[test]
fn every_request_of_a_huge_batch_is_answered() {
    if !alone("huge batch") {
        return;
    }
    let kernel = Kernel::start().unwrap();
    let mut events = EventLoop::new().unwrap();
    events.register_forever(&kernel.reports, Interest::Read, ()).unwrap();
    for (operation, again) in [(Operation::Add, Outcome::AlreadySo), (Operation::Remove, Outcome::AlreadySo)]
    {
        for expected in [Outcome::Done, again] {
            let answers = done(&kernel, &mut events, many(operation));
            assert!(answers.iter().all(|answer| answer.result.as_ref().unwrap() == &expected));
            let different: BTreeSet<_> = answers.iter().map(|answer| &answer.request.object).collect();
            assert_eq!(different.len(), answers.len());
        }
    }
}

/// For DEPENDENCIES.md: `cargo test --release -p vrrpd -- --ignored --nocapture what_an_address_costs`.
#[test]
#[ignore = "measures; run it alone, in a release build"]
fn what_an_address_costs() {
    assert!(alone("cost of an address"));
    sh("ip link set lo up");
    let kernel = Kernel::start().unwrap();
    let mut events = EventLoop::new().unwrap();
    events.register_forever(&kernel.reports, Interest::Read, ()).unwrap();
    for _ in 0..5 {
        for operation in [Operation::Add, Operation::Remove] {
            let batch = many(operation);
            let start: Instant = events.clock().now();
            done(&kernel, &mut events, batch);
            let took = events.clock().now() - start;
            let _ = writeln!(io::stdout(), "{operation:?}: {:?} for each of {MANY}", took / MANY);
        }
    }
}

/// What a router's file says the kernel is to hold.
fn configured(lines: &str) -> Vec<(Object, crate::objects::Spec)> {
    let root = daemon::testing::TempRoot::new();
    let text = format!("interface = 'eth0'\nvirtual_router_id = 1\naddresses = ['10.0.0.50/24']\n{lines}\n");
    root.write("etc/trivet/vrrp.d/gateway.toml", &text);
    let mut report = daemon::diagnostic::Report::new();
    let routers = config::load(root.path(), None, &mut report).routers;
    assert!(!report.has_errors(), "{report}");
    routers["gateway"].objects().collect()
}

/// A daemon's table in a world of its own: everything wanted, then nothing.
#[test]
fn the_kernel_shows_every_option_and_takes_back_what_it_was_given_and_nothing_else() {
    if !alone("every option") {
        return;
    }
    sh("ip link set lo up
        ip link add eth0 type veth peer name peer0 && ip link set eth0 up && ip link set peer0 up
        ip address add 10.0.0.1/24 dev eth0
        ip route add 10.7.0.0/16 via 10.0.0.9 proto static
        ip rule add from 10.7.0.0/16 table 7 priority 700");
    let before =
        sh("ip -4 route show table all; ip rule; ip -6 rule; ip -o address show dev eth0 | grep 10.0");
    let objects = configured(
        "excluded_addresses = [
           { address = '10.0.0.51/24', label = 'eth0:vip', noprefixroute = true, broadcast = '10.0.0.255' },
           { address = '10.0.2.51/24', scope = 'link' },
           '2001:db8::50', { address = '2001:db8::51/64', preferred = true, noprefixroute = true } ]
         routes = [ '10.9.0.0/16 via 10.0.0.2 dev eth0 src 10.0.0.50 metric 50 mtu 1400',
           { to = '10.8.0.0/16', type = 'blackhole', table = 100 }, 'default via 10.9.9.9 dev eth0 onlink table 1000',
           { to = '2001:db8:9::/48', via = 'fe80::1', interface = 'eth0' }, 'unreachable 2001:db8:8::/48' ]
         rules = [ 'from 10.0.0.0/24 iif eth0 fwmark 0x10/0xff lookup 100 pref 100',
           { to = '2001:db8::/32', type = 'prohibit', priority = 101 } ]",
    );
    let mut table = crate::table::Table::default();
    let dumped = || {
        let interfaces = crate::monitor::dump().unwrap();
        let mut routing = crate::routing::Routing::default();
        let objects = routing.replace(&crate::routing::dump().unwrap(), &interfaces);
        (interfaces, routing, objects)
    };
    let settle = |table: &mut crate::table::Table| {
        let (interfaces, routing, _) = dumped();
        let world = crate::table::World { interfaces: &interfaces, routing: &routing };
        #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
        let (requests, notices) = table.plan(Instant::now(), world);
        let (interfaces, routing, objects) = dumped();
        for answer in perform(requests).unwrap() {
            let world = crate::table::World { interfaces: &interfaces, routing: &routing };
            assert!(matches!(answer.result, Ok(Outcome::Done)), "{answer:?}");
            #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
            let notice = table.answered(Instant::now(), world, answer);
            assert!(notice.is_none());
        }
        table.looked(objects);
        notices.len()
    };
    table.looked(dumped().2);
    for (object, spec) in &objects {
        table.want(object.clone(), spec.clone());
    }
    settle(&mut table);
    let addresses = sh("ip -o address show dev eth0");
    for expected in [
        "10.0.0.50/24 scope global secondary proto 0x70 eth0",
        "10.0.0.51/24 brd 10.0.0.255 scope global",
        "10.0.2.51/24 scope link",
        "eth0:vip",
        "2001:db8::50/128 scope global deprecated nodad",
        "2001:db8::51/64 scope global",
    ] {
        let shown = addresses.replace(" proto 0x70", "").replace("nodad deprecated", "deprecated nodad");
        assert!(shown.contains(&expected.replace(" proto 0x70", "")), "{expected}:\n{addresses}");
    }
    let found =
        sh("ip -4 route show table all proto 112; ip -6 route show table all proto 112; ip rule; ip -6 rule");
    for expected in [
        "10.9.0.0/16 via 10.0.0.2 dev eth0 src 10.0.0.50 metric 50 mtu 1400",
        "blackhole 10.8.0.0/16 table 100",
        "default via 10.9.9.9 dev eth0 table 1000 onlink",
        "2001:db8:9::/48 via fe80::1 dev eth0",
        "unreachable 2001:db8:8::/48",
        "100:\tfrom 10.0.0.0/24 fwmark 0x10/0xff iif eth0 lookup 100 proto 112",
        "101:\tfrom all to 2001:db8::/32 prohibit proto 112",
    ] {
        assert!(found.contains(expected), "{expected}:\n{found}");
    }
    // All of it is known again, as wanted.
    assert_eq!(settle(&mut table), objects.len(), "installed, each of them");
    assert_eq!(settle(&mut table), 0);

    // A former run's table knows nothing, and takes everything of ours away.
    let mut after = crate::table::Table::default();
    let (interfaces, _, objects_there) = dumped();
    after.looked(objects_there);
    after.touch_all(&interfaces);
    assert_eq!(settle(&mut after), objects.len(), "left behind, each of them");
    assert!(after.is_settled());
    let left = sh("ip -4 route show table all; ip rule; ip -6 rule; ip -o address show dev eth0 | grep 10.0");
    assert_eq!(left, before);
    assert!(!sh("ip -6 route show table all; ip -6 address").contains("2001:db8"));
}

#[test]
fn a_refusal_is_explained_in_the_kernels_own_words() {
    if !alone("refusals") {
        return;
    }
    sh("ip link set lo up");
    let objects = configured("routes = ['10.9.0.0/16 via 10.0.0.2']");
    let (object, crate::objects::Spec::Route(route)) = objects[1].clone() else {
        panic!("the second is the route")
    };
    let how = How::Route { route, index: None };
    let answers = perform(vec![Request { operation: Operation::Add, object, how }]).unwrap();
    let said = answers[0].result.as_ref().unwrap_err().to_string();
    assert!(said.contains("Nexthop has invalid gateway"), "{said}");
}
