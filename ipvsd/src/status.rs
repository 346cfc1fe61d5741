//! What an operator sees: every service and server with what it is doing and why, without reading logs.
//!
//! Pure; `bus.rs` shows it, and the daemon's one-line status is made here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::director::{Director, Kernel, Run};
use crate::health::{Source, Verdict};
use crate::orders::{Command, Order, Orders};
use crate::posture::{Admission, Health, Share, Stand};
use crate::service::{Backend, RealServer, VirtualService};
use crate::table::{Entry, Server};

/// Everything that is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub services: BTreeMap<Arc<str>, Arc<ServiceStatus>>,
    pub faults: Faults,
}

/// What is wrong with the whole of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Why the kernel's table cannot be used; empty if it can.
    pub kernel: String,
    /// Why checkd cannot be heard; empty if it can.
    pub checkd: String,
    /// What else could not be set in the kernel, and which files could not be read or written, and why.
    pub unset: Vec<String>,
    /// What was ordered about servers that are not configured.
    pub unseated: Arc<Orders>,
    /// How often a service of ours was put right after others had changed it.
    pub repairs: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceStatus {
    pub service: Arc<VirtualService>,
    pub state: State,
    pub reason: String,
    /// There are servers enough, and the kernel gives clients to one.
    pub has_quorum: bool,
    pub sorry_active: bool,
    pub repairs: u64,
    pub last_repair: String,
    pub servers: Box<[ServerStatus]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The kernel could not be read yet, or not any more.
    Pending,
    /// It is in the kernel, with at least one server that gets new connections.
    Forwarding,
    /// The sorry server answers.
    Sorry,
    /// It is in the kernel, and no server gets new connections.
    NoServers,
    /// Its virtual router is not Active here.
    Standby,
    /// The kernel refuses it, or a part of it.
    Failed,
}

impl State {
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Forwarding, "forwarding"),
        (Self::Sorry, "with a sorry server"),
        (Self::NoServers, "without servers"),
        (Self::Standby, "standing by"),
        (Self::Failed, "failed"),
        (Self::Pending, "pending"),
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Forwarding => "forwarding",
            Self::Sorry => "sorry",
            Self::NoServers => "no-servers",
            Self::Standby => "standby",
            Self::Failed => "failed",
        }
    }
}

/// There are tens of thousands of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerStatus {
    pub backend: Backend,
    /// As configured.
    pub weight: u16,
    /// In the kernel; 0 if it is not there.
    pub effective_weight: u32,
    /// Whether it is in the kernel's table at all.
    pub in_table: bool,
    /// `None`: nobody checks it.
    pub health: Option<Verdict>,
    pub reason: Arc<str>,
    /// Microseconds of CLOCK_REALTIME of the last change of health; 0: never.
    pub since: u64,
    pub stale: bool,
    /// What an operator ordered.
    pub order: Option<Box<Order>>,
}

impl ServerStatus {
    /// unchecked, unknown, up or down
    pub fn health(&self) -> &'static str {
        self.health.map_or("unchecked", Verdict::word)
    }
}

impl Status {
    /// Bring what is shown up to date with the services that may read differently. Whether anything does.
    pub fn update(&mut self, director: &mut Director, now: Instant) -> bool {
        let faults = Faults::of(director);
        let mut news = faults != self.faults;
        self.faults = faults;
        for name in director.take_touched() {
            let Some(run) = director.runs.get(&name) else {
                news |= self.services.remove(&name).is_some();
                continue;
            };
            let status = service_status(director, now, &name, run);
            if self.services.get(&name).is_none_or(|shown| **shown != status) {
                news = true;
                self.services.insert(name, Arc::new(status));
            }
        }
        news
    }

    /// For `systemctl status`: `3 services: 2 forwarding, 1 without servers`.
    pub fn summary(&self) -> String {
        let count = |state| self.services.values().filter(|service| service.state == state).count();
        let parts: Vec<String> = State::ALL
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
        for fault in [&self.faults.kernel, &self.faults.checkd].into_iter().chain(&self.faults.unset) {
            if !fault.is_empty() {
                text = format!("{text}; {fault}");
            }
        }
        text
    }
}

impl Faults {
    fn of(director: &Director) -> Self {
        Self {
            kernel: kernel_fault(director),
            checkd: checkd_fault(director),
            unset: director
                .unset
                .iter()
                .map(|(what, why)| format!("cannot set {what}: {why}"))
                .chain(director.file_faults())
                .collect(),
            unseated: Arc::clone(&director.unseated),
            repairs: director.repairs.values().map(|repairs| repairs.count).sum(),
        }
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

fn service_status(director: &Director, now: Instant, name: &Arc<str>, run: &Run) -> ServiceStatus {
    let service = &run.service;
    let repairs = || service.fronts.iter().filter_map(|front| director.repairs.get(front));
    let (state, reason) = state(director, run);
    let is_served = matches!(state, State::Forwarding | State::Sorry | State::Failed);
    ServiceStatus {
        service: Arc::clone(service),
        // Where it only waits for its virtual router it would have one: a router that tracks it must be able to rise.
        has_quorum: run.posture.has_quorum
            && (state == State::Standby || is_served && usable_in_kernel(director, run) > 0),
        sorry_active: state == State::Sorry,
        state,
        reason,
        repairs: repairs().map(|repairs| repairs.count).sum(),
        last_repair: repairs().next_back().map_or_else(String::new, |repairs| repairs.last.clone()),
        servers: service
            .servers
            .iter()
            .map(|(backend, server)| server_status(director, now, name, run, backend, server))
            .collect(),
    }
}

fn entries<'a>(director: &'a Director, service: &'a VirtualService) -> impl Iterator<Item = &'a Entry> {
    service.fronts.iter().filter_map(|front| director.table()?.get(front)).map(|entry| &**entry)
}

fn state(director: &Director, run: &Run) -> (State, String) {
    let service = &run.service;
    if director.table().is_none() {
        return (State::Pending, kernel_fault(director));
    }
    if let Some(refusal) = service.fronts.iter().find_map(|front| director.refusals.get(front)) {
        return (State::Failed, refusal.reason.clone());
    }
    if !director.is_here(service) {
        let router = service.while_active.as_deref().unwrap_or_default();
        return (State::Standby, format!("virtual router '{router}' is not Active here"));
    }
    if entries(director, service).count() < service.fronts.len() {
        return (State::Pending, "about to be added".into());
    }
    let usable = usable_in_kernel(director, run);
    let total = service.servers.len();
    if run.posture.stand == Stand::Sorry {
        let (weight, needed) = (run.posture.weight, service.quorum.weight);
        return (State::Sorry, format!("the sorry server answers: weight {weight} of {needed} is usable"));
    }
    if run.posture.stand == Stand::All && usable > 0 {
        return (State::Forwarding, format!("all {total} servers are down and used all the same"));
    }
    if usable > 0 {
        return (State::Forwarding, format!("{usable} of {total} servers in use"));
    }
    let of = |wanted: fn(Health) -> bool| {
        let health = |(backend, server)| director.health_of(run, backend, server);
        service.servers.iter().filter(|server| wanted(health(*server))).count()
    };
    let down = of(|health| matches!(health, Health::Down));
    let unknown = of(|health| matches!(health, Health::Unknown(_)));
    (State::NoServers, format!("of {total} servers {down} down, {unknown} waiting for their check"))
}

/// Servers that the kernel gives new connections, at the address that has the fewest; none while the kernel cannot be
/// read.
fn usable_in_kernel(director: &Director, run: &Run) -> usize {
    let usable = |entry: &Entry| entry.servers.values().filter(|server| server.weight > 0).count();
    let all = entries(director, &run.service).count() == run.service.fronts.len();
    if all { entries(director, &run.service).map(usable).min().unwrap_or(0) } else { 0 }
}

fn server_status(
    director: &Director,
    now: Instant,
    name: &Arc<str>,
    run: &Run,
    backend: &Backend,
    server: &RealServer,
) -> ServerStatus {
    let place = |front| director.table()?.get(front)?.servers.get(&backend.behind(front));
    let in_kernel: Option<&Server> = run.service.fronts.iter().find_map(place);
    let known = director.known(server);
    let heard = matches!(director.health.source(), Source::Heard);
    ServerStatus {
        backend: *backend,
        weight: server.weight,
        effective_weight: in_kernel.map_or(0, |server| server.weight),
        in_table: in_kernel.is_some(),
        health: known.map(|known| known.verdict),
        reason: reason(director, now, name, run, backend, server),
        since: known.map_or(0, |known| known.since),
        stale: known.is_some_and(|known| known.stale || !heard),
        order: director.orders.get(&(Arc::clone(name), *backend)).cloned().map(Box::new),
    }
}

/// Why a server's health is what it is, and what follows where that is not plain.
fn reason(
    director: &Director,
    now: Instant,
    name: &Arc<str>,
    run: &Run,
    backend: &Backend,
    server: &RealServer,
) -> Arc<str> {
    let why = match director.known(server) {
        None => UNCHECKED.with(Arc::clone),
        Some(known) if known.verdict == Verdict::Unknown && known.reason.is_empty() => {
            UNANSWERED.with(Arc::clone)
        }
        Some(known) => Arc::clone(&known.reason),
    };
    let standing = director.standing(now, name, run, backend, server);
    let more = match (standing.command, standing.health) {
        (Some(Command::Drain { .. }), _) => {
            let counts = director.connections(run, backend);
            let left = counts.active.saturating_add(counts.inactive);
            return format!("{why}; draining, {left} connections left").into();
        }
        (Some(Command::Disable), _) => "disabled",
        (Some(Command::Weight(_)) | None, Health::Unknown(Admission::Admitted | Admission::AsFound(_))) => {
            "in use until there is an answer"
        }
        (Some(Command::Weight(_)) | None, Health::Unknown(Admission::Idle)) => {
            "left at weight 0 as it was found"
        }
        (Some(Command::Weight(_)) | None, Health::Unknown(Admission::Withheld)) => {
            "not in use until there is an answer"
        }
        (Some(Command::Weight(_)) | None, Health::Up(_) | Health::Unchecked)
            if standing.share != Share::WHOLE =>
        {
            "starting slowly"
        }
        (Some(Command::Weight(_)) | None, Health::Unchecked | Health::Up(_) | Health::Down) => return why,
    };
    format!("{why}; {more}").into()
}

thread_local! {
    /// Thousands of servers share these.
    static UNCHECKED: Arc<str> = Arc::from("no check is configured");
    static UNANSWERED: Arc<str> = Arc::from("no answer yet");
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::director::scene::{Scene, service, settings, web};
    use crate::director::{Event, Fault};
    use crate::health::Verdict::{Down, Unknown, Up};
    use crate::table::Change;

    fn whole(scene: &mut Scene) -> Status {
        let (mut status, now) = (Status::default(), scene.now);
        scene.director.touch_all();
        status.update(&mut scene.director, now);
        status
    }

    fn of(scene: &mut Scene) -> Arc<ServiceStatus> {
        whole(scene).services.pop_first().unwrap().1
    }

    #[test]
    fn a_service_says_what_it_does_and_why() {
        let mut scene = Scene::new(web());
        assert_eq!(
            (of(&mut scene).state, of(&mut scene).reason.as_str()),
            (State::Pending, "the kernel was not read yet")
        );
        assert!(!of(&mut scene).has_quorum);
        scene.event(Event::Started);
        assert!(!of(&mut scene).has_quorum);
        assert_eq!(of(&mut scene).state, State::NoServers);
        assert_eq!(of(&mut scene).reason, "of 2 servers 0 down, 2 waiting for their check");
        scene.answer(&[(101, Up), (102, Down)]);
        scene.turn();
        assert_eq!(
            (of(&mut scene).state, of(&mut scene).reason.as_str()),
            (State::Forwarding, "1 of 2 servers in use")
        );
        assert!(of(&mut scene).has_quorum);
        scene.fault = Some(Fault("the kernel has no IPVS: modprobe ip_vs".into()));
        scene.pass(Duration::from_secs(2));
        assert_eq!(of(&mut scene).state, State::Pending);
        assert_eq!(of(&mut scene).reason, "the kernel has no IPVS: modprobe ip_vs");
        assert!(!of(&mut scene).has_quorum, "a director that cannot forward is none");
        let summary = whole(&mut scene).summary();
        assert_eq!(summary, "1 service: 1 pending; the kernel has no IPVS: modprobe ip_vs");
    }

    #[test]
    fn a_service_that_the_kernel_refuses_says_so() {
        let mut scene = Scene::new(settings(&[("web", service(50, &[101]))]));
        scene.refuse =
            |change| matches!(change, Change::NewService { .. }).then_some(nix::errno::Errno::ENOENT);
        let mut scene = scene.started();
        assert_eq!(of(&mut scene).state, State::Failed);
        assert_eq!(of(&mut scene).reason, "the kernel has no scheduler 'rr': modprobe ip_vs_rr");
    }

    #[test]
    fn a_server_says_what_its_check_said_and_what_follows() {
        let mut scene = Scene::new(web()).started();
        scene.answer(&[(101, Down)]);
        let [first, second] = &of(&mut scene).servers[..] else { panic!("two servers") };
        assert_eq!((first.health(), &*first.reason, first.in_table), ("down", "connection refused", false));
        assert_eq!(&*second.reason, "no answer yet; not in use until there is an answer");
        scene.answer(&[(102, Unknown)]);
        scene.pass(Duration::from_secs(11));
        let second = &of(&mut scene).servers[1];
        assert_eq!((second.health(), second.effective_weight, second.in_table), ("unknown", 1, true));
        assert_eq!(&*second.reason, "connection refused; in use until there is an answer");
        assert!(!second.stale);
        scene.event(Event::SourceLost("checkd has left the bus".into()));
        let status = whole(&mut scene);
        assert!(status.services["web"].servers.iter().all(|server| server.stale));
        assert_eq!(status.faults.checkd, "checkd has left the bus");
    }

    #[test]
    fn a_service_that_stands_by_has_the_quorum_that_it_would_have() {
        let mut service = service(50, &[101]);
        service.while_active = Some("gateway".into());
        let mut scene = Scene::new(settings(&[("web", service)])).started();
        scene.answer(&[(101, Up)]);
        scene.turn();
        let status = of(&mut scene);
        assert_eq!(
            (status.state, status.has_quorum),
            (State::Standby, true),
            "or a router that tracks it never rises"
        );
        scene.answer(&[(101, Down)]);
        assert!(!of(&mut scene).has_quorum);
    }
}
