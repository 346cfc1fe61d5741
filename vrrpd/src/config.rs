//! `vrrp.d/NAME.toml` -> [`RouterConfig`]; `vrrpd.toml` -> [`Settings`](DaemonSettings). Every mistake of every file
//! is reported.

mod authentication;
mod garp;
mod held;
pub mod protocol;
mod route;
mod rule;
mod track;
mod unicast;
mod virtual_address;
mod vmac;
mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::diagnostic::{Location, Report};
use daemon::document::Table;
use daemon::dropin;
use daemon::reader::{Located, Reader};
use log::LevelFilter;
use protocol::Checksum;

use crate::interfaces::Interfaces;
use crate::objects::{AddressOptions, Route, RouteKey, Rule};
use crate::packet::Authentication;
use crate::router::settings::Settings;
use crate::track::Tracker;
use crate::track::units::target_name;
use crate::transport::Transport;
use crate::types::{Centiseconds, Family, Priority, Version, VirtualRouterId};
use crate::vmac::Vmac;
use track::References;

/// Version 2 counts whole seconds in eight bits, version 3 centiseconds in twelve.
const INTERVALS_V2: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(255);
const INTERVALS_V3: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(40_950);

/// What keepalived and habit call things, and what to write here.
const OTHER_KEYS: &[(&str, &str)] = &[
    ("advert_int", "keepalived's advert_int is advert_interval = \"1s\" here"),
    ("vrid", "write virtual_router_id = 1"),
    ("virtual_ipaddress", "keepalived's virtual_ipaddress is addresses = [\"192.168.1.10/24\"] here"),
    ("virtual_ipaddress_excluded", "it is excluded_addresses = [\"192.168.1.11/24\"] here"),
    ("virtual_routes", "it is routes = [\"10.9.0.0/16 via 10.0.0.2\"] here"),
    ("virtual_rules", "it is rules = [\"from 10.0.0.0/24 table 100 priority 100\"] here"),
    ("nopreempt", "keepalived's nopreempt is preempt = false here"),
    ("state", "there is no initial state: the priority decides; leave it out"),
    ("vrrp_version", "keepalived's vrrp_version is version = 2 (or 3) here"),
    ("auth_type", "keepalived's auth_type PASS is [authentication] with type = \"pass\" here"),
    (
        "auth_pass",
        "keepalived's auth_pass is [authentication] with type = \"pass\" and password_file = \"…\" here",
    ),
    ("password", "it belongs below [authentication]"),
    ("vrrp_startup_delay", "keepalived's vrrp_startup_delay is startup_delay = \"10s\" here"),
    ("vrrp_sync_group", "write sync_group = \"NAME\" in the file of each member"),
    ("garp_master_delay", "keepalived's garp_master_delay is delay = \"5s\" below [garp] here"),
    ("garp_master_repeat", "keepalived's garp_master_repeat is repeat = 5 below [garp] here"),
    ("garp_master_refresh", "keepalived's garp_master_refresh is refresh = \"60s\" below [garp] here"),
    ("garp_master_refresh_repeat", "it is refresh_repeat = 1 below [garp] here"),
    ("garp_interval", "keepalived's garp_interval is interval below [garp] here"),
    ("v3_checksum_as_v2", "it is checksum = \"rfc\" here; the default, \"auto\", does what the peers do"),
    (
        "track_interface",
        "it is track = [{ interface = \"eth1\" }] here; those of a router and of its addresses are tracked always",
    ),
    (
        "track_script",
        "it is track = [{ check = \"NAME\", target = \"127.0.0.1:80\" }] here: checks belong to checkd",
    ),
    ("track_process", "it is track = [{ unit = \"nginx.service\" }] here"),
    (
        "track_file",
        "it is track = [{ check = \"NAME\", target = \"127.0.0.1:80\" }] here: checks belong to checkd",
    ),
    ("unicast_peer", "keepalived's unicast_peer is [unicast] with peers = [\"10.0.0.2\"] here"),
    ("unicast_src_ip", "keepalived's unicast_src_ip is [unicast] with source = \"10.0.0.1\" here"),
    ("notify", NOTIFY),
    ("notify_master", NOTIFY),
    ("notify_backup", NOTIFY),
    ("notify_fault", NOTIFY),
    ("notify_stop", NOTIFY),
    ("use_vmac", "keepalived's use_vmac is vmac = true here"),
    ("vmac_xmit_base", "it is vmac = { advertise_from_parent = true } here"),
    ("no_accept", "keepalived's no_accept is accept = false here"),
];

const NOTIFY: &str =
    "have a unit follow the role: PartOf= and WantedBy=vrrp-active@NAME.target (or vrrp-fault@NAME.target)";

/// One virtual router, validated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterConfig {
    pub interface: Arc<str>,
    /// Of its advertised addresses.
    pub family: Family,
    pub vrid: VirtualRouterId,
    pub settings: Settings,
    pub transport: Transport,
    /// Of addresses that are not installed in the usual way.
    pub address_options: BTreeMap<IpAddr, Arc<AddressOptions>>,
    pub routes: Vec<Arc<Route>>,
    pub rules: Vec<Arc<Rule>>,
    /// Version 2 only.
    pub authentication: Authentication,
    /// What to send; both forms are received. Version 3 over IPv4 only.
    pub checksum: Checksum,
    /// What its priority, or its taking part, depends on besides its own interfaces.
    pub track: Vec<Tracker>,
    pub vmac: Option<Vmac>,
    /// Accept_Mode (RFC 9568, 6.1).
    pub accept: bool,
}

impl RouterConfig {
    /// The interface through which frames about an address leave: not the virtual MAC interface, but the one below it.
    pub fn wire<'a>(&'a self, interface: &'a Arc<str>) -> &'a Arc<str> {
        let is_vmac = self.vmac.as_ref().is_some_and(|vmac| vmac.name == *interface);
        if is_vmac { &self.interface } else { interface }
    }
}

/// `vrrpd.toml`: optional, as is each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DaemonSettings {
    pub log_level: LevelFilter,
}

/// Everything that was configured, routers by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    pub routers: BTreeMap<String, RouterConfig>,
    pub settings: DaemonSettings,
}

/// Where things stand that may clash with those of another file.
#[derive(Debug, Default)]
struct Places {
    vrids: BTreeMap<(Arc<str>, Family, VirtualRouterId), Location>,
    addresses: virtual_address::Places,
    routes: BTreeMap<RouteKey, Location>,
    rules: BTreeMap<Rule, Location>,
    groups: protocol::Groups,
    vmacs: BTreeMap<Arc<str>, Location>,
}

/// Read everything below `root`. What is returned is only to be used if the report has no errors.
///
/// `present`: for `--check`, the machine's interfaces, to warn of those that are missing; `None` when the daemon runs.
pub fn load(root: &Path, present: Option<&Interfaces>, report: &mut Report) -> Configuration {
    let mut routers = BTreeMap::new();
    let mut places = Places::default();
    let references = References::new(root);
    for object in dropin::load_directory(root, "vrrp.d", report) {
        let mut reader = Reader::new(&object.table, report);
        let router =
            RouterReader { root, present, references: &references, places: &mut places, reader: &mut reader }
                .read();
        reader.finish(OTHER_KEYS);
        if let Err(reason) = target_name("vrrp-active", &object.name) {
            report.file_error(&object.path, reason);
        }
        if let Some(router) = router {
            routers.insert(object.name, router);
        }
    }
    protocol::check_groups(&places.groups, report);
    let settings = dropin::load_file(root, "vrrpd", report);
    let settings = read_settings(settings.as_ref().map(|object| &object.table), report);
    Configuration { routers, settings }
}

fn read_settings(table: Option<&Table>, report: &mut Report) -> DaemonSettings {
    let Some(table) = table else { return DaemonSettings { log_level: LevelFilter::Info } };
    let mut reader = Reader::new(table, report);
    let log_level = daemon::log::read_level(&mut reader);
    reader.finish(&[]);
    DaemonSettings { log_level }
}

/// One file on its way to a [`RouterConfig`].
struct RouterReader<'a, 'b> {
    root: &'a Path,
    present: Option<&'a Interfaces>,
    references: &'a References<'a>,
    places: &'a mut Places,
    reader: &'a mut Reader<'b>,
}

impl RouterReader<'_, '_> {
    /// `None`: something that a router cannot be without is missing or wrong. All keys are read in any case.
    fn read(mut self) -> Option<RouterConfig> {
        let interface = self.interface();
        let version = self.version();
        let priority = self.reader.integer::<u8>("priority", 1..=255);
        let priority = priority.map_or(Priority::DEFAULT, |number| Priority(number.value));
        let preempt = self.preempt(priority);
        let advert_interval = self.advert_interval(version);
        let addresses = virtual_address::read(
            self.reader,
            interface.as_ref().map(|interface| &interface.value),
            &mut self.places.addresses,
            self.present,
        );
        let family = addresses
            .as_ref()
            .and_then(|addresses| addresses.advertised.first())
            .map(|address| Family::of(address.address));
        let vrid = self.vrid(interface.as_ref(), family);
        let transport = self.transport(priority, family, addresses.as_ref());
        let parent = interface.as_ref().map(|interface| &interface.value);
        let vmac = self.vmac(parent, family, vrid, &transport);
        let addresses = vmac::place(addresses, parent, vmac.as_ref());
        let accept = vmac::read_accept(self.reader, parent.map(|name| &**name), priority);
        let (routes, rules) = self.routing(family);
        let garp = garp::read(self.reader);
        let authentication = authentication::read(self.reader, self.root, version, self.present.is_some());
        let checksum = protocol::checksum(self.reader, version, family);
        let track = self.track(priority, interface.as_ref(), addresses.as_ref());
        let preempt_delay = protocol::preempt_delay(self.reader, preempt, priority);
        let startup_delay = protocol::startup_delay(self.reader);
        let down_timer_adverts = protocol::down_timer_adverts(self.reader);
        let sync_group = protocol::sync_group(self.reader, priority, &mut self.places.groups);
        // Nothing is left out before here: a key that nobody asked for would be called unknown.
        let addresses = addresses?;
        let settings = Settings {
            version: version.unwrap_or(Version::V3),
            priority,
            preempt,
            preempt_delay,
            startup_delay,
            advert_interval,
            down_timer_adverts,
            addresses: addresses.advertised,
            excluded_addresses: addresses.excluded,
            garp,
            sync_group,
        };
        protocol::check(self.reader, &settings, family?, self.present);
        version?;
        Some(RouterConfig {
            interface: interface?.value,
            family: family?,
            vrid: vrid?,
            settings,
            transport,
            address_options: addresses.options,
            routes,
            rules,
            authentication,
            checksum,
            track,
            vmac,
            accept,
        })
    }

    fn transport(
        &mut self,
        priority: Priority,
        family: Option<Family>,
        addresses: Option<&virtual_address::Addresses>,
    ) -> Transport {
        let context = unicast::Context {
            family,
            addresses: addresses.map(|addresses| addresses.advertised.as_slice()).unwrap_or_default(),
            owner: priority == Priority::OWNER,
            present: self.present,
        };
        unicast::read(self.reader, &context)
    }

    fn routing(&mut self, family: Option<Family>) -> (Vec<Arc<Route>>, Vec<Arc<Rule>>) {
        let routes = self.reader.array("routes");
        let routes = route::read_all(routes, family, &mut self.places.routes, self.reader.report());
        let rules = self.reader.array("rules");
        let rules = rule::read_all(rules, family, &mut self.places.rules, self.reader.report());
        (routes, rules)
    }

    fn track(
        &mut self,
        priority: Priority,
        interface: Option<&Located<Arc<str>>>,
        addresses: Option<&virtual_address::Addresses>,
    ) -> Vec<Tracker> {
        let own = addresses
            .into_iter()
            .flat_map(|addresses| addresses.advertised.iter().chain(&addresses.excluded));
        let own = own.map(|address| &address.interface);
        let own: Vec<_> = own.chain(interface.map(|interface| &interface.value)).cloned().collect();
        let Self { references, present, .. } = self;
        track::read_all(self.reader, track::Context { references, priority, present: *present, own: &own })
    }

    fn interface(&mut self) -> Option<Located<Arc<str>>> {
        let name = self.reader.parse("interface", interface_name);
        let name = self.reader.require("interface", name, "interface = \"eth0\"")?;
        warn_if_missing(&name, self.present, self.reader.report());
        Some(name)
    }

    /// A VRID belongs to one router of a family on each interface, or two would answer for each other.
    fn vrid(
        &mut self,
        interface: Option<&Located<Arc<str>>>,
        family: Option<Family>,
    ) -> Option<VirtualRouterId> {
        let number = self.reader.integer::<u8>("virtual_router_id", 1..=255);
        let number = self.reader.require("virtual_router_id", number, "virtual_router_id = 1")?;
        let vrid = VirtualRouterId::new(number.value).expect("the range begins with 1");
        let interface = interface?;
        let key = (Arc::clone(&interface.value), family.unwrap_or(Family::V4), vrid);
        if let Some(first) = self.places.vrids.get(&key) {
            let message = format!("virtual_router_id {vrid} is used twice on {}", interface.value);
            let hint = format!("the other is at {first}");
            self.reader.report().error(&number.at, message).hint(hint);
            return None;
        }
        self.places.vrids.insert(key, number.at);
        Some(vrid)
    }

    fn vmac(
        &mut self,
        interface: Option<&Arc<str>>,
        family: Option<Family>,
        vrid: Option<VirtualRouterId>,
        transport: &Transport,
    ) -> Option<Vmac> {
        let unicast = !transport.uses_group();
        let of = || Some(vmac::Of { interface: interface?, family: family?, vrid: vrid?, unicast });
        vmac::read(self.reader, of(), &mut self.places.vmacs, self.present)
    }

    fn version(&mut self) -> Option<Version> {
        let Some(number) = self.reader.integer::<u8>("version", 2..=3) else {
            // Missing is version 3; wrong has been reported and must not be taken for 3.
            return self.reader.value("version").is_none().then_some(Version::V3);
        };
        Some(if number.value == 2 { Version::V2 } else { Version::V3 })
    }

    fn preempt(&mut self, priority: Priority) -> bool {
        let Some(preempt) = self.reader.boolean("preempt") else { return true };
        if !preempt.value && priority == Priority::OWNER {
            let message = "a router of priority 255 always preempts, 'preempt' changes nothing";
            self.reader.report().warning(&preempt.at, message);
        }
        preempt.value
    }

    fn advert_interval(&mut self, version: Option<Version>) -> Centiseconds {
        let default = Centiseconds(100);
        let (range, unit) = match version {
            Some(Version::V2) => (INTERVALS_V2, Duration::from_secs(1)),
            Some(Version::V3) | None => (INTERVALS_V3, Duration::from_millis(10)),
        };
        let Some(interval) = self.reader.duration("advert_interval", range) else { return default };
        if interval.value.as_nanos() % unit.as_nanos() != 0 {
            let (message, hint) = match version {
                Some(Version::V2) => {
                    ("'advert_interval' must be whole seconds in version 2", "use version = 3")
                }
                Some(Version::V3) | None => ("'advert_interval' must be a multiple of 10ms", "round it"),
            };
            self.reader.report().error(&interval.at, message).hint(hint);
            return default;
        }
        let centiseconds = interval.value.as_millis() / 10;
        Centiseconds(u16::try_from(centiseconds).expect("the range ends below 65536 centiseconds"))
    }
}

/// A name that the kernel accepts (dev_valid_name): the end of the sentence "'interface' is …" otherwise.
fn interface_name(name: &str) -> Result<Arc<str>, String> {
    let wrong = |c: char| c.is_whitespace() || c == '/' || c == ':';
    if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(wrong) {
        return Err(format!("not the name of a network interface: \"{name}\""));
    }
    Ok(Arc::from(name))
}

fn warn_if_missing(name: &Located<Arc<str>>, present: Option<&Interfaces>, report: &mut Report) {
    if present.is_some_and(|present| present.by_name(&name.value).is_none()) {
        let message = format!("interface {} does not exist (yet)", name.value);
        report.warning(&name.at, message).hint("the router stays in the state Fault until it appears");
    }
}

#[cfg(test)]
mod tests;
