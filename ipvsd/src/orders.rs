//! What operators ordered: a weight, a drain, a server out of use. An order outlives restarts and reloads, is shown
//! with its author and reason, and stands until it is cleared.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use daemon::cli::below;

use crate::service::Backend;

/// What an operator wants of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// This weight instead of the check's or the configured one, 0 to 65535.
    Weight(u16),
    /// No new connections; out of use as soon as it has none, or at this time (microseconds of CLOCK_REALTIME).
    Drain { until: u64 },
    /// Out of use.
    Disable,
}

impl Command {
    pub fn is_drain(self) -> bool {
        matches!(self, Self::Drain { .. })
    }
}

/// `weight 5`, `drain`, `disabled`
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Weight(weight) => write!(f, "weight {weight}"),
            Self::Drain { .. } => f.write_str("drain"),
            Self::Disable => f.write_str("disabled"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub command: Command,
    /// Who: a user's name, or `uid 1000`.
    pub author: String,
    pub reason: String,
    /// When, in microseconds of CLOCK_REALTIME.
    pub since: u64,
}

/// `disabled by root: replacing its disk`
impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} by {}", self.command, self.author)?;
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

/// By service and server. An order for what is not configured now is kept: it may be configured again.
pub type Orders = BTreeMap<(Arc<str>, Backend), Order>;

/// `var/lib/trivet/ipvsd/orders` below the root: one order a line, its fields separated by tabs.
#[derive(Debug)]
pub struct OrdersFile(PathBuf);

impl OrdersFile {
    pub fn new(root: &Path) -> Self {
        Self(below(root, "/var/lib/trivet/ipvsd/orders"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What was written last; nothing if nothing was. The number of lines that make no sense and are left out.
    pub fn read(&self) -> io::Result<(Orders, usize)> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            Err(error) => return Err(error),
        };
        let read: Vec<_> = text.lines().map(parse).collect();
        let lost = read.iter().filter(|line| line.is_none()).count();
        Ok((read.into_iter().flatten().collect(), lost))
    }

    /// Replace the file as a whole: whoever reads it, also after a crash, finds the former or the new one.
    pub fn write(&self, orders: &Orders) -> io::Result<()> {
        let mut text = String::new();
        for ((service, backend), order) in orders {
            let Order { command, author, reason, since } = order;
            let command = match command {
                Command::Weight(weight) => format!("weight {weight}"),
                Command::Drain { until } => format!("drain {until}"),
                Command::Disable => "disable".to_owned(),
            };
            let (author, reason) = (escape(author), escape(reason));
            let _ = writeln!(text, "{service}\t{backend}\t{command}\t{since}\t{author}\t{reason}");
        }
        let folder = self.0.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder)?;
        let new = self.0.with_extension("new");
        let mut file = fs::File::create(&new)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        // An order must outlive a power failure: it is why a broken server is out of use.
        file.sync_all()?;
        fs::rename(&new, &self.0)
    }
}

fn parse(line: &str) -> Option<((Arc<str>, Backend), Order)> {
    let mut fields = line.split('\t');
    let mut field = || fields.next();
    let (service, backend) = (field()?, parse_backend(field()?)?);
    let command = match field()?.split_once(' ') {
        Some(("weight", weight)) => Command::Weight(weight.parse().ok()?),
        Some(("drain", until)) => Command::Drain { until: until.parse().ok()? },
        Some(_) => return None,
        None => Command::Disable,
    };
    let since = field()?.parse().ok()?;
    let order = Order { command, since, author: unescape(field()?), reason: unescape(field()?) };
    Some(((service.into(), backend), order))
}

/// An address as it is configured, with or without a port.
pub fn parse_backend(text: &str) -> Option<Backend> {
    if let Ok(ip) = text.parse() {
        return Some(Backend { ip, port: None });
    }
    let address: std::net::SocketAddr = text.parse().ok()?;
    Some(Backend { ip: address.ip(), port: Some(address.port()) })
}

/// No tab and no end of line is left.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('t') => plain.push('\t'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use daemon::testing::TempRoot;

    use super::*;

    #[test]
    fn orders_are_read_back_as_they_were_written_and_nonsense_is_counted() {
        let root = TempRoot::new();
        let file = OrdersFile::new(root.path());
        assert_eq!(file.read().unwrap(), (Orders::new(), 0));
        let order = |command, reason: &str| Order {
            command,
            author: "root".into(),
            reason: reason.into(),
            since: 1_700_000_000_000_000,
        };
        let key = |backend: &str| (Arc::from("web"), parse_backend(backend).unwrap());
        let orders = Orders::from([
            (key("192.168.100.101:80"), order(Command::Weight(5), "")),
            (key("192.168.100.102"), order(Command::Disable, "its disk:\tsda\n\\back")),
            (key("[2001:db8::1]:443"), order(Command::Drain { until: 7 }, "新しい")),
        ]);
        file.write(&orders).unwrap();
        assert_eq!(file.read().unwrap(), (orders.clone(), 0));
        let text = fs::read_to_string(file.path()).unwrap();
        fs::write(file.path(), format!("{text}\nweb\tx\tdisable\t1\tme\t\nweb\t1.2.3.4:5\tsing\t1\n"))
            .unwrap();
        assert_eq!(file.read().unwrap(), (orders, 3));
    }
}
