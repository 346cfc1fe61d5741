//! Two hosts and one cable: the director with the checker, and a machine that is all the servers.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::namespace::sh;

/// Fields are in the order in which they must end.
#[derive(Debug)]
pub(crate) struct Lan {
    pub(crate) director: Host,
    pub(crate) servers: Host,
    _lab: Lab,
}

impl Lan {
    pub(crate) fn new() -> Self {
        let lab = Lab::new();
        let (director, servers) = (lab.host("director", &[]), lab.host("servers", &[]));
        sh(&format!(
            "ip link add eth0 netns {} type veth peer name eth0 netns {}",
            director.namespace().name(),
            servers.namespace().name()
        ));
        director.sh(
            "ip addr add 10.0.0.1/24 dev eth0 && ip link set eth0 up && ip route add 10.64.0.0/10 via 10.0.0.2",
        );
        servers.sh(
            "ip addr add 10.0.0.2/24 dev eth0 && ip link set eth0 up && ip route add local 10.64.0.0/10 dev lo
             echo 65535 >/proc/sys/net/core/somaxconn; echo 65535 >/proc/sys/net/ipv4/tcp_max_syn_backlog",
        );
        Self { director, servers, _lab: lab }
    }

    /// The TCP connections of the director that wait for their port to be free again.
    pub(crate) fn time_wait(&self) -> i64 {
        let text = self.director.sh("cat /proc/net/sockstat");
        let line = text.lines().find_map(|line| line.strip_prefix("TCP:")).unwrap_or_default();
        let mut words = line.split_whitespace().skip_while(|word| *word != "tw").skip(1);
        words.next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

/// The calling thread and what it starts from now on keeps to one processor: the checker to the first, its servers and
/// whoever listens to it to the last.
pub(crate) fn keep_to(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor).expect("a small number");
    sched_setaffinity(Pid::from_raw(0), &set).expect("one's own thread may be moved");
}

/// The one that is not the checker's, if there is one.
pub(crate) fn other_processor() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(2) - 1
}
