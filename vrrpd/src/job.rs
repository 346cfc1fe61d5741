//! What systemd has in mind with us when it sends SIGTERM: to stop us, or to start us again at once.
//!
//! systemd says so in the job of our own unit (the unit's property Job, the job's JobType), which it has while it
//! waits for our end: "restart" during the first half of `systemctl restart`, try-restart and a package's upgrade.
//! Asked on a thread and a connection of its own: the loop goes on, and the bus may be gone.

use std::io;
use std::thread;
use std::time::Duration;

use daemon::queue::{Receiver, queue};
use zbus::{OwnedObjectPath, connection, proxy};

/// Stack of the thread, bytes.
const STACK: usize = 512 * 1024;
/// For each of the calls; the loop waits less.
const CALL: Duration = Duration::from_secs(1);

/// What a stop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Stop,
    /// The first half of a restart.
    Restart,
}

#[proxy(
    interface = "org.freedesktop.systemd1.Manager",
    default_service = "org.freedesktop.systemd1",
    default_path = "/org/freedesktop/systemd1"
)]
trait Manager {
    #[zbus(name = "GetUnitByPID")]
    fn get_unit_by_pid(&self, pid: u32) -> zbus::Result<OwnedObjectPath>;
}

#[proxy(interface = "org.freedesktop.systemd1.Unit", default_service = "org.freedesktop.systemd1")]
trait Unit {
    /// Number and object; 0 and "/" if there is none.
    #[zbus(property(emits_changed_signal = "false"))]
    fn job(&self) -> zbus::Result<(u32, OwnedObjectPath)>;
}

#[proxy(interface = "org.freedesktop.systemd1.Job", default_service = "org.freedesktop.systemd1")]
trait Job {
    #[zbus(property(emits_changed_signal = "false"))]
    fn job_type(&self) -> zbus::Result<String>;
}

/// Ask; the answer comes through the queue, or never.
///
/// # Errors
/// If the thread cannot be started.
pub fn ask() -> io::Result<Receiver<Meaning>> {
    let (sender, answer) = queue(1)?;
    thread::Builder::new().name("job".into()).stack_size(STACK).spawn(move || {
        let meaning = zbus::block_on(meaning()).unwrap_or_else(|error| {
            log::debug!("systemd does not say whether this is a restart: {error}, taking it for a stop");
            Meaning::Stop
        });
        let _ = sender.send(meaning);
    })?;
    Ok(answer)
}

async fn meaning() -> zbus::Result<Meaning> {
    let bus = connection::Builder::system().method_timeout(CALL).build().await?;
    // 0: the unit of whoever asks.
    let unit = ManagerProxy::new(&bus).await?.get_unit_by_pid(0).await?;
    let (number, job) = UnitProxy::builder(&bus).path(unit).build().await?.job().await?;
    if number == 0 {
        return Ok(Meaning::Stop);
    }
    let kind = JobProxy::builder(&bus).path(job).build().await?.job_type().await?;
    Ok(if kind == "restart" { Meaning::Restart } else { Meaning::Stop })
}
