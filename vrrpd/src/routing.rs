//! Which of our routes and rules the kernel has: the mirror, and the events that keep it.
//!
//! A router may have a million routes of others. The kernel passes only routes with our number to us (a socket filter,
//! and a filter in the dump's request). It takes IPv4 routes away with a link or an address and says nothing; whoever
//! sees such a thing has to look again, on the thread in `kernel.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use daemon::event_loop::Clock;
use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteMessage, RouteProtocol};
use netlink_packet_route::rule::RuleMessage;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::SockFlag;
use socket2::{SockFilter, SockRef};

use crate::interfaces::Interfaces;
use crate::kernel;
use crate::monitor::Rest;
use crate::netlink::{DATAGRAM, Datagram, RouteSocket, messages};
use crate::objects::message::{OUR_PROTOCOL, family, parse_route, parse_rule};
use crate::objects::{Object, Route, RouteKey, Rule};
use crate::table::{Table, World};
use crate::types::Family;

/// RTMGRP_IPV4_ROUTE | RTMGRP_IPV4_RULE | RTMGRP_IPV6_ROUTE, and RTNLGRP_IPV6_RULE (linux/rtnetlink.h).
const GROUPS: u32 = 0x40 | 0x80 | 0x400 | (1 << (19 - 1));
const RECEIVE_BUFFER: usize = 1024 * 1024;
/// Datagrams read before the loop gets its turn.
const READS: usize = 256;
/// A dump during which something changed is made again, so often.
const DUMPS: usize = 3;

/// Routes with our number, and all rules that could be ones of ours.
#[derive(Debug, Default)]
pub struct Routing {
    routes: BTreeMap<RouteKey, Route>,
    /// Whether it has our number.
    rules: BTreeMap<Rule, bool>,
}

/// What events told us that is new.
#[derive(Debug, Default)]
pub struct RoutingChanges {
    pub objects: BTreeSet<Object>,
    /// Events were lost: look again.
    pub doubtful: bool,
}

/// What a look found.
#[derive(Debug, Default)]
pub struct Dump {
    routes: Vec<RouteMessage>,
    rules: Vec<RuleMessage>,
}

impl Routing {
    /// Take in an event.
    pub fn apply(
        &mut self,
        message: &RouteNetlinkMessage,
        interfaces: &Interfaces,
        changes: &mut RoutingChanges,
    ) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's message types, not ours")]
        match message {
            RouteNetlinkMessage::NewRoute(message) => {
                let Some(route) = parse_route(message, names(interfaces)) else { return };
                changes.objects.insert(Object::route(&route));
                self.routes.insert(route.key.clone(), route);
            }
            RouteNetlinkMessage::DelRoute(message) => {
                let Some(route) = parse_route(message, names(interfaces)) else { return };
                changes.objects.insert(Object::route(&route));
                self.routes.remove(&route.key);
            }
            RouteNetlinkMessage::NewRule(message) => {
                let Some((rule, ours)) = parse_rule(message) else { return };
                changes.objects.insert(Object::Rule(Arc::new(rule.clone())));
                self.rules.insert(rule, ours);
            }
            RouteNetlinkMessage::DelRule(message) => {
                let Some((rule, _)) = parse_rule(message) else { return };
                self.rules.remove(&rule);
                changes.objects.insert(Object::Rule(Arc::new(rule)));
            }
            _ => {}
        }
    }

    /// Replace the picture by what a look found: every object that was there or is now.
    pub fn replace(&mut self, dump: &Dump, interfaces: &Interfaces) -> BTreeSet<Object> {
        let routes = dump.routes.iter().filter_map(|message| parse_route(message, names(interfaces)));
        let new = Self {
            routes: routes.map(|route| (route.key.clone(), route)).collect(),
            rules: dump.rules.iter().filter_map(parse_rule).collect(),
        };
        let old = std::mem::replace(self, new);
        old.objects().chain(self.objects()).collect()
    }

    fn objects(&self) -> impl Iterator<Item = Object> {
        let routes = self.routes.values().map(Object::route);
        routes.chain(self.rules.keys().map(|rule| Object::Rule(Arc::new(rule.clone()))))
    }

    /// One of ours.
    pub fn route(&self, key: &RouteKey) -> Option<&Route> {
        self.routes.get(key)
    }

    /// Whether there is such a rule, and if so, whether it has our number.
    pub fn rule(&self, rule: &Rule) -> Option<bool> {
        self.rules.get(rule).copied()
    }
}

fn names(interfaces: &Interfaces) -> impl Fn(u32) -> Option<Arc<str>> {
    |index| interfaces.by_index(index).map(|interface| Arc::clone(&interface.name))
}

/// Events about routes of ours, and about rules.
#[derive(Debug)]
pub struct RoutingMonitor {
    socket: RouteSocket,
    buffer: Vec<u8>,
}

impl RoutingMonitor {
    pub fn open() -> io::Result<Self> {
        let socket = RouteSocket::open(SockFlag::SOCK_NONBLOCK, GROUPS)?;
        SockRef::from(&socket.as_fd()).attach_filter(&only_ours())?;
        socket.receive_buffer(RECEIVE_BUFFER);
        Ok(Self { socket, buffer: vec![0; DATAGRAM] })
    }

    /// Take in the events that have arrived, as many as one turn may cost; more leave the socket readable.
    ///
    /// # Errors
    /// Events may be lost: look again.
    pub fn read(
        &mut self,
        routing: &mut Routing,
        interfaces: &Interfaces,
        changes: &mut RoutingChanges,
    ) -> io::Result<Rest> {
        for _ in 0..READS {
            let length = match self.socket.receive(&mut self.buffer) {
                Ok(Datagram::Whole(length)) => length,
                Ok(Datagram::Truncated(_)) | Err(Errno::ENOBUFS) => {
                    changes.doubtful = true;
                    continue;
                }
                Err(Errno::EAGAIN) => return Ok(Rest::None),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for message in messages(&self.buffer[..length]) {
                if let NetlinkPayload::InnerMessage(message) = message.payload {
                    routing.apply(&message, interfaces, changes);
                }
            }
        }
        Ok(Rest::Some)
    }
}

impl AsFd for RoutingMonitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Classic BPF on what begins with struct nlmsghdr: pass everything but routes whose rtm_protocol is not ours.
fn only_ours() -> [SockFilter; 7] {
    /// Offsets of nlmsg_type, and of rtm_protocol behind the 16 bytes of header.
    const TYPE: u32 = 4;
    const PROTOCOL: u32 = 16 + 5;
    // BPF loads in network byte order what netlink writes in the machine's own.
    let kind = |number: u16| u32::from(u16::from_be_bytes(number.to_ne_bytes()));
    let code = |parts: u32| u16::try_from(parts).expect("opcodes have 16 bits");
    let load_half = code(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS);
    let load_byte = code(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS);
    let equal = code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K);
    let verdict = code(libc::BPF_RET | libc::BPF_K);
    [
        SockFilter::new(load_half, 0, 0, TYPE),
        SockFilter::new(equal, 1, 0, kind(libc::RTM_NEWROUTE)),
        SockFilter::new(equal, 0, 2, kind(libc::RTM_DELROUTE)),
        SockFilter::new(load_byte, 0, 0, PROTOCOL),
        SockFilter::new(equal, 0, 1, u32::from(OUR_PROTOCOL)),
        SockFilter::new(verdict, 0, 0, u32::MAX),
        SockFilter::new(verdict, 0, 0, 0),
    ]
}

/// All rules, and the routes of ours in all tables. The kernel walks through every route of the machine for it: seconds
/// where there are millions. Where routes never rest the picture may miss one: the next look corrects it.
pub fn dump() -> io::Result<Dump> {
    let socket = RouteSocket::open(SockFlag::empty(), 0)?;
    // Older kernels show all routes; ours are picked from them.
    socket.strict_check();
    let mut last = Dump::default();
    for _ in 0..DUMPS {
        let mut quiet = true;
        last = Dump::default();
        for of in [Family::V4, Family::V6] {
            quiet &= dump_family(&socket, of, &mut last)?;
        }
        if quiet {
            break;
        }
    }
    Ok(last)
}

/// Whether nothing changed meanwhile.
fn dump_family(socket: &RouteSocket, of: Family, dump: &mut Dump) -> io::Result<bool> {
    let mut routes = RouteMessage::default();
    routes.header.address_family = family(of);
    routes.header.protocol = RouteProtocol::from(OUR_PROTOCOL);
    let mut rules = RuleMessage::default();
    rules.header.family = family(of);
    let mut quiet = true;
    for request in [RouteNetlinkMessage::GetRoute(routes), RouteNetlinkMessage::GetRule(rules)] {
        match socket.dump(request, |message| dump.take(message)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => quiet = false,
            // A kernel without IPv6, or without rules (CONFIG_IP_MULTIPLE_TABLES), has none of them.
            Err(error) if error.raw_os_error().is_some() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(quiet)
}

/// Remove every route and rule with our number: what a vrrpd that did not end well left behind. Blocks until it is done.
/// Returns what was removed.
///
/// # Errors
/// If the kernel refuses to list, or to remove one; the others are removed nevertheless.
pub fn release() -> io::Result<Vec<Object>> {
    let interfaces = crate::monitor::dump()?;
    let mut routing = Routing::default();
    let objects = routing.replace(&dump()?, &interfaces);
    let mut table = Table::default();
    table.looked(objects);
    let world = World { interfaces: &interfaces, routing: &routing };
    let (requests, _) = table.plan(Clock::new()?.now(), world);
    let mut removed = Vec::new();
    let mut first_error = Ok(());
    for answer in kernel::perform(requests)? {
        match answer.result {
            Ok(_) => removed.push(answer.request.object),
            Err(error) => first_error = first_error.and(Err(error)),
        }
    }
    first_error.map(|()| removed)
}

impl Dump {
    fn take(&mut self, message: RouteNetlinkMessage) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's message types, not ours")]
        match message {
            RouteNetlinkMessage::NewRoute(route) if u8::from(route.header.protocol) == OUR_PROTOCOL => {
                self.routes.push(route);
            }
            RouteNetlinkMessage::NewRule(rule) => self.rules.push(rule),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
