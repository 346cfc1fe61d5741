//! What the tests of the whole daemon share: a private bus, a checkd that says what it is told to, and ipvsd itself
//! in a network namespace of the test's own.

#![allow(dead_code, reason = "each test program uses its part")]
#![allow(clippy::unwrap_used, reason = "as in every test")]

pub(crate) mod examples;
pub(crate) mod table;

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use daemon::event_loop::Clock;
use daemon::testing::TempRoot;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zbus::{OwnedVariant, connection, interface};

/// Emulated machines are slow; nothing here waits this long unless it has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const GLANCE: Duration = Duration::from_millis(10);

/// Wait until `look` finds something.
///
/// # Panics
/// If it does not within a minute.
pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, look)
}

/// As [`wait_for`], for what is known to take longer.
pub(crate) fn wait_within<T>(patience: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::new().unwrap();
    let end = clock.now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(clock.now() < end, "waited in vain: {what}");
        pause(GLANCE);
    }
}

/// For what is about time itself: how often something happens, and that nothing happens any more.
pub(crate) fn pause(time: Duration) {
    let (_never, pause) = channel::<()>();
    let _ = pause.recv_timeout(time);
}

/// Look again and again for so long.
pub(crate) fn all_the_while(time: Duration, mut look: impl FnMut()) {
    let clock = Clock::new().unwrap();
    let end = clock.now() + time;
    while clock.now() < end {
        look();
        pause(GLANCE);
    }
}

/// Put the calling thread, and the processes that it starts, into a network namespace of its own, with `lo` up.
/// Without the right to do so there is none to change an IPVS table either.
pub(crate) fn own_network() -> bool {
    let own = unshare(CloneFlags::CLONE_NEWNET).is_ok();
    own && run("ip", &["link", "set", "lo", "up"]).0
}

/// Run a program; whether it succeeded, and what it printed.
pub(crate) fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// A bus of its own, with no policy.
pub(crate) struct Bus {
    folder: TempRoot,
    daemon: Option<Child>,
}

impl Bus {
    pub(crate) fn new() -> Self {
        let mut bus = Self::stopped();
        bus.start();
        bus
    }

    /// A bus that is not there yet.
    pub(crate) fn stopped() -> Self {
        let folder = TempRoot::new();
        let config = format!(
            "<busconfig><type>system</type><listen>{}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
             <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>\
             </policy></busconfig>",
            address_in(folder.path())
        );
        folder.write("bus.conf", &config);
        Self { folder, daemon: None }
    }

    pub(crate) fn start(&mut self) {
        let _ = std::fs::remove_file(self.folder.path().join("socket"));
        let config = self.folder.path().join("bus.conf");
        let daemon = Command::new("dbus-daemon")
            .arg("--nofork")
            .arg(format!("--config-file={}", config.display()))
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon can be run");
        self.daemon = Some(daemon);
        let socket = self.folder.path().join("socket");
        wait_for("the bus", || UnixStream::connect(&socket).ok());
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }

    pub(crate) fn address(&self) -> String {
        address_in(self.folder.path())
    }

    /// Call a method of ipvsd and return its answer.
    pub(crate) fn call<T>(&self, path: &str, interface: &str, method: &str) -> zbus::Result<T>
    where
        T: serde::de::DeserializeOwned + zbus::Type,
    {
        zbus::block_on(async {
            let connection = connection::Builder::address(self.address().as_str()).build().await?;
            let name = Some("org.trivet.Ipvs1");
            let answer = connection.call_method(name, path, Some(interface), method, &()).await?;
            answer.body().deserialize()
        })
    }

    /// A property of ipvsd as text, or why it cannot be had.
    pub(crate) fn property(&self, path: &str, interface: &str, property: &str) -> String {
        let result: zbus::Result<OwnedVariant> = zbus::block_on(async {
            let connection = connection::Builder::address(self.address().as_str()).build().await?;
            let standard = Some("org.freedesktop.DBus.Properties");
            let name = Some("org.trivet.Ipvs1");
            let body = &(interface, property);
            let answer = connection.call_method(name, path, standard, "Get", body).await?;
            answer.body().deserialize()
        });
        match result {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("error: {error}"),
        }
    }

    /// A verb of a service.
    pub(crate) fn verb<B>(&self, service: &str, method: &str, body: &B) -> zbus::Result<()>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.ask(&format!("/org/trivet/Ipvs1/service/{service}"), "org.trivet.Ipvs1.Service", method, body)
    }

    /// A method without an answer.
    pub(crate) fn ask<B>(&self, path: &str, interface: &str, method: &str, body: &B) -> zbus::Result<()>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        zbus::block_on(async {
            let connection = connection::Builder::address(self.address().as_str()).build().await?;
            let name = Some("org.trivet.Ipvs1");
            connection.call_method(name, path, Some(interface), method, body).await?;
            Ok(())
        })
    }

    pub(crate) fn of_manager(&self, property: &str) -> String {
        self.property("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", property)
    }

    /// The rows of `Servers` of a service, as text.
    pub(crate) fn servers(&self, service: &str) -> String {
        self.property(&format!("/org/trivet/Ipvs1/service/{service}"), "org.trivet.Ipvs1.Service", "Servers")
    }

    pub(crate) fn of_service(&self, service: &str, property: &str) -> String {
        self.property(&format!("/org/trivet/Ipvs1/service/{service}"), "org.trivet.Ipvs1.Service", property)
    }

    /// How often somebody else's change of a service was undone.
    pub(crate) fn repairs(&self, service: &str) -> Option<u64> {
        self.of_service(service, "Repairs").split("U64(").nth(1)?.split(')').next()?.parse().ok()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.stop();
    }
}

fn address_in(folder: &Path) -> String {
    format!("unix:path={}", folder.join("socket").display())
}

/// check, address, state, reason, since, weight
type Row = (String, String, String, String, u64, i32);

/// What the fake checkd knows, and what it was asked.
#[derive(Default)]
struct Knowledge {
    states: BTreeMap<(String, String), String>,
    /// What a check gives a server as its weight.
    weights: BTreeMap<(String, String), i32>,
    /// Of whole machines, whatever is asked of them.
    hosts: BTreeMap<IpAddr, String>,
    watched: Vec<Vec<(String, String)>>,
    generation: u64,
    /// The last generation that went to the bus.
    sent: u64,
}

impl Knowledge {
    fn row(&self, check: &str, address: &str) -> Row {
        let state = self.states.get(&(check.to_owned(), address.to_owned()));
        let state =
            state.or_else(|| self.hosts.get(&host(address))).cloned().unwrap_or_else(|| "unknown".into());
        let weight = self.weights.get(&(check.to_owned(), address.to_owned())).copied().unwrap_or(-1);
        (check.to_owned(), address.to_owned(), state.clone(), format!("said {state}"), 1, weight)
    }
}

/// The machine of a target, which may be written without a port.
fn host(address: &str) -> IpAddr {
    let ip = address.parse::<SocketAddr>().map(|address| address.ip()).or_else(|_| address.parse());
    ip.unwrap_or_else(|_| panic!("'{address}' is not the address of a target"))
}

/// A checkd that says what it is told to say.
pub(crate) struct FakeCheckd {
    knowledge: Arc<Mutex<Knowledge>>,
    changes: Option<Sender<(u64, Vec<Row>)>>,
    thread: Option<JoinHandle<()>>,
}

struct Manager(Arc<Mutex<Knowledge>>);

#[interface(name = "org.trivet.Check1.Manager")]
impl Manager {
    #[zbus(out_args("generation", "answers"))]
    fn watch(&self, targets: Vec<(String, String)>) -> (u64, Vec<Row>) {
        let mut knowledge = self.0.lock().unwrap();
        let rows = targets.iter().map(|(check, address)| knowledge.row(check, address)).collect();
        knowledge.watched.push(targets);
        (knowledge.generation, rows)
    }
}

impl FakeCheckd {
    pub(crate) fn new(bus: &Bus) -> Self {
        let mut fake = Self { knowledge: Arc::default(), changes: None, thread: None };
        fake.start(bus);
        fake
    }

    /// Appear on the bus, with what was said before.
    pub(crate) fn start(&mut self, bus: &Bus) {
        let (changes, receiver) = channel();
        let (address, knowledge) = (bus.address(), Arc::clone(&self.knowledge));
        self.changes = Some(changes);
        let serve = move || zbus::block_on(serve(address, knowledge, receiver)).expect("the bus is there");
        self.thread = Some(std::thread::spawn(serve));
    }

    /// Leave the bus.
    pub(crate) fn stop(&mut self) {
        self.changes = None;
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn say(&self, check: &str, address: &str, state: &str) {
        let mut knowledge = self.knowledge.lock().unwrap();
        knowledge.states.insert((check.to_owned(), address.to_owned()), state.to_owned());
        knowledge.generation += 1;
        self.announce(knowledge.generation, vec![knowledge.row(check, address)]);
    }

    /// That a server is up, with what its check gives it as its weight; -1: nothing.
    pub(crate) fn say_weight(&self, check: &str, address: &str, weight: i32) {
        let target = (check.to_owned(), address.to_owned());
        self.knowledge.lock().unwrap().weights.insert(target, weight);
        self.say(check, address, "up");
    }

    /// As [`FakeCheckd::say_of_hosts`], to be said when somebody asks.
    pub(crate) fn learn_of_hosts(&self, hosts: &[(IpAddr, &str)]) {
        let mut knowledge = self.knowledge.lock().unwrap();
        knowledge.hosts.extend(hosts.iter().map(|(host, state)| (*host, (*state).to_owned())));
    }

    /// Everything that is asked of these machines has this answer, from now on and in one batch.
    pub(crate) fn say_of_hosts(&self, hosts: &[(IpAddr, &str)]) {
        self.learn_of_hosts(hosts);
        let mut knowledge = self.knowledge.lock().unwrap();
        let asked = knowledge.watched.last().cloned().unwrap_or_default();
        let is_meant = |address: &str| hosts.iter().any(|(meant, _)| *meant == host(address));
        let rows = asked.iter().filter(|(_, address)| is_meant(address));
        let rows = rows.map(|(check, address)| knowledge.row(check, address)).collect();
        knowledge.generation += 1;
        self.announce(knowledge.generation, rows);
    }

    /// Announce a change that is older than the last answer to `Watch`.
    pub(crate) fn say_late(&self, check: &str, address: &str, state: &str) {
        let generation = self.knowledge.lock().unwrap().generation;
        let row =
            (check.to_owned(), address.to_owned(), state.to_owned(), format!("said {state} late"), 1, -1);
        self.announce(generation, vec![row]);
    }

    fn announce(&self, generation: u64, rows: Vec<Row>) {
        if let Some(changes) = &self.changes {
            changes.send((generation, rows)).unwrap();
        }
    }

    /// Until everything that was said is on the bus.
    pub(crate) fn wait_until_sent(&self) {
        let is_sent = |knowledge: &Knowledge| knowledge.sent == knowledge.generation;
        wait_for("what was said", || is_sent(&self.knowledge.lock().unwrap()).then_some(()));
    }

    /// Every set that was registered, in order.
    pub(crate) fn watched(&self) -> Vec<Vec<(String, String)>> {
        self.knowledge.lock().unwrap().watched.clone()
    }
}

impl Drop for FakeCheckd {
    fn drop(&mut self) {
        self.changes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    address: String,
    knowledge: Arc<Mutex<Knowledge>>,
    changes: Receiver<(u64, Vec<Row>)>,
) -> zbus::Result<()> {
    let connection = connection::Builder::address(address.as_str())
        .serve_at("/org/trivet/Check1", Manager(Arc::clone(&knowledge)))
        .name("org.trivet.Check1")
        .build()
        .await?;
    loop {
        match changes.try_recv() {
            Ok(body) => {
                let interface = "org.trivet.Check1.Manager";
                let path = "/org/trivet/Check1";
                connection.emit_signal(None::<&str>, path, interface, "HealthChanged", &body).await?;
                knowledge.lock().unwrap().sent = body.0;
            }
            Err(std::sync::mpsc::TryRecvError::Empty) => daemon::bus::pause(GLANCE).await,
            Err(std::sync::mpsc::TryRecvError::Disconnected) => return connection.close().await,
        }
    }
}

/// The daemon, as a process.
pub(crate) struct Ipvsd {
    process: Child,
    log: PathBuf,
    notify: UnixDatagram,
}

impl Ipvsd {
    pub(crate) fn start(root: &TempRoot, bus: &Bus) -> Self {
        Self::start_under(&[], root, bus)
    }

    /// As the last argument of a command that becomes the daemon, such as `strace -D`.
    pub(crate) fn start_under(command: &[&str], root: &TempRoot, bus: &Bus) -> Self {
        let log = root.path().join("log");
        let file = File::options().append(true).create(true).open(&log).unwrap();
        // With somebody who listens to it, ipvsd logs to stderr, even on a machine with a journal.
        let socket = root.path().join("notify");
        let _ = std::fs::remove_file(&socket);
        let notify = UnixDatagram::bind(&socket).unwrap();
        notify.set_nonblocking(true).unwrap();
        let mut words = command.iter().map(PathBuf::from).chain([program()]);
        let process = Command::new(words.next().expect("at least the daemon"))
            .args(words)
            .arg("--root")
            .arg(root.path())
            .env("DBUS_SYSTEM_BUS_ADDRESS", bus.address())
            .env("NOTIFY_SOCKET", socket)
            .env_remove("JOURNAL_STREAM")
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("ipvsd can be run");
        Self { process, log, notify }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn wait_for_log(&self, part: &str) {
        let found = || self.log().contains(part).then_some(());
        wait_for(&format!("{part:?} in the log:\n{}", self.log()), found);
    }

    /// The next thing that systemd would be told, if there is one.
    pub(crate) fn notified(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.notify.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned())
    }

    /// Before that a signal may find nobody who listens.
    pub(crate) fn wait_until_ready(&self) {
        wait_for("the word to systemd that ipvsd is ready", || {
            self.notified().filter(|text| text.contains("READY=1"))
        });
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).unwrap())
    }

    /// End it as systemd does; what it ended with.
    pub(crate) fn stop(mut self) -> std::process::ExitStatus {
        self.signal(Signal::SIGTERM);
        self.process.wait().unwrap()
    }
}

impl Drop for Ipvsd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of ipvsd ---\n{}", self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// `ipvsd --check`: what it ends with, and what it says.
pub(crate) fn check(root: &TempRoot) -> (Option<i32>, String) {
    let output = Command::new(program()).arg("--check").arg("--root").arg(root.path()).output();
    let output = output.expect("ipvsd can be run");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

/// Where the machine has the programs to test, if it says so; else where cargo built it.
fn program() -> PathBuf {
    let installed = std::env::var_os("TRIVET_BIN").map(|folder| PathBuf::from(folder).join("ipvsd"));
    installed.unwrap_or_else(|| env!("CARGO_BIN_EXE_ipvsd").into())
}
