//! What else happens on a machine while its virtual routers are to be punctual. Each load lasts until it is dropped.

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use trivet_tests::clock::{now, pace};
use trivet_tests::wire::{self, Wire};
use zbus::connection::Builder;

use crate::lan::Pair;
use crate::subject::{Running, Subject};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    None,
    /// A busy loop for each processor, at normal priority.
    Busy,
    /// SIGHUP every second, to both.
    Reload,
    /// Four callers on each bus that ask for all properties of an object, again and again.
    Bus,
    /// Everything at once (GetManagedObjects; keepalived has none and is asked for its introspection), again and again.
    Objects,
    /// Ten thousand broken or foreign packets a second.
    Junk,
}

impl Load {
    pub(crate) const ALL: [Self; 6] =
        [Self::None, Self::Busy, Self::Reload, Self::Bus, Self::Objects, Self::Junk];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "nothing else",
            Self::Busy => "all processors busy",
            Self::Reload => "a reload every second",
            Self::Bus => "bus flooded with calls",
            Self::Objects => "GetManagedObjects in a loop",
            Self::Junk => "10,000 junk packets a second",
        }
    }

    pub(crate) fn needs_bus(self) -> bool {
        matches!(self, Self::Bus | Self::Objects)
    }
}

/// Under way until it is dropped.
#[derive(Debug)]
pub(crate) struct Loading {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    programs: Vec<Child>,
    /// Calls that were answered, packets that were sent.
    pub(crate) done: Arc<AtomicUsize>,
}

impl Loading {
    pub(crate) fn start(load: Load, pair: &Pair) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut loading = Self { stop, threads: Vec::new(), programs: Vec::new(), done };
        match load {
            Load::None => {}
            Load::Busy => loading.busy(),
            Load::Reload => loading.reload(pair),
            Load::Bus => loading.bus(pair, 4, &Question::of_one(pair.subject)),
            Load::Objects => loading.bus(pair, 1, &Question::of_all(pair.subject)),
            Load::Junk => loading.junk(pair),
        }
        loading
    }

    fn busy(&mut self) {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            let mut command = Command::new("setsid");
            command.args(["sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
            self.programs.push(command.spawn().expect("starting a busy loop"));
        }
    }

    fn reload(&mut self, pair: &Pair) {
        let pids: Vec<Pid> = pair.running.iter().flatten().map(Running::pid).collect();
        self.repeat(Duration::from_secs(1), move |_| {
            pids.iter().for_each(|pid| kill(*pid, Signal::SIGHUP).expect("it runs"));
        });
    }

    fn junk(&mut self, pair: &Pair) {
        let wire = Wire::open(&pair.stranger, "eth0");
        let packets = junk();
        let done = Arc::clone(&self.done);
        self.repeat(Duration::from_millis(10), move |round| {
            for number in 0..100 {
                wire.multicast(&packets[(round * 100 + number) % packets.len()]);
            }
            done.fetch_add(100, Ordering::Relaxed);
        });
    }

    /// Does something until the end, at this pace.
    fn repeat(&mut self, every: Duration, mut work: impl FnMut(usize) + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || {
            let mut next = now();
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                work(round);
                next += every;
                pace(next.saturating_duration_since(now()));
            }
        }));
    }

    fn bus(&mut self, pair: &Pair, callers: usize, question: &Question) {
        for running in pair.running.iter().flatten() {
            for _ in 0..callers {
                let (stop, done) = (Arc::clone(&self.stop), Arc::clone(&self.done));
                let (address, question) = (running.bus_address.clone(), question.clone());
                self.threads.push(std::thread::spawn(move || {
                    zbus::block_on(ask(&address, &question, &stop, &done)).expect("asking on the bus");
                }));
            }
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for program in &mut self.programs {
            let _ = program.kill();
            let _ = program.wait();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// One call on the bus.
#[derive(Debug, Clone)]
struct Question {
    name: &'static str,
    path: &'static str,
    interface: &'static str,
    method: &'static str,
    argument: Option<&'static str>,
}

impl Question {
    fn of_one(subject: Subject) -> Self {
        let (name, path, argument) = match subject {
            Subject::Keepalived { .. } => {
                let path = "/org/keepalived/Vrrp1/Instance/eth0/1/IPv4";
                ("org.keepalived.Vrrp1", path, "org.keepalived.Vrrp1.Instance")
            }
            Subject::Vrrpd { .. } => {
                ("org.trivet.Vrrp1", "/org/trivet/Vrrp1/router/r0_5f1", "org.trivet.Vrrp1.Router")
            }
        };
        let (interface, method) = ("org.freedesktop.DBus.Properties", "GetAll");
        Self { name, path, interface, method, argument: Some(argument) }
    }

    fn of_all(subject: Subject) -> Self {
        let (name, path, interface, method) = match subject {
            Subject::Keepalived { .. } => {
                let interface = "org.freedesktop.DBus.Introspectable";
                ("org.keepalived.Vrrp1", "/org/keepalived/Vrrp1/Vrrp", interface, "Introspect")
            }
            Subject::Vrrpd { .. } => {
                let interface = "org.freedesktop.DBus.ObjectManager";
                ("org.trivet.Vrrp1", "/org/trivet/Vrrp1", interface, "GetManagedObjects")
            }
        };
        Self { name, path, interface, method, argument: None }
    }
}

async fn ask(address: &str, question: &Question, stop: &AtomicBool, done: &AtomicUsize) -> zbus::Result<()> {
    let connection = Builder::address(address).build().await?;
    let Question { name, path, interface, method, argument } = *question;
    while !stop.load(Ordering::Relaxed) {
        match argument {
            Some(argument) => {
                connection.call_method(Some(name), path, Some(interface), method, &argument).await?
            }
            None => connection.call_method(Some(name), path, Some(interface), method, &()).await?,
        };
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// What hostile or foreign machines send: every receive check has something to do.
fn junk() -> Vec<Vec<u8>> {
    let from = Ipv4Addr::new(10, 0, 0, 9);
    let good = wire::Advert {
        from,
        ttl: 255,
        version: 2,
        kind: 1,
        vrid: 1,
        priority: 250,
        addresses: vec![Ipv4Addr::new(10, 0, 1, 1)],
        authentication: 0,
        interval: 1,
        password: [0; 8],
        checksum_error: 0,
    };
    let changed = |change: &dyn Fn(&mut wire::Advert)| {
        let mut advert = good.clone();
        change(&mut advert);
        advert.packet()
    };
    vec![
        good.packet(),
        changed(&|advert| advert.ttl = 64),
        changed(&|advert| advert.version = 7),
        changed(&|advert| advert.kind = 3),
        changed(&|advert| advert.checksum_error = 1),
        changed(&|advert| advert.vrid = 200),
        changed(&|advert| advert.addresses.clear()),
        wire::ip(from, 255, &[0x31, 1, 250]),
        wire::ip(from, 255, &[0x31, 1, 250, 1, 0, 1, 0, 0, 10, 0, 1, 1]),
        wire::ip(from, 255, &[]),
    ]
}
