//! What operators ordered: a weight, a drain, a server out of use. An order outlives restarts and reloads, is shown
//! with its author and reason, and stands until it is cleared.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use daemon::cli::below;
use daemon::replace::{Durability, replace_file};

use crate::owned;
use crate::service::Backend;
use crate::table::ServiceKey;

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
    /// Whether the server gets no new connections by it.
    pub fn is_out(self) -> bool {
        match self {
            Self::Drain { .. } | Self::Disable => true,
            Self::Weight(_) => false,
        }
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
    /// The weight that had been ordered before the server was drained or disabled; it stands again when that ends.
    pub beneath: Option<Box<Order>>,
    /// An address of the service when it was last configured: so it is found again under another name.
    pub front: Option<ServiceKey>,
}

impl Order {
    /// The ordered weight in it, whether it is in force or beneath something else.
    pub fn into_weight(self) -> Option<Box<Self>> {
        if self.command.is_out() { self.beneath } else { Some(Box::new(self)) }
    }
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

/// What a reading of the file found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub orders: Orders,
    /// What is wrong with the rest; empty: nothing. It stays in the file.
    pub strange: String,
}

/// `var/lib/trivet/ipvsd/orders` below the root: one order a line, its fields separated by tabs. A server that is out of
/// use and had an ordered weight before has two lines, the weight first.
#[derive(Debug)]
pub struct OrdersFile {
    path: PathBuf,
    /// Lines that make no sense to us, such as those of a later version.
    strange: Vec<Vec<u8>>,
}

impl OrdersFile {
    pub fn new(root: &Path) -> Self {
        Self { path: below(root, "/var/lib/trivet/ipvsd/orders"), strange: Vec::new() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was written last; nothing if nothing was.
    ///
    /// # Errors
    /// It cannot be read: a sentence. What was ordered is not known, and must not be written over.
    pub fn read(&mut self) -> Result<Found, String> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(format!("cannot read {}: {error}", self.path.display())),
        };
        let (mut orders, mut numbers) = (Orders::new(), Vec::new());
        self.strange.clear();
        for (number, line) in (1_usize..).zip(bytes.split(|byte| *byte == b'\n')) {
            if line.is_empty() {
                continue;
            }
            match std::str::from_utf8(line).ok().and_then(parse) {
                Some((seat, order)) => add(&mut orders, seat, order),
                None => {
                    self.strange.push(line.to_owned());
                    numbers.push(number);
                }
            }
        }
        Ok(Found { orders, strange: self.complain(&numbers) })
    }

    fn complain(&self, numbers: &[usize]) -> String {
        let (path, shown) = (self.path.display(), numbers.iter().take(SHOWN).map(ToString::to_string));
        let shown = shown.collect::<Vec<_>>().join(", ");
        match numbers {
            [] => String::new(),
            [_] => format!("{path}: line {shown} makes no sense; it orders nothing, and is kept"),
            [..] => {
                let (count, more) = (numbers.len(), if numbers.len() > SHOWN { ", …" } else { "" });
                format!(
                    "{path}: {count} lines make no sense ({shown}{more}); they order nothing, and are kept"
                )
            }
        }
    }

    /// Replace the file as a whole. An order must outlive a power failure: it is why a broken server is out of use.
    ///
    /// # Errors
    /// It cannot be written: a sentence. To be sure of what the file says, write it again.
    pub fn write(&self, orders: &Orders) -> Result<(), String> {
        let mut text = String::new();
        for (seat, order) in orders {
            order.beneath.iter().for_each(|weight| line(&mut text, seat, weight, order.front));
            line(&mut text, seat, order, order.front);
        }
        let mut bytes = text.into_bytes();
        for line in &self.strange {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        let result = replace_file(&self.path, &bytes, Durability::Power);
        result.map_err(|error| format!("cannot write {}: {error}", self.path.display()))
    }
}

/// Numbers of lines in a complaint.
const SHOWN: usize = 5;

/// A line more. The last one about a server counts, and a weight stays beneath what takes the server out of use.
fn add(orders: &mut Orders, seat: (Arc<str>, Backend), mut order: Order) {
    let former = orders.remove(&seat);
    let order = match former {
        Some(mut former) if former.command.is_out() && !order.command.is_out() => {
            former.beneath = Some(Box::new(order));
            former
        }
        Some(former) if order.command.is_out() => {
            order.beneath = former.into_weight();
            order
        }
        Some(_) | None => order,
    };
    orders.insert(seat, order);
}

fn line(
    text: &mut String,
    (service, backend): &(Arc<str>, Backend),
    order: &Order,
    front: Option<ServiceKey>,
) {
    let Order { command, author, reason, since, beneath: _, front: _ } = order;
    let command = match command {
        Command::Weight(weight) => format!("weight {weight}"),
        Command::Drain { until } => format!("drain {until}"),
        Command::Disable => "disable".to_owned(),
    };
    let (service, author, reason) = (escape(service), escape(author), escape(reason));
    let front = front.map(|front| format!("\t{front}")).unwrap_or_default();
    let _ = writeln!(text, "{service}\t{backend}\t{command}\t{since}\t{author}\t{reason}{front}");
}

/// `None`: it makes no sense, or says more than we understand.
fn parse(line: &str) -> Option<((Arc<str>, Backend), Order)> {
    let mut fields = line.split('\t');
    let mut field = || fields.next();
    let (service, backend) = (unescape(field()?), parse_backend(field()?)?);
    let word = field()?;
    let command = match word.split_once(' ') {
        Some(("weight", weight)) => Command::Weight(weight.parse().ok()?),
        Some(("drain", until)) => Command::Drain { until: until.parse().ok()? },
        Some(_) => return None,
        None if word == "disable" => Command::Disable,
        None => return None,
    };
    let since = field()?.parse().ok()?;
    let (author, reason) = (unescape(field()?), unescape(field()?));
    let front = match field() {
        Some(front) => Some(owned::parse(front)?),
        None => None,
    };
    let is_whole = !service.is_empty() && field().is_none();
    let order = Order { command, author, reason, since, beneath: None, front };
    is_whole.then(|| ((service.into(), backend), order))
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
mod tests;
