//! A client of `org.trivet.Check1`, as ipvsd is one: calls Watch, hears HealthChanged.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use daemon::bus::path_element;
use futures_util::StreamExt;
use zbus::fdo::PropertiesProxy;
use zbus::{Connection, proxy};

use super::{PATIENCE, World, until};

/// (check, address, state, reason, since, weight)
pub type Row = (String, String, String, String, u64, i32);
pub type Batch = (u64, Vec<Row>);

#[proxy(
    interface = "org.trivet.Check1.Manager",
    default_service = "org.trivet.Check1",
    default_path = "/org/trivet/Check1"
)]
trait Manager {
    fn watch(&self, targets: &[(&str, &str)]) -> zbus::Result<(u64, Vec<Row>)>;

    #[zbus(signal)]
    fn health_changed(&self, generation: u64, changed: Vec<Row>) -> zbus::Result<()>;

    #[zbus(property(emits_changed_signal = "false"))]
    fn watchers(&self) -> zbus::Result<u32>;

    #[zbus(property(emits_changed_signal = "false"))]
    fn targets_up(&self) -> zbus::Result<u32>;
}

#[proxy(interface = "org.trivet.Check1.Check", default_service = "org.trivet.Check1")]
trait Check {
    fn probe(&self, address: &str) -> zbus::Result<(String, String, u64)>;

    #[zbus(property(emits_changed_signal = "false"))]
    fn targets(&self) -> zbus::Result<Vec<std::collections::HashMap<String, zbus::OwnedVariant>>>;
}

pub struct Watcher {
    connection: Connection,
    manager: ManagerProxy<'static>,
    changes: Receiver<Batch>,
}

impl Watcher {
    /// On the world's bus, once checkd is there.
    pub fn new(world: &World) -> Self {
        let address = world.bus_address();
        until("checkd on the bus", || {
            let connect = async {
                let connection = zbus::connection::Builder::address(address.as_str())
                    .method_timeout(PATIENCE)
                    .build()
                    .await?;
                let manager = ManagerProxy::new(&connection).await?;
                manager.watchers().await?;
                Ok::<_, zbus::Error>((connection, manager))
            };
            let (connection, manager) = zbus::block_on(connect).ok()?;
            let changes = listen(&manager);
            Some(Self { connection, manager, changes })
        })
    }

    pub fn watch(&self, targets: &[(&str, &str)]) -> (u64, Vec<Row>) {
        zbus::block_on(self.manager.watch(targets)).unwrap()
    }

    /// Checkd may not be there.
    pub fn try_watch(&self, targets: &[(&str, &str)]) -> zbus::Result<(u64, Vec<Row>)> {
        zbus::block_on(self.manager.watch(targets))
    }

    /// All rows that were told until now and not looked at.
    pub fn told(&self) -> Vec<Row> {
        self.changes.try_iter().flat_map(|(_, rows)| rows).collect()
    }

    /// How many targets are up.
    pub fn up(&self) -> u32 {
        zbus::block_on(self.manager.targets_up()).unwrap()
    }

    /// How many watchers there are.
    pub fn watchers(&self) -> u32 {
        zbus::block_on(self.manager.watchers()).unwrap()
    }

    /// The next HealthChanged.
    pub fn next(&self) -> Batch {
        self.changes.recv_timeout(PATIENCE).expect("another HealthChanged")
    }

    /// Take in changes until one row fits.
    pub fn wait_for(&self, check: &str, address: &str, state: &str) -> Row {
        loop {
            let (_, rows) = self.next();
            let fits = |row: &&Row| row.0 == check && row.1 == address && row.2 == state;
            if let Some(row) = rows.iter().find(fits) {
                return row.clone();
            }
        }
    }

    /// Watch these: the state and reason that each gets first, by its address.
    pub fn first_states(&self, targets: &[(&str, &str)]) -> BTreeMap<String, (String, String)> {
        let mut states = BTreeMap::new();
        self.watch(targets);
        while states.len() < targets.len() {
            let (_, rows) = self.next();
            for (_, address, state, reason, _, _) in rows {
                if state != "unknown" {
                    states.entry(address).or_insert((state, reason));
                }
            }
        }
        states
    }

    pub fn probe(&self, check: &str, address: &str) -> zbus::Result<(String, String, u64)> {
        zbus::block_on(async {
            let path = format!("/org/trivet/Check1/check/{}", path_element(check));
            CheckProxy::builder(&self.connection).path(path).build().await?.probe(address).await
        })
    }

    /// Of each PropertiesChanged of this check from now on: which of its properties read differently.
    pub fn invalidations(&self, check: &str) -> Receiver<Vec<String>> {
        let path = format!("/org/trivet/Check1/check/{}", path_element(check));
        let mut changes = zbus::block_on(async {
            let properties = PropertiesProxy::builder(&self.connection).destination("org.trivet.Check1");
            properties.path(path).build().await?.receive_properties_changed().await
        })
        .unwrap();
        let (sender, receiver) = channel();
        thread::spawn(move || {
            zbus::block_on(async {
                while let Some(change) = changes.next().await {
                    let names = change
                        .args()
                        .unwrap()
                        .invalidated_properties()
                        .iter()
                        .map(ToString::to_string)
                        .collect();
                    if sender.send(names).is_err() {
                        return;
                    }
                }
            });
        });
        receiver
    }

    pub fn targets(&self, check: &str) -> Vec<std::collections::HashMap<String, zbus::OwnedVariant>> {
        let path = format!("/org/trivet/Check1/check/{}", path_element(check));
        let targets =
            async { CheckProxy::builder(&self.connection).path(path).build().await?.targets().await };
        zbus::block_on(targets).unwrap()
    }
}

impl Drop for Watcher {
    /// Leaves the bus, although the listening thread still holds the connection.
    fn drop(&mut self) {
        let _ = zbus::block_on(self.connection.clone().close());
    }
}

fn listen(manager: &ManagerProxy<'static>) -> Receiver<Batch> {
    let (sender, receiver) = channel();
    let mut signals = zbus::block_on(manager.receive_health_changed()).unwrap();
    thread::spawn(move || {
        zbus::block_on(async {
            while let Some(signal) = signals.next().await {
                let arguments = signal.args().unwrap();
                if sender.send((*arguments.generation(), arguments.changed().clone())).is_err() {
                    return;
                }
            }
        });
    });
    receiver
}
