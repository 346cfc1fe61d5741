//! One cell of the matrix: how a pair is set up, and what happens to it. Which cells there are, and which of them stand
//! for all.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// What happens to the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    /// The Active one is stopped in order, and comes back.
    Stop,
    /// SIGKILL, and back.
    Kill,
    /// Its carrier goes, and comes back.
    LinkDown,
    /// SIGSTOP for longer than Active_Down_Interval, and SIGCONT.
    Freeze,
    /// Both have the same priority, are parted, and meet again.
    EqualPriority,
    /// The two have other lists of addresses.
    AddressMismatch,
    /// 10 ms, and SIGKILL.
    TenMilliseconds,
}

impl Scene {
    pub(crate) const ALL: [Self; 7] = [
        Self::Stop,
        Self::Kill,
        Self::LinkDown,
        Self::Freeze,
        Self::EqualPriority,
        Self::AddressMismatch,
        Self::TenMilliseconds,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::LinkDown => "link-down",
            Self::Freeze => "freeze",
            Self::EqualPriority => "equal-priority",
            Self::AddressMismatch => "address-mismatch",
            Self::TenMilliseconds => "10ms",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) version: u8,
    pub(crate) family: Family,
    pub(crate) unicast: bool,
    pub(crate) pass: bool,
    pub(crate) vmac: bool,
    pub(crate) scene: Scene,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "v{} {} {} {} {} {}",
            self.version,
            if self.family == Family::V4 { "ipv4" } else { "ipv6" },
            if self.unicast { "unicast" } else { "multicast" },
            if self.pass { "pass" } else { "none" },
            if self.vmac { "vmac" } else { "plain" },
            self.scene.name()
        )
    }
}

impl Cell {
    /// Version 2 has no IPv6 and no interval below a second (RFC 3768), version 3 no authentication (RFC 9568, 9).
    fn exists(self) -> bool {
        match self.version {
            2 => self.family == Family::V4 && self.scene != Scene::TenMilliseconds,
            _ => !self.pass,
        }
    }

    /// The whole matrix.
    pub(crate) fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for scene in Scene::ALL {
            for (version, family) in [(2, Family::V4), (3, Family::V4), (3, Family::V6)] {
                for bits in 0..8 {
                    let [unicast, pass, vmac] = [1, 2, 4].map(|bit| bits & bit != 0);
                    cells.push(Self { version, family, unicast, pass, vmac, scene });
                }
            }
        }
        cells.retain(|cell| cell.exists());
        cells
    }

    /// Cells in which every two properties that exist together occur together: greedy, and always the same.
    pub(crate) fn representative() -> Vec<Self> {
        let all = Self::all();
        let mut uncovered: BTreeSet<_> = all.iter().flat_map(|cell| cell.pairs()).collect();
        let mut chosen = Vec::new();
        while !uncovered.is_empty() {
            let gain = |cell: &&Self| cell.pairs().intersection(&uncovered).count();
            // The first of the best: max_by_key would take the last.
            let best = *all.iter().rev().max_by_key(gain).expect("there are cells");
            uncovered = uncovered.difference(&best.pairs()).cloned().collect();
            chosen.push(best);
        }
        chosen
    }

    fn pairs(&self) -> BTreeSet<(String, String)> {
        let text = self.to_string();
        let words: Vec<_> = text.split(' ').map(str::to_owned).collect();
        let from = |index: usize| words[index + 1..].iter().map(move |second| (index, second));
        (0..words.len())
            .flat_map(from)
            .map(|(index, second)| (words[index].clone(), second.clone()))
            .collect()
    }

    pub(crate) fn interval(&self) -> Duration {
        match (self.version, self.scene) {
            (2, _) => Duration::from_secs(1),
            (_, Scene::TenMilliseconds) => Duration::from_millis(10),
            _ => Duration::from_millis(100),
        }
    }

    /// Of the first host and of the second. The first is Active where they differ.
    pub(crate) fn priorities(&self) -> [u8; 2] {
        if self.scene == Scene::EqualPriority { [150, 150] } else { [200, 100] }
    }

    /// Skew_Time of a host: RFC 9568 section 6.1 and RFC 3768 section 6.1.
    pub(crate) fn skew(&self, host: usize) -> Duration {
        let whole = if self.version == 2 { Duration::from_secs(1) } else { self.interval() };
        whole * (256 - u32::from(self.priorities()[host])) / 256
    }

    /// Active_Down_Interval of a host.
    pub(crate) fn active_down_interval(&self, host: usize) -> Duration {
        3 * self.interval() + self.skew(host)
    }

    /// How long the second host waits for the first, which is gone, by the protocol.
    pub(crate) fn takeover(&self) -> Duration {
        match self.scene {
            Scene::Stop | Scene::AddressMismatch => self.skew(1),
            Scene::Kill | Scene::LinkDown | Scene::Freeze | Scene::EqualPriority | Scene::TenMilliseconds => {
                self.active_down_interval(1)
            }
        }
    }

    /// The host's own address from which advertisements come.
    pub(crate) fn own(&self, host: usize) -> IpAddr {
        let text = match (self.family, self.unicast) {
            (Family::V4, _) => ["10.0.0.1", "10.0.0.2"],
            (Family::V6, true) => ["fd00::1", "fd00::2"],
            (Family::V6, false) => ["fe80::1", "fe80::2"],
        };
        text[host].parse().expect("an address")
    }

    /// With prefix lengths. The first address over IPv6 is a link-local one (RFC 9568, 5.2.9).
    pub(crate) fn addresses(&self, host: usize) -> Vec<&'static str> {
        let mut addresses = match self.family {
            Family::V4 => vec!["10.0.0.100/24"],
            Family::V6 => vec!["fe80::100/64", "fd00::100/64"],
        };
        if self.scene == Scene::AddressMismatch && host == 0 {
            addresses.push(if self.family == Family::V4 { "10.0.0.101/24" } else { "fd00::101/64" });
        }
        addresses
    }

    /// The address that is watched.
    pub(crate) fn address(&self) -> IpAddr {
        let text = if self.family == Family::V4 { "10.0.0.100" } else { "fd00::100" };
        text.parse().expect("an address")
    }

    /// RFC 9568, 7.3.
    pub(crate) fn virtual_mac(&self) -> [u8; 6] {
        let family = if self.family == Family::V4 { 1 } else { 2 };
        [0, 0, 0x5e, 0, family, VRID]
    }
}

pub(crate) const VRID: u8 = 51;
