//! A bus of its own, and on it a checkd that says what it is told to: what checks cost is no part of this.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use trivet_tests::clock::{PATIENCE, wait};
use zbus::{Connection, connection, interface};

const PATH: &str = "/org/trivet/Check1";
const INTERFACE: &str = "org.trivet.Check1.Manager";
/// Rows of one signal.
const ROWS: usize = 4_096;

/// check, address, state, reason, since, weight
type Row = (String, String, String, String, u64, i32);

#[derive(Debug)]
pub(crate) struct Bus {
    process: Child,
    pub(crate) address: String,
}

impl Bus {
    pub(crate) fn start(directory: &Path) -> Self {
        let socket = directory.join("bus");
        let address = format!("unix:path={}", socket.display());
        let config = format!(
            "<busconfig><type>system</type><listen>{address}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
             <allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/>\
             </policy></busconfig>"
        );
        let file = directory.join("bus.conf");
        std::fs::write(&file, config).expect("writing the bus's configuration");
        let mut command = Command::new("dbus-daemon");
        command.args(["--nofork", "--nosyslog"]).arg(format!("--config-file={}", file.display()));
        let process = command.stdin(Stdio::null()).spawn().expect("running dbus-daemon");
        wait("the bus", PATIENCE, || std::os::unix::net::UnixStream::connect(&socket).ok());
        Self { process, address }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[derive(Debug, Default)]
struct Knowledge {
    generation: u64,
    watched: usize,
}

#[derive(Debug)]
pub(crate) struct Checkd {
    connection: Connection,
    knowledge: Arc<Mutex<Knowledge>>,
}

struct Manager(Arc<Mutex<Knowledge>>);

#[interface(name = "org.trivet.Check1.Manager")]
impl Manager {
    /// All are up: nobody asks while that is not so.
    #[zbus(out_args("generation", "answers"))]
    fn watch(&self, targets: Vec<(String, String)>) -> (u64, Vec<Row>) {
        let mut knowledge = self.0.lock().expect("no panic while locked");
        knowledge.watched = targets.len();
        let rows = targets.into_iter().map(|(check, address)| row(check, address, true)).collect();
        (knowledge.generation, rows)
    }
}

fn row(check: String, address: String, up: bool) -> Row {
    let (state, reason) = if up { ("up", "") } else { ("down", "connection refused") };
    (check, address, state.into(), reason.into(), 1, -1)
}

impl Checkd {
    pub(crate) fn start(bus: &Bus) -> Self {
        let knowledge = Arc::new(Mutex::new(Knowledge::default()));
        let manager = Manager(Arc::clone(&knowledge));
        let connection = zbus::block_on(async {
            connection::Builder::address(bus.address.as_str())
                .serve_at(PATH, manager)
                .name("org.trivet.Check1")
                .build()
                .await
        });
        Self { connection: connection.expect("the bus is there"), knowledge }
    }

    /// How many servers it was asked to watch.
    pub(crate) fn watched(&self) -> usize {
        self.knowledge.lock().expect("no panic while locked").watched
    }

    /// All of these are so now.
    pub(crate) fn say(&self, targets: &[String], up: bool) {
        for part in targets.chunks(ROWS) {
            let rows: Vec<Row> = part.iter().map(|address| row("tcp".into(), address.clone(), up)).collect();
            let generation = {
                let mut knowledge = self.knowledge.lock().expect("no panic while locked");
                knowledge.generation += 1;
                knowledge.generation
            };
            let body = (generation, rows);
            zbus::block_on(self.connection.emit_signal(
                None::<&str>,
                PATH,
                INTERFACE,
                "HealthChanged",
                &body,
            ))
            .expect("the bus is there");
        }
    }
}
