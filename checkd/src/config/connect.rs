//! The keys `source`, `interface`, `mark`, `address` and `port`: how a probe leaves this machine, and where it goes
//! when that is not its target. For every kind that uses the network.

use std::net::IpAddr;

use daemon::reader::Reader;

use crate::transport::connect::Connect;

/// Longest name of an interface: IFNAMSIZ (linux/if.h) less the end.
const NAME_LENGTH: usize = 15;

pub(super) fn read(reader: &mut Reader<'_>) -> Connect {
    let source = reader.parse("source", parse_address);
    let interface = reader.parse("interface", parse_interface);
    let mark = reader.integer::<u32>("mark", 1..=i64::from(u32::MAX));
    let address = reader.parse("address", parse_address);
    let port = reader.integer::<u16>("port", 1..=65_535);
    if let (Some(source), Some(address)) = (&source, &address)
        && source.value.is_ipv4() != address.value.is_ipv4()
    {
        let message = format!("from {} nothing can be sent to {}", source.value, address.value);
        reader.report().error(&source.at, message).hint("'source' and 'address' are of one family");
    }
    Connect {
        source: source.map(|source| source.value),
        interface: interface.map(|interface| interface.value),
        mark: mark.map(|mark| mark.value),
        address: address.map(|address| address.value),
        port: port.map(|port| port.value),
    }
}

/// Keys of this file that a kind has no use for.
pub(super) struct Refused {
    pub(super) keys: &'static [&'static str],
    /// The kind, with its article.
    pub(super) what: &'static str,
    pub(super) hint: &'static str,
}

/// Say so of each that is there.
pub(super) fn refuse(reader: &mut Reader<'_>, refused: &Refused) {
    for key in refused.keys {
        if let Some(value) = reader.value(key) {
            let message = format!("'{key}' is not for {}", refused.what);
            reader.report().error(&value.at, message).hint(refused.hint);
        }
    }
}

fn parse_address(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() => {
            Err("no address of a machine; leave the key out for the kernel's or the target's own".to_owned())
        }
        Ok(address) => Ok(address),
        Err(_) => Err("not an IP address, such as \"192.0.2.1\" or \"2001:db8::1\"".to_owned()),
    }
}

fn parse_interface(text: &str) -> Result<String, String> {
    let wrong = |c: char| c.is_whitespace() || c == '/' || c == '\0';
    if text.is_empty() || text.len() > NAME_LENGTH || text == "." || text == ".." || text.contains(wrong) {
        return Err(format!("not the name of an interface: 1 to {NAME_LENGTH} bytes, no blank, no slash"));
    }
    Ok(text.to_owned())
}
