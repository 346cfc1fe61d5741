//! What an operator sees: every service and server with what it is doing and why, without reading logs.
//!
//! Pure; `bus.rs` shows it, and the daemon's one-line status is made here.

use crate::director::{Director, Kernel};
use crate::health::{Source, Verdict};
use crate::service::{Admission, Health, RealServer, VirtualService};
use crate::table::{Connections, ServiceKey};

/// Everything that is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub services: Vec<ServiceStatus>,
    /// Why the kernel's table cannot be used; empty if it can.
    pub kernel_fault: String,
    /// Why checkd cannot be heard; empty if it can.
    pub checkd_fault: String,
    /// How often a service of ours was put right after others had changed it.
    pub repairs: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    pub name: String,
    pub address: String,
    pub protocol: String,
    pub scheduler: String,
    pub forward: String,
    /// Empty: the servers are not checked.
    pub check: String,
    /// Seconds; 0: none.
    pub persistence: u32,
    pub state: State,
    pub reason: String,
    /// At least one server gets new connections from the kernel.
    pub has_quorum: bool,
    pub repairs: u64,
    pub last_repair: String,
    pub servers: Vec<ServerStatus>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The kernel could not be read yet, or not any more.
    Pending,
    /// It is in the kernel, with at least one server that gets new connections.
    Forwarding,
    /// It is in the kernel, and no server gets new connections.
    NoServers,
    /// The kernel refuses it, or a part of it.
    Failed,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Forwarding => "forwarding",
            Self::NoServers => "no-servers",
            Self::Failed => "failed",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    pub address: String,
    /// As configured.
    pub weight: u16,
    /// In the kernel; 0 if it is not there.
    pub effective_weight: u32,
    /// Whether it is in the kernel's table at all.
    pub in_table: bool,
    pub health: &'static str,
    pub reason: String,
    /// Microseconds of CLOCK_REALTIME of the last change of health; 0: never.
    pub since: u64,
    pub stale: bool,
    pub connections: Connections,
}

impl Status {
    pub fn of(director: &Director) -> Self {
        let services = director.settings.services.iter();
        Self {
            services: services.map(|(name, service)| service_status(director, name, service)).collect(),
            kernel_fault: kernel_fault(director),
            checkd_fault: checkd_fault(director),
            repairs: director.repairs.values().map(|repairs| repairs.count).sum(),
        }
    }

    /// For `systemctl status`: `3 services: 2 forwarding, 1 without servers`.
    pub fn summary(&self) -> String {
        let states = [
            (State::Forwarding, "forwarding"),
            (State::NoServers, "without servers"),
            (State::Failed, "failed"),
            (State::Pending, "pending"),
        ];
        let count = |state| self.services.iter().filter(|service| service.state == state).count();
        let parts: Vec<String> = states
            .into_iter()
            .map(|(state, word)| (count(state), word))
            .filter(|(number, _)| *number > 0)
            .map(|(number, word)| format!("{number} {word}"))
            .collect();
        let number = self.services.len();
        let mut text = format!("{number} service{}", if number == 1 { "" } else { "s" });
        if !parts.is_empty() {
            text = format!("{text}: {}", parts.join(", "));
        }
        for fault in [&self.kernel_fault, &self.checkd_fault] {
            if !fault.is_empty() {
                text = format!("{text}; {fault}");
            }
        }
        text
    }
}

fn kernel_fault(director: &Director) -> String {
    match &director.kernel {
        Kernel::Unread => "the kernel was not read yet".into(),
        Kernel::Fault(fault) => fault.0.clone(),
        Kernel::Read(_) => String::new(),
    }
}

fn checkd_fault(director: &Director) -> String {
    let needed = director.health.targets().next().is_some();
    match director.health.source() {
        Source::NeverHeard(reason) if needed && reason.is_empty() => "checkd was not heard yet".into(),
        Source::NeverHeard(reason) if needed => format!("checkd was not heard yet: {reason}"),
        Source::NeverHeard(_) | Source::Heard => String::new(),
        Source::Lost(reason) => reason.clone(),
    }
}

fn service_status(director: &Director, name: &str, service: &VirtualService) -> ServiceStatus {
    let key = service.key();
    let repairs = director.repairs.get(&key);
    let (state, reason) = state(director, service);
    ServiceStatus {
        name: name.to_owned(),
        address: service.address.to_string(),
        protocol: service.protocol.to_string(),
        scheduler: service.scheduler.clone(),
        forward: service.forward.to_string(),
        check: service.check.clone().unwrap_or_default(),
        persistence: service.persistence.unwrap_or(0),
        state,
        reason,
        has_quorum: usable_servers(director, service) > 0,
        repairs: repairs.map_or(0, |repairs| repairs.count),
        last_repair: repairs.map_or_else(String::new, |repairs| repairs.last.clone()),
        servers: service
            .servers
            .iter()
            .map(|(address, server)| server_status(director, service, &key, address, server))
            .collect(),
    }
}

fn state(director: &Director, service: &VirtualService) -> (State, String) {
    let Some(table) = director.table() else { return (State::Pending, kernel_fault(director)) };
    if let Some(refusal) = director.refusals.get(&service.key()) {
        return (State::Failed, refusal.reason.clone());
    }
    if !table.contains_key(&service.key()) {
        return (State::Pending, "about to be added".into());
    }
    let usable = usable_servers(director, service);
    let total = service.servers.len();
    if usable > 0 {
        return (State::Forwarding, format!("{usable} of {total} servers in use"));
    }
    let health = |address, server| director.health_of(service, address, server);
    let of = |wanted: fn(Health) -> bool| {
        service.servers.iter().filter(|(address, server)| wanted(health(address, server))).count()
    };
    let down = of(|health| matches!(health, Health::Down));
    let unknown = of(|health| matches!(health, Health::Unknown(_)));
    (State::NoServers, format!("of {total} servers {down} down, {unknown} waiting for their check"))
}

/// Servers that the kernel gives new connections; none while the kernel cannot be read.
fn usable_servers(director: &Director, service: &VirtualService) -> usize {
    let entry = director.table().and_then(|table| table.get(&service.key()));
    entry.map_or(0, |entry| entry.servers.values().filter(|server| server.weight > 0).count())
}

fn server_status(
    director: &Director,
    service: &VirtualService,
    key: &ServiceKey,
    address: &std::net::SocketAddr,
    server: &RealServer,
) -> ServerStatus {
    let in_kernel = director.table().and_then(|table| table.get(key)?.servers.get(address));
    let connections = match &director.kernel {
        Kernel::Read(dump) => dump.connections.get(&(*key, *address)).copied().unwrap_or_default(),
        Kernel::Unread | Kernel::Fault(_) => Connections::default(),
    };
    let known = director.known(address, server);
    let heard = matches!(director.health.source(), Source::Heard);
    ServerStatus {
        address: address.to_string(),
        weight: server.weight,
        effective_weight: in_kernel.map_or(0, |server| server.weight),
        in_table: in_kernel.is_some(),
        health: known.map_or("unchecked", |known| known.verdict.word()),
        reason: reason(director, service, address, server),
        since: known.map_or(0, |known| known.since),
        stale: known.is_some_and(|known| known.stale || !heard),
        connections,
    }
}

/// Why a server's health is what it is, and what follows where that is not plain.
fn reason(
    director: &Director,
    service: &VirtualService,
    address: &std::net::SocketAddr,
    server: &RealServer,
) -> String {
    let Some(known) = director.known(address, server) else { return "no check is configured".into() };
    if known.verdict != Verdict::Unknown {
        return known.reason.clone();
    }
    let why = if known.reason.is_empty() { "no answer yet".to_owned() } else { known.reason.clone() };
    match director.health_of(service, address, server) {
        Health::Unknown(Admission::Admitted) => format!("{why}; in use until there is an answer"),
        Health::Unknown(Admission::Idle) => format!("{why}; left at weight 0 as it was found"),
        Health::Unknown(Admission::Withheld) => format!("{why}; not in use until there is an answer"),
        Health::Unchecked | Health::Up(_) | Health::Down => why,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::director::scene::{Scene, key, server_address, service, settings, web};
    use crate::director::{Event, Fault};
    use crate::health::Verdict::{Down, Unknown, Up};
    use crate::table::{Change, Dump};

    fn of(scene: &Scene) -> ServiceStatus {
        Status::of(&scene.director).services.remove(0)
    }

    #[test]
    fn a_service_says_what_it_does_and_why() {
        let mut scene = Scene::new(web());
        assert_eq!(
            (of(&scene).state, of(&scene).reason.as_str()),
            (State::Pending, "the kernel was not read yet")
        );
        assert!(!of(&scene).has_quorum);
        scene.event(Event::Started);
        assert!(!of(&scene).has_quorum);
        assert_eq!(of(&scene).state, State::NoServers);
        assert_eq!(of(&scene).reason, "of 2 servers 0 down, 2 waiting for their check");
        scene.answer(&[(101, Up), (102, Down)]);
        scene.turn();
        assert_eq!(
            (of(&scene).state, of(&scene).reason.as_str()),
            (State::Forwarding, "1 of 2 servers in use")
        );
        assert!(of(&scene).has_quorum);
        scene.fault = Some(Fault("the kernel has no IPVS: modprobe ip_vs".into()));
        scene.pass(Duration::from_secs(1));
        assert_eq!(of(&scene).state, State::Pending);
        assert_eq!(of(&scene).reason, "the kernel has no IPVS: modprobe ip_vs");
        assert!(!of(&scene).has_quorum, "a director that cannot forward is none");
        let summary = Status::of(&scene.director).summary();
        assert_eq!(summary, "1 service: 1 pending; the kernel has no IPVS: modprobe ip_vs");
    }

    #[test]
    fn a_service_that_the_kernel_refuses_says_so() {
        let mut scene = Scene::new(settings(&[("web", service(50, &[101]))]));
        scene.refuse =
            |change| matches!(change, Change::NewService { .. }).then_some(nix::errno::Errno::ENOENT);
        let scene = scene.started();
        assert_eq!(of(&scene).state, State::Failed);
        assert_eq!(of(&scene).reason, "the kernel has no scheduler 'rr': modprobe ip_vs_rr");
    }

    #[test]
    fn a_server_says_what_its_check_said_and_what_follows() {
        let mut scene = Scene::new(web()).started();
        scene.answer(&[(101, Down)]);
        let [first, second] = &of(&scene).servers[..] else { panic!("two servers") };
        assert_eq!(
            (first.health, first.reason.as_str(), first.in_table),
            ("down", "connection refused", false)
        );
        assert_eq!(second.reason, "no answer yet; not in use until there is an answer");
        scene.answer(&[(102, Unknown)]);
        scene.pass(Duration::from_secs(11));
        let second = &of(&scene).servers[1];
        assert_eq!((second.health, second.effective_weight, second.in_table), ("unknown", 1, true));
        assert_eq!(second.reason, "connection refused; in use until there is an answer");
        assert!(!second.stale);
        scene.event(Event::SourceLost("checkd has left the bus".into()));
        let status = Status::of(&scene.director);
        assert!(status.services[0].servers.iter().all(|server| server.stale));
        assert_eq!(status.checkd_fault, "checkd has left the bus");
    }

    #[test]
    fn connections_are_those_of_the_last_reading() {
        let mut scene = Scene::new(web()).started();
        scene.answer(&[(101, Up)]);
        scene.turn();
        let counts = Connections { active: 3, inactive: 4, persistent: 0 };
        let connections = [((key(50), server_address(101)), counts)].into();
        let dump = Dump { table: scene.table.clone(), connections };
        scene.event(Event::Dumped { result: Ok(dump), took: Duration::ZERO });
        assert_eq!(of(&scene).servers[0].connections, counts);
        assert_eq!(of(&scene).servers[1].connections, Connections::default());
    }
}
