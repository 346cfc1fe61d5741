//! One director of the NAT pair, run by Trivet or by keepalived: what the demo and the comparison do to it is the same.

use std::collections::BTreeMap;

use nix::unistd::Pid;

use crate::host::{Host, Process, resident_kib};
use crate::keepalived;
use crate::nat_pair::NatPair;
use crate::trivet::{Trivet, fixtures};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Trivet,
    Keepalived,
}

/// lvs1 (0) or lvs2 (1) of a [`NatPair`].
#[derive(Debug)]
pub struct Director {
    number: usize,
    kind: Kind,
    trivet: Option<Trivet>,
    keepalived: Option<Process>,
}

impl Director {
    pub fn start(pair: &NatPair, number: usize, kind: Kind) -> Self {
        let mut director = Self { number, kind, trivet: None, keepalived: None };
        director.start_again(pair);
        director
    }

    /// Everything on this director, after `stop` or `power_off`.
    pub fn start_again(&mut self, pair: &NatPair) {
        let host = &pair.directors[self.number];
        let name = format!("lvs{}", self.number + 1);
        match (self.kind, &mut self.trivet) {
            (Kind::Keepalived, _) => {
                let file = fixtures().join(format!("nat-pair/keepalived/{name}.conf"));
                let configuration = std::fs::read_to_string(file).expect("reading a fixture");
                self.keepalived = Some(keepalived::start(host, &configuration));
            }
            (Kind::Trivet, Some(trivet)) => trivet.run(host, "vrrpd"),
            (Kind::Trivet, none @ None) => {
                let daemons = ["checkd", "ipvsd", "vrrpd"];
                *none = Some(Trivet::start(host, &format!("nat-pair/{name}"), &daemons));
            }
        }
    }

    /// In order, as `systemctl stop` does.
    pub fn stop(&mut self) {
        if let Some(trivet) = &mut self.trivet {
            trivet.stop("vrrpd");
        }
        if let Some(keepalived) = self.keepalived.take() {
            keepalived.stop();
        }
    }

    /// The host's power fails; `start_again` reboots it.
    pub fn power_off(&mut self, host: &Host) {
        let last = self.number + 1;
        host.power_off(&[&format!("10.0.10.5{last}"), &format!("192.168.100.1{last}")]);
        host.sh("ipvsadm -C");
        self.trivet = None;
        self.keepalived = None;
    }

    /// Trivet's daemons on this director, where they run.
    pub fn trivet(&self) -> Option<&Trivet> {
        self.trivet.as_ref()
    }

    /// Resident memory of each process in KiB, by its role.
    pub fn resident(&self) -> BTreeMap<String, u64> {
        let mut resident = BTreeMap::new();
        if let Some(trivet) = &self.trivet {
            for daemon in ["vrrpd", "ipvsd", "checkd"] {
                resident.insert(daemon.to_owned(), trivet.process(daemon).resident_kib());
            }
        }
        if let Some(keepalived) = &self.keepalived {
            resident.insert("keepalived (parent)".to_owned(), keepalived.resident_kib());
            for (number, child) in children(keepalived.pid()).into_iter().enumerate() {
                resident.insert(format!("keepalived (child {})", number + 1), resident_kib(child));
            }
        }
        resident
    }
}

fn children(pid: Pid) -> Vec<Pid> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|word| word.parse().ok().map(Pid::from_raw)).collect()
}
