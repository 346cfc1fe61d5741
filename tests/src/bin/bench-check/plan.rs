//! What is checked, written down for keepalived and for ours so that both mean the same.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// The servers' network; their numbers count from its first address.
const FIRST: u32 = u32::from_be_bytes([10, 64, 0, 0]);
/// keepalived's virtual services; nobody connects to them.
const SERVICES: u32 = u32::from_be_bytes([10, 200, 0, 0]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Http,
}

/// Servers that are checked alike: a virtual service of keepalived, a check of ours. A failure is confirmed by a second
/// one, `retry` after the first.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) kind: Kind,
    pub(crate) servers: Range<u32>,
    pub(crate) port: u16,
    pub(crate) interval: Duration,
    pub(crate) retry: Duration,
    pub(crate) timeout: Duration,
}

impl Group {
    pub(crate) fn new(kind: Kind, servers: Range<u32>, port: u16) -> Self {
        let seconds = Duration::from_secs;
        Self { kind, servers, port, interval: seconds(6), retry: seconds(1), timeout: seconds(5) }
    }

    pub(crate) fn every(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    fn keepalived(&self, number: usize, text: &mut String) {
        let service = Ipv4Addr::from(SERVICES + u32::try_from(number).expect("a few thousand groups"));
        let seconds = |time: Duration| time.as_secs_f64();
        let retry = format!(
            "connect_timeout {} retry 1 delay_before_retry {}",
            seconds(self.timeout),
            seconds(self.retry)
        );
        let checker = match self.kind {
            Kind::Tcp => format!("TCP_CHECK {{ {retry} }}"),
            Kind::Http => format!("HTTP_GET {{\n url {{\n path /\n status_code 200\n }}\n {retry}\n }}"),
        };
        let checker = checker.replace(" connect", "\n connect").replace(" retry", "\n retry");
        let checker = checker.replace(" delay_b", "\n delay_b").replace(" }", "\n }");
        let interval = seconds(self.interval);
        writeln!(
            text,
            "virtual_server {service} 80 {{\n delay_loop {interval}\n lvs_sched rr\n lvs_method DR\n protocol TCP"
        )
        .expect("writing to a String");
        for server in self.servers.clone() {
            let address = address(server);
            writeln!(text, " real_server {address} {} {{\n weight 1\n {checker}\n }}", self.port)
                .expect("writing to a String");
        }
        text.push_str("}\n");
    }

    fn checkd(&self) -> String {
        let kind = match self.kind {
            Kind::Tcp => "type = \"tcp\"",
            Kind::Http => "type = \"http\"\npath = \"/\"\nstatus = [200]",
        };
        format!(
            "{kind}\ninterval = \"{}ms\"\ntimeout = \"{}ms\"\nretry_interval = \"{}ms\"\n",
            self.interval.as_millis(),
            self.timeout.as_millis(),
            self.retry.as_millis()
        )
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Plan(pub(crate) Vec<Group>);

impl Plan {
    /// `count` servers in so many groups, as even as can be.
    pub(crate) fn spread(count: u32, groups: u32, group: impl Fn(Range<u32>) -> Group) -> Self {
        let bound = |number: u32| {
            let bound = u64::from(count) * u64::from(number) / u64::from(groups);
            u32::try_from(bound).expect("no more than count")
        };
        Self((0..groups).map(|number| group(bound(number)..bound(number + 1))).collect())
    }

    pub(crate) fn with(mut self, groups: impl IntoIterator<Item = Group>) -> Self {
        self.0.extend(groups);
        self
    }

    pub(crate) fn servers(&self) -> usize {
        self.0.iter().map(|group| group.servers.len()).sum()
    }

    pub(crate) fn keepalived(&self) -> String {
        let mut text = String::from("global_defs {\n router_id bench\n}\n");
        self.0.iter().enumerate().for_each(|(number, group)| group.keepalived(number, &mut text));
        text
    }

    /// Writes the drop-ins below `root`; those that are as they should be stay untouched.
    pub(crate) fn checkd(&self, root: &Path) {
        let directory = root.join("etc/trivet/check.d");
        std::fs::create_dir_all(&directory).expect("making directories in the lab");
        for (number, group) in self.0.iter().enumerate() {
            let file = directory.join(format!("{}.toml", name(number)));
            let text = group.checkd();
            if std::fs::read_to_string(&file).is_ok_and(|there| there == text) {
                continue;
            }
            std::fs::write(file, text).expect("writing a drop-in");
        }
    }

    /// What a client of checkd watches: check and address of each.
    pub(crate) fn targets(&self) -> Vec<(String, String)> {
        let of_group = |(number, group): (usize, &Group)| -> Vec<_> {
            let port = group.port;
            let target = |server| (name(number), format!("{}:{port}", address(server)));
            group.servers.clone().map(target).collect()
        };
        self.0.iter().enumerate().flat_map(of_group).collect()
    }
}

fn name(number: usize) -> String {
    format!("service-{number}")
}

pub(crate) fn address(server: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + server)
}

/// The number of the server that has this address, which is one of theirs.
pub(crate) fn server(address: Ipv4Addr) -> u32 {
    u32::from(address) - FIRST
}
