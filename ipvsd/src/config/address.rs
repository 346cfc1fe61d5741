//! Where clients connect, and where servers are: single addresses, and ranges of addresses and ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;

use crate::service::Backend;

/// Addresses and ports that one text, or one service, may stand for.
pub(super) const MOST: usize = 4096;
const ZONE: &str = "an address with a zone, which IPVS does not have";

/// The addresses that a text stands for: `10.0.10.50:80`, `10.0.10.50-59:80`, `10.0.10.50:8000-8010`,
/// `[2001:db8::50-5f]:80`; `10.0.10.50:*` is all ports, port 0 in the kernel.
///
/// # Errors
/// The end of the sentence "it is …".
pub(super) fn parse_fronts(text: &str) -> Result<Vec<SocketAddr>, String> {
    let (host, port) = split(text).ok_or_else(|| not_an_address(text, "10.0.10.50"))?;
    let (first, last) = parse_ips(host).ok_or_else(|| not_an_address(text, "10.0.10.50"))?;
    let ports = parse_ports(port)?;
    let (addresses, number) = (between(first, last)?, ports.clone().count());
    if addresses.len().saturating_mul(number) > MOST {
        return Err(format!(
            "more than {MOST} addresses and ports; a firewall mark can stand for any number"
        ));
    }
    let pairs = addresses.into_iter().flat_map(|ip| ports.clone().map(move |port| SocketAddr::new(ip, port)));
    pairs.map(check).collect()
}

/// A server's address: `192.168.100.101:80`, or without the port, which is the service's then.
///
/// # Errors
/// The end of the sentence "it is …".
pub(super) fn parse_backend(text: &str) -> Result<Backend, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        check(SocketAddr::new(ip, 0))?;
        return Ok(Backend { ip, port: None });
    }
    let address: SocketAddr = text.parse().map_err(|_| not_an_address(text, "192.168.100.101"))?;
    if address.port() == 0 {
        return Err("without a port: 0 is none".into());
    }
    let address = check(address)?;
    Ok(Backend { ip: address.ip(), port: Some(address.port()) })
}

fn split(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('[') {
        Some(rest) => rest.split_once("]:"),
        None => text.rsplit_once(':').filter(|(host, _)| !host.contains(':')),
    }
}

/// First and last.
fn parse_ips(host: &str) -> Option<(IpAddr, IpAddr)> {
    let Some((first, last)) = host.split_once('-') else {
        let ip = host.parse().ok()?;
        return Some((ip, ip));
    };
    let first: IpAddr = first.parse().ok()?;
    if let Ok(last) = last.parse() {
        return Some((first, last));
    }
    // Only its last part.
    let last = match first {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            IpAddr::V4(Ipv4Addr::new(a, b, c, last.parse().ok()?))
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, g, _] = ip.segments();
            let last = u16::from_str_radix(last, 16).ok()?;
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, last))
        }
    };
    Some((first, last))
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let wrong = || format!("with the port '{text}', which is not 80, 8000-8010 or *");
    if text == "*" {
        return Ok(0..=0);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
    if first == 0 {
        return Err("without a port: 0 is none; write * for all ports".into());
    }
    if last < first {
        return Err(format!("a range that ends before it begins: {text}"));
    }
    Ok(first..=last)
}

fn between(first: IpAddr, last: IpAddr) -> Result<Vec<IpAddr>, String> {
    let backwards = || format!("a range that ends before it begins: {first}-{last}");
    let many = || format!("a range of more than {MOST} addresses");
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let (first, last) = (u32::from(first), u32::from(last));
            let number = last.checked_sub(first).ok_or_else(backwards)?;
            if usize::try_from(number).map_or(true, |number| number >= MOST) {
                return Err(many());
            }
            Ok((first..=last).map(|ip| IpAddr::V4(ip.into())).collect())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let (first, last) = (u128::from(first), u128::from(last));
            let number = last.checked_sub(first).ok_or_else(backwards)?;
            if usize::try_from(number).map_or(true, |number| number >= MOST) {
                return Err(many());
            }
            Ok((first..=last).map(|ip| IpAddr::V6(ip.into())).collect())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            Err(format!("a range from one family to the other: {first}-{last}"))
        }
    }
}

fn not_an_address(text: &str, example: &str) -> String {
    if text.contains('%') {
        return ZONE.into();
    }
    // keepalived separates them by a space.
    if let Some((ip, port)) = text.split_once(' ')
        && let (Ok(ip), Ok(port)) = (ip.parse::<IpAddr>(), port.trim().parse::<u16>())
    {
        return format!("not an address and a port: write \"{}\"", SocketAddr::new(ip, port));
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("without a port: write \"[{ip}]:80\""),
        Ok(IpAddr::V4(ip)) => format!("without a port: write \"{ip}:80\""),
        Err(_) => format!("not an address and a port, such as \"{example}:80\" or \"[2001:db8::1]:80\""),
    }
}

/// What neither a service nor a server can be at. Of addresses that are broadcasts of some network only the kernel
/// knows.
fn check(address: SocketAddr) -> Result<SocketAddr, String> {
    let ip = address.ip();
    if ip.is_unspecified() || ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST) {
        return Err(format!("not the address of one machine: {ip}"));
    }
    let SocketAddr::V6(v6) = address else { return Ok(address) };
    if v6.scope_id() != 0 {
        return Err(ZONE.into());
    }
    if let Some(v4) = v6.ip().to_ipv4_mapped() {
        return Err(format!("an address of IPv4 written as one of IPv6: write {v4}"));
    }
    if v6.ip().is_unicast_link_local() {
        return Err(format!(
            "link-local, {ip}: IPVS does not know of which link; write a global or unique local address"
        ));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fronts(text: &str) -> Vec<String> {
        parse_fronts(text).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ranges_of_addresses_and_ports_are_all_of_them() {
        assert_eq!(fronts("10.0.10.50:80"), ["10.0.10.50:80"]);
        assert_eq!(fronts("10.0.10.50-51:80"), ["10.0.10.50:80", "10.0.10.51:80"]);
        assert_eq!(fronts("10.0.10.255-10.0.11.0:80"), ["10.0.10.255:80", "10.0.11.0:80"]);
        assert_eq!(fronts("10.0.10.50:80-81"), ["10.0.10.50:80", "10.0.10.50:81"]);
        assert_eq!(fronts("10.0.10.50:*"), ["10.0.10.50:0"]);
        assert_eq!(fronts("[2001:db8::9-a]:443"), ["[2001:db8::9]:443", "[2001:db8::a]:443"]);
        assert_eq!(fronts("10.0.10.1-4:1-2").len(), 8);
    }

    #[test]
    fn what_is_no_address_says_what_would_be_one() {
        for (text, part) in [
            ("10.0.10.50", "write \"10.0.10.50:80\""),
            ("10.0.10.50 80", "write \"10.0.10.50:80\""),
            ("2001:db8::1", "write \"[2001:db8::1]:80\""),
            ("10.0.10.50:0", "write * for all ports"),
            ("10.0.10.50:81-80", "ends before it begins"),
            ("10.0.10.50-49:80", "ends before it begins"),
            ("10.0.10.50:http", "the port 'http'"),
            ("10.0.10.50:70000", "the port '70000'"),
            ("10.0.0.0-10.1.0.0:80", "more than 4096"),
            ("10.0.0.0-10.0.1.0:80-180", "more than 4096"),
            ("10.0.0.1-2001:db8::1:80", "not an address"),
            ("[10.0.0.1-2001:db8::1]:80", "one family to the other"),
            ("224.0.0.1:80", "not the address of one machine"),
            ("0.0.0.0:80", "not the address of one machine"),
            ("255.255.255.255:80", "not the address of one machine"),
            ("[ff02::1]:80", "not the address of one machine"),
            ("[::ffff:10.0.0.1]:80", "written as one of IPv6: write 10.0.0.1"),
            ("[fe80::1]:80", "link-local, fe80::1"),
            ("[fe80::1%eth0]:80", "with a zone"),
            ("web", "such as \"10.0.10.50:80\""),
        ] {
            let error = parse_fronts(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_servers_port_may_be_left_out_but_is_not_0() {
        assert_eq!(parse_backend("192.168.100.101").unwrap().port, None);
        assert_eq!(parse_backend("[2001:db8::1]:80").unwrap().port, Some(80));
        assert!(parse_backend("192.168.100.101:0").unwrap_err().contains("0 is none"));
        assert!(parse_backend("fe80::1%eth0").unwrap_err().contains("with a zone"));
        assert!(parse_backend("[fe80::1%2]:80").unwrap_err().contains("with a zone"));
        assert!(parse_backend("fe80::1").unwrap_err().contains("link-local"));
        assert!(parse_backend("192.168.100.101 80").unwrap_err().contains("write \"192.168.100.101:80\""));
    }
}
