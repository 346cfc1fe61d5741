//! From what the kernel's table holds to what it should hold, in the fewest steps: a pure comparison.
//!
//! Level-triggered: it compares two states and remembers nothing, so it is right after a restart, after
//! `ipvsadm -C`, and after half a batch has failed. Services that are not ours do not exist here.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

use crate::table::{Change, Entry, ServiceKey, Table};

/// The changes that make `desired` out of `running`, in the order in which they must happen.
///
/// `ours` are the services that we put there in the past: those no longer desired are removed. A service that is
/// desired and already there is taken over as it is and only corrected; one that is neither desired nor ours is
/// never named. Within a service what adds capacity comes before what takes it away, so that a service whose
/// servers are all replaced has one at every moment; services are removed last.
pub fn diff(desired: &Table, running: &Table, ours: &BTreeSet<ServiceKey>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (key, entry) in desired {
        diff_service(key, entry, running.get(key).map(|entry| &**entry), &mut changes);
    }
    let gone = ours.iter().filter(|key| running.contains_key(key) && !desired.contains_key(key));
    changes.extend(gone.map(|key| Change::DelService { key: *key }));
    changes
}

/// As [`diff`], looking only at these services, all of them ours.
pub fn diff_services(
    desired: &Table,
    running: &Table,
    keys: impl IntoIterator<Item = ServiceKey>,
) -> Vec<Change> {
    let (mut changes, mut gone) = (Vec::new(), Vec::new());
    for key in keys {
        match desired.get(&key) {
            Some(entry) => diff_service(&key, entry, running.get(&key).map(|entry| &**entry), &mut changes),
            None if running.contains_key(&key) => gone.push(Change::DelService { key }),
            None => {}
        }
    }
    changes.append(&mut gone);
    changes
}

/// The order in which changes of several services cost the kernel least. Those of services that get no server come
/// first: they take failed servers out, and wait for nothing. Then those that get some, the service with the highest
/// `rank` first; services are removed last. Within a service the order stays.
///
/// The kernel keeps deleted servers for two minutes, the last one first, and looks through them for each that is added:
/// in the opposite order to that in which they went, each is found at once.
pub fn order(changes: &mut [Change], rank: impl Fn(&ServiceKey) -> u64) {
    let growing: HashSet<ServiceKey> =
        changes.iter().filter(|change| matches!(change, Change::NewServer { .. })).map(Change::key).collect();
    if growing.is_empty() {
        return;
    }
    changes.sort_by_cached_key(|change| {
        let key = change.key();
        if matches!(change, Change::DelService { .. }) {
            (2, Reverse(0))
        } else if growing.contains(&key) {
            (1, Reverse(rank(&key)))
        } else {
            (0, Reverse(0))
        }
    });
}

/// What makes `desired` out of what is found of a service.
pub fn diff_service(key: &ServiceKey, desired: &Entry, running: Option<&Entry>, changes: &mut Vec<Change>) {
    if running.is_some_and(|running| std::ptr::eq(running, desired)) {
        return;
    }
    let service = || desired.service.clone();
    match running {
        None => changes.push(Change::NewService { key: *key, service: service() }),
        Some(running) if running.service != desired.service => {
            changes.push(Change::SetService { key: *key, service: service() });
        }
        Some(_) => {}
    }
    let mut reductions = Vec::new();
    for (address, server) in &desired.servers {
        let (key, address, server) = (*key, *address, *server);
        match running.and_then(|entry| entry.servers.get(&address)) {
            None => changes.push(Change::NewServer { key, address, server }),
            Some(found) if *found == server => {}
            Some(found) if found.weight > server.weight => {
                reductions.push(Change::SetServer { key, address, server });
            }
            Some(_) => changes.push(Change::SetServer { key, address, server }),
        }
    }
    changes.append(&mut reductions);
    let found = running.iter().flat_map(|entry| entry.servers.keys());
    let removed = found.filter(|address| !desired.servers.contains_key(address));
    changes.extend(removed.map(|address| Change::DelServer { key: *key, address: *address }));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddr;
    use std::sync::Arc;

    use super::*;
    use crate::table::{Forward, Protocol, Server, Service, Tunnel};

    /// xorshift64*: seeded, so that a failure can be repeated.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % limit
        }
    }

    fn key(number: u64) -> ServiceKey {
        let address = format!("10.0.10.{number}:80").parse().unwrap();
        ServiceKey::Address { protocol: Protocol::Tcp, address }
    }

    fn server(weight: u32) -> Server {
        Server { forward: Forward::Nat, weight, upper_threshold: 0, lower_threshold: 0 }
    }

    fn address(number: u64) -> SocketAddr {
        format!("192.168.100.{number}:80").parse().unwrap()
    }

    fn entry(scheduler: &str, servers: &[(u64, u32)]) -> Entry {
        let service = Service {
            scheduler: scheduler.into(),
            flags: 0,
            timeout: 0,
            netmask: u32::MAX,
            persistence_engine: None,
        };
        let servers = servers.iter().map(|(number, weight)| (address(*number), server(*weight))).collect();
        Entry { service, servers }
    }

    fn shared(scheduler: &str, servers: &[(u64, u32)]) -> Arc<Entry> {
        Arc::new(entry(scheduler, servers))
    }

    fn random_table(random: &mut Random) -> Table {
        let mut table = Table::new();
        for number in 0..6 {
            if random.below(3) == 0 {
                continue;
            }
            let scheduler = if random.below(2) == 0 { "rr" } else { "wlc" };
            let mut entry = entry(scheduler, &[]);
            for number in 0..5 {
                if random.below(2) == 0 {
                    let mut server = server(u32::try_from(random.below(3)).unwrap());
                    let ways = [Forward::Nat, Forward::Route, Forward::Tunnel(Tunnel::Ipip)];
                    server.forward = ways[usize::try_from(random.below(3)).unwrap()];
                    entry.servers.insert(address(number), server);
                }
            }
            table.insert(key(number), Arc::new(entry));
        }
        table
    }

    /// The kernel's answers: what exists cannot be added, what does not cannot be changed.
    fn apply(changes: &[Change], table: &mut Table) {
        for change in changes {
            let entry = table.get(&change.key());
            match change {
                Change::NewService { .. } => assert!(entry.is_none(), "EEXIST: {change}"),
                Change::SetService { .. } | Change::DelService { .. } => {
                    assert!(entry.is_some(), "ESRCH: {change}");
                }
                Change::NewServer { address, .. } => {
                    let entry = entry.unwrap_or_else(|| panic!("ESRCH: {change}"));
                    assert!(!entry.servers.contains_key(address), "EEXIST: {change}");
                }
                Change::SetServer { address, .. } | Change::DelServer { address, .. } => {
                    let entry = entry.unwrap_or_else(|| panic!("ESRCH: {change}"));
                    assert!(entry.servers.contains_key(address), "ENOENT: {change}");
                }
            }
            change.apply_to(table);
        }
    }

    #[test]
    fn applying_the_difference_gives_what_is_desired_and_touches_nothing_of_others() {
        for seed in 1..=5_000 {
            let mut random = Random(seed);
            let (desired, running) = (random_table(&mut random), random_table(&mut random));
            let ours: BTreeSet<ServiceKey> =
                running.keys().filter(|_| random.below(2) == 0).copied().collect();
            let foreign: BTreeMap<_, _> = running
                .iter()
                .filter(|(key, _)| !ours.contains(key) && !desired.contains_key(key))
                .map(|(key, entry)| (*key, entry.clone()))
                .collect();
            let changes = diff(&desired, &running, &ours);
            for change in &changes {
                assert!(
                    !foreign.contains_key(&change.key()),
                    "seed {seed}: {change} is about somebody else's"
                );
            }
            let mut result = running.clone();
            apply(&changes, &mut result);
            let mut expected = desired.clone();
            expected.extend(foreign);
            assert_eq!(result, expected, "seed {seed}");
            assert_eq!(diff(&desired, &result, &ours), [], "seed {seed}: a second difference is not empty");
        }
    }

    #[test]
    fn a_service_that_has_servers_before_and_after_has_one_at_every_step() {
        let usable = |entry: &Arc<Entry>| entry.servers.values().any(|server| server.weight > 0);
        let mut seen = 0;
        for seed in 1..=5_000 {
            let mut random = Random(seed);
            let (desired, mut running) = (random_table(&mut random), random_table(&mut random));
            let kept: Vec<ServiceKey> = desired
                .iter()
                .filter(|(key, entry)| usable(entry) && running.get(key).is_some_and(usable))
                .map(|(key, _)| *key)
                .collect();
            for change in diff(&desired, &running, &BTreeSet::new()) {
                change.apply_to(&mut running);
                for key in &kept {
                    assert!(usable(&running[key]), "seed {seed}: {key} has no server after: {change}");
                    seen += 1;
                }
            }
        }
        assert!(seen > 10_000, "the property was looked at only {seen} times");
    }

    #[test]
    fn equal_tables_need_no_change_and_one_difference_needs_one() {
        let table = Table::from([(key(1), shared("rr", &[(1, 1), (2, 1)]))]);
        assert_eq!(diff(&table, &table, &BTreeSet::from([key(1)])), []);
        let mut running = table.clone();
        Arc::make_mut(running.get_mut(&key(1)).unwrap()).servers.insert(address(2), server(0));
        assert_eq!(
            diff(&table, &running, &BTreeSet::new()),
            [Change::SetServer { key: key(1), address: address(2), server: server(1) }]
        );
    }

    #[test]
    fn a_service_is_removed_only_if_it_is_ours() {
        let running = Table::from([(key(1), shared("rr", &[(1, 1)])), (key(2), shared("rr", &[(1, 1)]))]);
        let changes = diff(&Table::new(), &running, &BTreeSet::from([key(1), key(3)]));
        assert_eq!(changes, [Change::DelService { key: key(1) }]);
    }

    #[test]
    fn a_scheduler_is_changed_in_place_without_removing_the_service() {
        let desired = Table::from([(key(1), shared("wlc", &[(1, 1)]))]);
        let running = Table::from([(key(1), shared("rr", &[(1, 1)]))]);
        let changes = diff(&desired, &running, &BTreeSet::new());
        assert!(matches!(&changes[..], [Change::SetService { .. }]), "{changes:?}");
    }

    #[test]
    fn failed_servers_go_first_and_servers_return_in_the_opposite_order_to_that_in_which_they_went() {
        let new = |service| Change::NewServer { key: key(service), address: address(1), server: server(1) };
        let set = |service| Change::SetServer { key: key(service), address: address(2), server: server(0) };
        let gone = |service| Change::DelServer { key: key(service), address: address(3) };
        let mut changes = vec![
            new(1),
            set(1),
            gone(2),
            Change::DelService { key: key(9) },
            new(3),
            gone(3),
            set(4),
            new(5),
        ];
        order(&mut changes, |of| (1..6).find(|number| key(*number) == *of).unwrap_or(0));
        let wanted =
            [gone(2), set(4), new(5), new(3), gone(3), new(1), set(1), Change::DelService { key: key(9) }];
        assert_eq!(changes, wanted);
    }
}
