//! The kernel's connection synchronisation: threads that send this director's connections to another one, or take
//! that one's over, so that they survive a failover. Which of them should run is decided here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// `[sync]` of ipvsd.toml.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SyncSettings {
    /// Not configured: whatever runs is left alone.
    #[default]
    Unmanaged,
    Managed {
        link: Link,
        role: Role,
    },
}

/// Where and how the two directors meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// `IPVS_DAEMON_ATTR_MCAST_IFN`, at most 15 bytes.
    pub interface: Arc<str>,
    /// Directors with the same number exchange connections: 0 to 255.
    pub id: u8,
    /// Bytes of a message; 0: as much as the interface takes.
    pub max_length: u16,
    /// The multicast group; `None`: 224.0.0.81.
    pub group: Option<IpAddr>,
    /// 0: 8848.
    pub port: u16,
    /// Hops of multicast; 0: 1.
    pub ttl: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    Both,
    Master,
    Backup,
    /// Master while this virtual router of vrrpd is Active here, else backup.
    Follow(Arc<str>),
}

/// `IP_VS_STATE_MASTER` and `IP_VS_STATE_BACKUP`
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SyncState {
    Master,
    Backup,
}

impl SyncState {
    pub fn number(self) -> u32 {
        match self {
            Self::Master => 1,
            Self::Backup => 2,
        }
    }

    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Master, Self::Backup].into_iter().find(|state| state.number() == number)
    }
}

impl fmt::Display for SyncState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Master => "master",
            Self::Backup => "backup",
        })
    }
}

/// The threads that run, or should run, with their link.
pub type Daemons = BTreeMap<SyncState, Link>;

/// One step from some threads to others; each is one request to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncChange {
    Start(SyncState, Link),
    Stop(SyncState),
}

impl SyncChange {
    pub fn apply_to(&self, daemons: &mut Daemons) {
        match self {
            Self::Start(state, link) => drop(daemons.insert(*state, link.clone())),
            Self::Stop(state) => drop(daemons.remove(state)),
        }
    }
}

impl fmt::Display for SyncChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(state, link) => {
                write!(f, "start sync daemon {state} on {} (id {})", link.interface, link.id)
            }
            Self::Stop(state) => write!(f, "stop sync daemon {state}"),
        }
    }
}

impl SyncSettings {
    /// The virtual router that the role follows.
    pub fn followed(&self) -> Option<Arc<str>> {
        match self {
            Self::Managed { role: Role::Follow(router), .. } => Some(Arc::clone(router)),
            Self::Managed { role: Role::Both | Role::Master | Role::Backup, .. } | Self::Unmanaged => None,
        }
    }

    /// What should run; `None`: whatever does. `is_active`: of a virtual router, if that is known.
    pub fn desired(&self, is_active: impl Fn(&str) -> Option<bool>, running: &Daemons) -> Option<Daemons> {
        let Self::Managed { link, role } = self else { return None };
        let states: &[SyncState] = match role {
            Role::Both => &[SyncState::Master, SyncState::Backup],
            Role::Master => &[SyncState::Master],
            Role::Backup => &[SyncState::Backup],
            Role::Follow(router) => match is_active(router) {
                Some(true) => &[SyncState::Master],
                Some(false) => &[SyncState::Backup],
                // A role that is not known is no reason to end one; at first both directors can only listen.
                None if running.contains_key(&SyncState::Master) => &[SyncState::Master],
                None => &[SyncState::Backup],
            },
        };
        Some(states.iter().map(|state| (*state, link.clone())).collect())
    }
}

/// The steps from `running` to `desired`, in order: what ends ends first, since the kernel takes one of each kind.
pub fn changes(desired: &Daemons, running: &Daemons) -> Vec<SyncChange> {
    let is_same = |state: &SyncState, link: &Link| desired.get(state).is_some_and(|wanted| wanted.is(link));
    let ending = running.iter().filter(|(state, link)| !is_same(state, link));
    let stops = ending.map(|(state, _)| SyncChange::Stop(*state));
    let is_running = |state: &SyncState| running.get(state).is_some_and(|link| is_same(state, link));
    let starting = desired.iter().filter(|(state, _)| !is_running(state));
    stops.chain(starting.map(|(state, link)| SyncChange::Start(*state, link.clone()))).collect()
}

impl Link {
    /// Whether a running thread has this link: what we leave to the kernel may be anything.
    fn is(&self, running: &Self) -> bool {
        let is_free = |ours: bool, equal: bool| ours || equal;
        self.interface == running.interface
            && self.id == running.id
            && is_free(self.max_length == 0, self.max_length == running.max_length)
            && is_free(self.group.is_none(), self.group == running.group)
            && is_free(self.port == 0, self.port == running.port)
            && is_free(self.ttl == 0, self.ttl == running.ttl)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        Link { interface: "eth1".into(), id: 7, max_length: 0, group: None, port: 0, ttl: 0 }
    }

    fn running(state: SyncState) -> Daemons {
        let group = Some("224.0.0.81".parse().unwrap());
        Daemons::from([(state, Link { group, port: 8848, ttl: 1, max_length: 1460, ..link() })])
    }

    fn follow() -> SyncSettings {
        SyncSettings::Managed { link: link(), role: Role::Follow("gateway".into()) }
    }

    #[test]
    fn what_runs_as_wanted_is_left_running_with_whatever_the_kernel_chose() {
        let wanted = follow().desired(|_| Some(true), &Daemons::new()).unwrap();
        assert_eq!(changes(&wanted, &running(SyncState::Master)), []);
        assert_eq!(SyncSettings::Unmanaged.desired(|_| Some(true), &running(SyncState::Master)), None);
    }

    #[test]
    fn a_role_follows_the_virtual_router_and_stays_while_that_is_unknown() {
        let of = |state| follow().desired(|_| None, &running(state)).unwrap();
        assert!(of(SyncState::Master).contains_key(&SyncState::Master));
        assert!(of(SyncState::Backup).contains_key(&SyncState::Backup));
        let wanted = follow().desired(|_| Some(false), &running(SyncState::Master)).unwrap();
        assert_eq!(
            changes(&wanted, &running(SyncState::Master)),
            [SyncChange::Stop(SyncState::Master), SyncChange::Start(SyncState::Backup, link())]
        );
    }

    #[test]
    fn another_interface_or_number_is_another_daemon() {
        let both = SyncSettings::Managed { link: Link { id: 8, ..link() }, role: Role::Both };
        let wanted = both.desired(|_| None, &Daemons::new()).unwrap();
        let steps: Vec<String> =
            changes(&wanted, &running(SyncState::Backup)).iter().map(ToString::to_string).collect();
        assert_eq!(
            steps,
            [
                "stop sync daemon backup",
                "start sync daemon master on eth1 (id 8)",
                "start sync daemon backup on eth1 (id 8)"
            ]
        );
    }
}
