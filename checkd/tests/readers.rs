//! Nobody who does not read holds up a probe, and what waits for them does not grow: ten thousand servers that come and
//! go, a client that never reads, a bus that stands still.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

mod support;

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::thread;

use nix::sys::signal::Signal;
use support::servers::Server;
use support::watcher::Watcher;
use support::{Checkd, World, until};

const MANY: usize = 10_000;
/// Up and down at once, and a probe of each every two seconds.
const JUMPY: &str = "type = \"tcp\"\ninterval = \"2s\"\nretry_interval = \"2s\"\nrise = 1\nfall = 1\n";
/// What checkd may grow by while nobody reads: one batch of news, and the allocator's slack.
const ROOM_KIB: u64 = 12 * 1024;

/// One port of all loopback addresses, which is open or not.
struct Port {
    address: SocketAddr,
    open: Option<TcpListener>,
}

impl Port {
    fn new() -> Self {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        Self { address: listener.local_addr().unwrap(), open: None }
    }

    fn open(&mut self) {
        let listener = until("the port is free", || TcpListener::bind(self.address).ok());
        let accepting = listener.try_clone().unwrap();
        thread::spawn(move || while accepting.accept().is_ok() {});
        self.open = Some(listener);
    }

    fn close(&mut self) {
        if let Some(listener) = self.open.take() {
            // Ends the thread's accept as well.
            let _ = socket2::SockRef::from(&listener).shutdown(std::net::Shutdown::Both);
        }
    }

    fn targets(&self) -> Vec<(String, String)> {
        let address =
            |number: usize| format!("127.1.{}.{}:{}", number / 250, number % 250 + 1, self.address.port());
        (0..MANY).map(|number| ("jumpy".to_owned(), address(number))).collect()
    }
}

/// A client that has asked for all signals of checkd and reads nothing.
fn deaf(world: &World) -> UnixStream {
    let mut stream = UnixStream::connect(world.root.path().join("bus")).unwrap();
    let uid = nix::unistd::getuid().to_string();
    let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
    stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes()).unwrap();
    assert!(stream.read(&mut [0; 256]).unwrap() > 0, "the bus lets nobody in");
    stream.write_all(b"BEGIN\r\n").unwrap();
    let bus = "org.freedesktop.DBus";
    let call = |method, argument: Option<&str>| {
        let message = zbus::message::Message::method_call("/org/freedesktop/DBus", method);
        let message = message.destination(bus).interface(bus);
        match argument {
            Some(argument) => message.build(&argument),
            None => message.build(&()),
        }
        .unwrap()
    };
    stream.write_all(call("Hello", None).data()).unwrap();
    let rule = "type='signal',interface='org.trivet.Check1.Manager'";
    stream.write_all(call("AddMatch", Some(rule)).data()).unwrap();
    stream
}

/// KiB of memory that are in use.
fn resident(checkd: &Checkd) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", checkd.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Wait until so many of the targets are up.
fn wait_for_ups(watcher: &Watcher, ups: usize) {
    until(&format!("{ups} targets are up"), || (watcher.up() == u32::try_from(ups).unwrap()).then_some(()));
}

#[test]
fn neither_a_deaf_client_nor_a_bus_that_stands_still_delays_a_probe_or_costs_memory() {
    let world = World::new();
    world.check("jumpy", JUMPY);
    world.check("steady", "type = \"tcp\"\ninterval = \"100ms\"\n");
    let (bus, checkd) = (world.start_bus(), world.start_checkd());
    let mut port = Port::new();
    port.open();
    let steady = Server::answering("");
    let mut targets = port.targets();
    targets.push(("steady".into(), steady.address.clone()));
    let targets: Vec<_> = targets.iter().map(|(check, address)| (check.as_str(), address.as_str())).collect();
    let watcher = Watcher::new(&world);
    watcher.watch(&targets);
    wait_for_ups(&watcher, MANY + 1);
    let flap = |port: &mut Port| {
        port.close();
        wait_for_ups(&watcher, 1);
        port.open();
        wait_for_ups(&watcher, MANY + 1);
    };
    flap(&mut port);
    let before = resident(&checkd);
    let deaf = deaf(&world);
    for _ in 0..3 {
        flap(&mut port);
    }
    let with_deaf = resident(&checkd);
    assert!(
        with_deaf < before + ROOM_KIB,
        "{before} KiB, then {with_deaf} KiB with a client that does not read"
    );
    drop(deaf);
    // The bus itself stands still: nothing can be asked any more, but probes go on and states change.
    bus.signal(Signal::SIGSTOP);
    port.close();
    let accepted = steady.accepted();
    until("fifty probes without a bus", || (steady.accepted() > accepted + 50).then_some(()));
    let without_bus = resident(&checkd);
    assert!(
        without_bus < before + ROOM_KIB,
        "{before} KiB, then {without_bus} KiB with a bus that stands still"
    );
    let log = checkd.log();
    assert!(log.contains("more servers changed within a second"), "{log}");
    bus.signal(Signal::SIGCONT);
    wait_for_ups(&watcher, 1);
    let (_, answers) = watcher.watch(&targets);
    assert_eq!(answers.iter().filter(|row| row.2 == "up").count(), 1);
    // Nothing that changed while nobody took it is lost: of each target was told what it is now.
    let mut told = HashMap::new();
    until("all changes are told", || {
        told.extend(watcher.told().into_iter().map(|row| (row.1, row.2)));
        answers.iter().all(|row| told.get(&row.1) == Some(&row.2)).then_some(())
    });
    println!("resident: {before} KiB, {with_deaf} KiB with a deaf client, {without_bus} KiB without a bus");
}

/// Nothing is due for minutes: only the bus itself can say that it goes on.
#[test]
fn what_waited_for_a_bus_that_stood_still_is_told_when_it_goes_on() {
    let world = World::new();
    world.check("calm", "type = \"tcp\"\ninterval = \"1h\"\nretry_interval = \"1h\"\n");
    let (bus, checkd) = (world.start_bus(), world.start_checkd());
    let addresses: Vec<String> = (0..MANY).map(|n| format!("127.3.{}.{}:9", n / 250, n % 250 + 1)).collect();
    let targets: Vec<_> = addresses.iter().map(|address| ("calm", address.as_str())).collect();
    let watcher = Watcher::new(&world);
    watcher.watch(&targets);
    bus.signal(Signal::SIGSTOP);
    world.wait_for_systemd_to_hear(&format!("STATUS={MANY} targets: {MANY} down"));
    let results = world.root.path().join("run/trivet-checkd/results");
    until("all results are written", || {
        std::fs::read_to_string(&results).ok()?.ends_with(&format!("\nend {MANY}\n")).then_some(())
    });
    bus.signal(Signal::SIGCONT);
    let mut told = HashSet::new();
    while told.len() < MANY {
        told.extend(watcher.next().1.into_iter().map(|row| row.1));
    }
    drop(checkd);
}
