//! The kernel's IPVS table as `ipvsadm -Ln` shows it: the view of somebody who does not trust our own daemon.

use crate::host::Host;

/// One real server of a virtual service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    pub address: String,
    /// "Masq", "Route" or "Tunnel".
    pub forward: String,
    pub weight: u32,
}

/// The servers of a virtual service ("10.0.10.50:80"), in address order; none where there is no such service.
pub fn servers(host: &Host, service: &str) -> Vec<Server> {
    let mut servers = parse(&table(host), service);
    servers.sort_by(|left, right| left.address.cmp(&right.address));
    servers
}

/// The whole table as text.
pub fn table(host: &Host) -> String {
    host.sh("ipvsadm -Ln")
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
            ["->", address, forward, weight, ..] if ours => {
                let Ok(weight) = weight.parse() else { continue };
                servers.push(Server {
                    address: (*address).to_owned(),
                    forward: (*forward).to_owned(),
                    weight,
                });
            }
            ["TCP" | "UDP" | "SCTP" | "FWM", address, ..] => ours = *address == service,
            _ => {}
        }
    }
    servers
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
        let web = Server { address: "192.168.100.101:80".into(), forward: "Masq".into(), weight: 1 };
        assert_eq!(parse(table, "10.0.10.50:80"), [web]);
        assert_eq!(parse(table, "10.0.10.50:443")[0].weight, 0);
        assert_eq!(parse(table, "10.0.10.50:8080"), []);
    }
}
