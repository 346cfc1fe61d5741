//! The kernel's IPVS table as `ipvsadm -Ln` shows it: the view of somebody who does not trust our own daemon.

use std::collections::BTreeMap;

use crate::host::Host;

/// One real server of a virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub address: String,
    /// "Masq", "Route" or "Tunnel".
    pub forward: String,
    pub weight: u32,
    pub active: u32,
    pub inactive: u32,
}

/// One connection that the kernel knows, as `ipvsadm -Lcn` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// "TCP", "UDP", "SCTP"; "IP" is the memory of a persistent client of a mark.
    pub protocol: String,
    pub state: String,
    pub client: String,
    pub service: String,
    pub server: String,
}

/// What has gone through a virtual service, as `ipvsadm -Ln --stats` counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    pub connections: u64,
    pub packets_in: u64,
    pub packets_out: u64,
}

/// The servers of a virtual service ("10.0.10.50:80"), in address order; none where there is no such service.
pub fn servers(host: &Host, service: &str) -> Vec<Server> {
    servers_in(&table(host), service)
}

/// The same, in a table that was read before.
pub fn servers_in(table: &str, service: &str) -> Vec<Server> {
    let mut servers = parse(table, service);
    servers.sort_by(|left, right| left.address.cmp(&right.address));
    servers
}

/// The whole table as text.
pub fn table(host: &Host) -> String {
    host.sh("ipvsadm -Ln")
}

/// Every connection that the kernel knows.
pub fn connections(host: &Host) -> Vec<Connection> {
    parse_connections(&host.sh("ipvsadm -Lcn"))
}

/// What went through each service ("10.0.10.50:80"). The kernel brings it up to date every two seconds.
pub fn traffic(host: &Host) -> BTreeMap<String, Traffic> {
    parse_traffic(&host.sh("ipvsadm -Ln --stats --exact"))
}

/// Address and weight of each server, to compare with.
pub fn weights(host: &Host, service: &str) -> Vec<(String, u32)> {
    servers(host, service).into_iter().map(|server| (server.address, server.weight)).collect()
}

/// Asks for nothing but an answer, so a machine without IPVS is found at once and by its name.
pub fn require() {
    let answer = std::process::Command::new("ipvsadm").arg("-Ln").output();
    let works = answer.is_ok_and(|output| output.status.success());
    assert!(
        works,
        "this needs IPVS in the kernel: run it in the virtual machine, with tests/vm (or `modprobe ip_vs`)"
    );
}

fn parse(table: &str, service: &str) -> Vec<Server> {
    let mut ours = false;
    let mut servers = Vec::new();
    for line in table.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["->", address, forward, weight, active, inactive] if ours => {
                let numbers = (weight.parse(), active.parse(), inactive.parse());
                let (Ok(weight), Ok(active), Ok(inactive)) = numbers else { continue };
                let (address, forward) = ((*address).to_owned(), (*forward).to_owned());
                servers.push(Server { address, forward, weight, active, inactive });
            }
            ["TCP" | "UDP" | "SCTP" | "FWM", address, ..] => ours = *address == service,
            _ => {}
        }
    }
    servers
}

fn parse_connections(text: &str) -> Vec<Connection> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        let [protocol, _, state, client, service, server] = words.try_into().ok()?;
        let is_heading = protocol == "pro";
        (!is_heading).then_some(Connection { protocol, state, client, service, server })
    };
    text.lines().filter_map(row).collect()
}

fn parse_traffic(text: &str) -> BTreeMap<String, Traffic> {
    let row = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let ["TCP" | "UDP" | "SCTP" | "FWM", service, connections, packets_in, packets_out, ..] = words[..]
        else {
            return None;
        };
        let number = |text: &str| text.parse().ok();
        let traffic = Traffic {
            connections: number(connections)?,
            packets_in: number(packets_in)?,
            packets_out: number(packets_out)?,
        };
        Some((service.to_owned(), traffic))
    };
    text.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_service_by_service() {
        let table = "IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.0.10.50:80 rr
  -> 192.168.100.101:80           Masq    1      0          3
TCP  10.0.10.50:443 rr
  -> 192.168.100.102:443          Route   0      0          0
";
        let web = Server {
            address: "192.168.100.101:80".into(),
            forward: "Masq".into(),
            weight: 1,
            active: 0,
            inactive: 3,
        };
        assert_eq!(parse(table, "10.0.10.50:80"), [web]);
        assert_eq!(parse(table, "10.0.10.50:443")[0].weight, 0);
        assert_eq!(parse(table, "10.0.10.50:8080"), []);
    }

    #[test]
    fn connections_and_counters_are_read() {
        let text = "IPVS connection entries
pro expire state       source             virtual            destination
TCP 14:57  ESTABLISHED [2001:db8::100]:51004 [2001:db8::50]:80 192.168.100.101:80
IP  00:43  ASSURED     10.0.10.100:0      0.0.0.7:0          192.168.100.102:0
";
        let found = parse_connections(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            (found[0].state.as_str(), found[0].client.as_str()),
            ("ESTABLISHED", "[2001:db8::100]:51004")
        );
        assert_eq!((found[1].service.as_str(), found[1].server.as_str()), ("0.0.0.7:0", "192.168.100.102:0"));
        let text = "IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.10.50:80                       4       20       16     1240     1800
  -> 192.168.100.101:80                  2       10        8      620      900
";
        let four = Traffic { connections: 4, packets_in: 20, packets_out: 16 };
        assert_eq!(parse_traffic(text), BTreeMap::from([("10.0.10.50:80".to_owned(), four)]));
    }
}
