//! The table and a kernel that does as the real one does. What it makes of addresses, and of routes and rules, is in files of its own.

mod addresses;
mod routing;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressAttribute;
use netlink_packet_route::address::AddressFlags;

use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::interfaces::tests::{address, apply, link, up, virtual_address};
use crate::objects::{Route, RouteKey, RouteKind, Rule, RuleAction};
use crate::routing::RoutingChanges;
use crate::types::Family;

/// A kernel with one interface that carries requests out, and tells its listeners, as the real one does.
struct Bench {
    table: Table,
    interfaces: Interfaces,
    routing: Routing,
    now: Instant,
    /// As promote_secondaries=0 has it: removing the address removes these.
    along: Vec<u8>,
    /// In the order in which they were asked for.
    asked: Vec<String>,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
    fn new() -> Self {
        let mut interfaces = Interfaces::default();
        apply(&mut interfaces, &link(2, "eth0", up()));
        let mut table = Table::default();
        table.looked(BTreeSet::new());
        let (routing, now) = (Routing::default(), Instant::now());
        Self { table, interfaces, routing, now, along: Vec::new(), asked: Vec::new() }
    }

    fn want(&mut self, last: u8) {
        self.want_with(last, AddressOptions::default());
    }

    fn want_with(&mut self, last: u8, options: AddressOptions) {
        self.table.want(Object::Address(virtual_address(last)), Spec::Address(Arc::new(options)));
    }

    fn unwant(&mut self, last: u8) {
        self.table.unwant(&Object::Address(virtual_address(last)));
    }

    fn event(&mut self, message: &RouteNetlinkMessage) {
        let changes = apply(&mut self.interfaces, message);
        self.table.interfaces_changed(&changes, &self.interfaces);
    }

    fn assign(&mut self, last: u8, tag: u8) {
        self.event(&RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, last], 24, tag)));
    }

    fn assign_secondary(&mut self, last: u8, tag: u8) {
        let mut message = address(2, [10, 0, 0, last], 24, tag);
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Secondary));
        self.event(&RouteNetlinkMessage::NewAddress(message));
    }

    fn delete(&mut self, last: u8) {
        self.event(&RouteNetlinkMessage::DelAddress(address(2, [10, 0, 0, last], 24, 0)));
    }

    fn routing_event(&mut self, message: &RouteNetlinkMessage) {
        let mut changes = RoutingChanges::default();
        self.routing.apply(message, &self.interfaces, &mut changes);
        self.table.routing_changed(changes.objects);
    }

    fn plan(&mut self) -> (Vec<Request>, Vec<Notice>) {
        self.table.plan(self.now, World { interfaces: &self.interfaces, routing: &self.routing })
    }

    fn answer(&mut self, request: &Request, result: io::Result<Outcome>) -> Option<Notice> {
        let world = World { interfaces: &self.interfaces, routing: &self.routing };
        self.table.answered(self.now, world, Answer { request: request.clone(), result })
    }

    /// What the kernel does, and answers.
    fn carry_out(&mut self, request: &Request) -> Outcome {
        self.asked.push(format!("{:?} {}", request.operation, request.object));
        match (request.operation, &request.object, &request.how) {
            (Operation::Add | Operation::PutBack, Object::Address(address), how) => {
                let IpAddr::V4(v4) = address.address else { unreachable!() };
                if self.interfaces.find(address).is_some() {
                    return Outcome::AlreadySo;
                }
                match how {
                    How::Message(message) => {
                        self.event(&RouteNetlinkMessage::NewAddress(message.as_ref().clone()));
                    }
                    How::Address { .. } | How::Route { .. } | How::Rule => {
                        self.assign(v4.octets()[3], OUR_TAG);
                    }
                }
            }
            (Operation::Remove, Object::Address(address), _) => {
                if self.interfaces.find(address).is_none() {
                    return Outcome::AlreadySo;
                }
                let IpAddr::V4(v4) = address.address else { unreachable!() };
                self.delete(v4.octets()[3]);
                for last in std::mem::take(&mut self.along) {
                    self.delete(last);
                }
            }
            (Operation::Add, _, How::Route { route, index }) => {
                self.routing_event(&RouteNetlinkMessage::NewRoute(message::route(route, *index)));
            }
            (Operation::Remove, _, How::Route { route, index }) => {
                self.routing_event(&RouteNetlinkMessage::DelRoute(message::route(route, *index)));
            }
            (Operation::Add, Object::Rule(rule), _) => {
                self.routing_event(&RouteNetlinkMessage::NewRule(message::rule(rule)));
            }
            (Operation::Remove, Object::Rule(rule), _) => {
                self.routing_event(&RouteNetlinkMessage::DelRule(message::rule(rule)));
            }
            other => panic!("nobody asks for {other:?}"),
        }
        Outcome::Done
    }

    /// Carry out what is planned now, and return all notices until nothing is left to do.
    fn settle(&mut self) -> Vec<Notice> {
        let mut all = Vec::new();
        loop {
            let (requests, notices) = self.plan();
            all.extend(notices);
            if requests.is_empty() {
                return all;
            }
            let outcomes: Vec<_> = requests.iter().map(|request| self.carry_out(request)).collect();
            for (request, outcome) in requests.iter().zip(outcomes) {
                all.extend(self.answer(request, Ok(outcome)));
            }
        }
    }

    fn has(&self, last: u8) -> bool {
        self.interfaces.find(&virtual_address(last)).is_some()
    }
}

fn default_route(metric: u32, via: [u8; 4]) -> (Object, Spec) {
    let key =
        RouteKey { family: Family::V4, table: 254, destination: [0, 0, 0, 0].into(), prefix_len: 0, metric };
    let route = Route {
        key,
        kind: RouteKind::Unicast,
        via: Some(via.into()),
        interface: Some("eth0".into()),
        source: None,
        scope: None,
        mtu: None,
        onlink: false,
    };
    (Object::route(&route), Spec::Route(Arc::new(route)))
}

fn rule() -> Object {
    let action = RuleAction::Table(100);
    let (from, to, iif, oif, fwmark) = (None, None, None, None, None);
    Object::Rule(Arc::new(Rule { family: Family::V4, priority: 100, from, to, iif, oif, fwmark, action }))
}

/// Notices as words: `io::Error` cannot be compared.
fn words(notices: &[Notice]) -> Vec<String> {
    notices.iter().map(word).collect()
}

fn word(notice: &Notice) -> String {
    let what = match notice {
        Notice::Installed(_) => "installed",
        Notice::Foreign(_) => "foreign",
        Notice::Lost(_) => "lost",
        Notice::LeftBehind(_) => "left behind",
        Notice::TakenAlong(_) => "taken along",
        Notice::Failed(..) => "failed",
    };
    let object = notice.object().to_string();
    format!("{what} {}", object.trim_end_matches("/24 on eth0"))
}
