//! The key `routes`: routes that the Active router has, each `{ to = "10.9.0.0/16", via = "10.0.0.2", table = 100 }`, or a
//! line of ip-route(8), `"default via 10.0.0.1 dev eth0"`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use daemon::diagnostic::{Location, Report};
use daemon::document::Value;
use daemon::reader::Located;

use super::words::{self, Grammar, Words};
use crate::objects::{DEFAULT_METRIC_V6, MAIN_TABLE, Route, RouteKey, RouteKind, Scope};
use crate::types::Family;

const GRAMMAR: Grammar = Grammar {
    what: "a route",
    example: "{ to = \"10.9.0.0/16\", via = \"10.0.0.2\" }, or \"10.9.0.0/16 via 10.0.0.2\"",
    keys: &["to", "via", "interface", "table", "metric", "source", "scope", "type", "mtu"],
    flag: Some("onlink"),
    first: Some("to"),
    types: &["unicast", "blackhole", "unreachable", "prohibit"],
    aliases: &[
        ("dst", "to"),
        ("gw", "via"),
        ("gateway", "via"),
        ("dev", "interface"),
        ("oif", "interface"),
        ("src", "source"),
        ("priority", "metric"),
        ("preference", "metric"),
    ],
    others: &[
        ("proto", "the routes of vrrpd have the protocol number 112: leave it out"),
        ("protocol", "the routes of vrrpd have the protocol number 112: leave it out"),
        (
            "nexthop",
            "a route has one next hop; for several, have a routing daemon, or static routes, and track",
        ),
        ("or", "a route has one next hop"),
        ("no_track", "a route is not tracked; what it lacks is in the router's Reason"),
        ("track_group", "a route follows its router"),
    ],
};

/// `seen` has the routes of all files so far. `family`: of the router, for what does not say it itself.
pub(super) fn read_all(
    array: Option<Located<&[Value]>>,
    family: Option<Family>,
    seen: &mut BTreeMap<RouteKey, Location>,
    report: &mut Report,
) -> Vec<Arc<Route>> {
    let mut routes = Vec::new();
    for value in array.map(|array| array.value).unwrap_or_default() {
        let Some(words) = GRAMMAR.read(value, report) else { continue };
        let Some(route) = route(&words, family.unwrap_or(Family::V4), report) else { continue };
        if let Some(first) = seen.get(&route.key) {
            let message = format!("a route to {} is given twice", route.key);
            let hint = format!("the other is at {first}; of two, one needs another metric or table");
            report.error(&words.at, message).hint(hint);
            continue;
        }
        seen.insert(route.key.clone(), words.at.clone());
        routes.push(Arc::new(route));
    }
    routes
}

fn route(words: &Words, default_family: Family, report: &mut Report) -> Option<Route> {
    // All keys are read in any case.
    let to = words.get("to", report, words::prefix);
    let via = words.get("via", report, words::address);
    let interface = words.get("interface", report, words::interface);
    let table = words.get("table", report, words::table);
    let metric = words.get("metric", report, words::number);
    let source = words.get("source", report, words::address);
    let scope = words.get("scope", report, |text| one_of(text, &Scope::WORDS));
    let kind = words.get("type", report, |text| one_of(text, &RouteKind::WORDS));
    let mtu = words.get("mtu", report, words::number);
    let (to, via, interface, source) = (to.ok()?, via.ok()?, interface.ok()?, source.ok()?);
    let (table, metric, scope, kind, mtu) = (table.ok()?, metric.ok()?, scope.ok()?, kind.ok()?, mtu.ok()?);
    let Some(to) = to else {
        report.error(&words.at, "'to' is missing").hint(format!("for example: {}", GRAMMAR.example));
        return None;
    };
    let named = to.map(|(address, _)| address).or(via).or(source);
    let family = named.map_or(default_family, Family::of);
    let (destination, prefix_len) = to.unwrap_or_else(|| words::everything(family));
    let metric = match (family, metric.unwrap_or(0)) {
        (Family::V6, 0) => DEFAULT_METRIC_V6,
        (Family::V4 | Family::V6, metric) => metric,
    };
    let table = table.unwrap_or(MAIN_TABLE);
    let key = RouteKey { family, table, destination, prefix_len, metric };
    let (kind, onlink) = (kind.unwrap_or_default(), words.flag.is_some());
    let route = Route { key, kind, via, interface, source, scope, mtu, onlink };
    let Err((at, message, hint)) = check(&route, words) else { return Some(route) };
    report.error(&at, message).hint(hint);
    None
}

type Mistake = (Location, String, &'static str);

/// What the kernel would refuse whenever it was asked.
fn check(route: &Route, words: &Words) -> Result<(), Mistake> {
    let wrong = |key: &str, message: String, hint| Err((words.at(key).clone(), message, hint));
    let family = route.key.family;
    for (key, address) in [("via", route.via), ("source", route.source)] {
        if address.is_some_and(|address| Family::of(address) != family) {
            return wrong(key, format!("'{key}' is not of the route's family, {family}"), GRAMMAR.example);
        }
    }
    if route.kind != RouteKind::Unicast {
        let needless = ["via", "interface", "source", "mtu"].into_iter().find(|key| words.has(key));
        if let Some(key) = needless.or(route.onlink.then_some("onlink")) {
            let message = format!("'{key}' means nothing to a route of type {}", route.kind.as_str());
            return wrong(key, message, "what it matches is dropped");
        }
        return Ok(());
    }
    if route.via.is_none() && route.interface.is_none() {
        let message = "a route needs 'via', 'interface' or both".to_owned();
        return wrong("to", message, "or type = \"blackhole\"");
    }
    let link_local = matches!(route.via, Some(IpAddr::V6(via)) if via.is_unicast_link_local());
    if route.interface.is_none() && (link_local || route.onlink) {
        let message = "a next hop that no other route leads to needs 'interface'".to_owned();
        return wrong("via", message, "interface = \"eth0\"");
    }
    if family == Family::V6 && route.scope.is_some() {
        return wrong("scope", "IPv6 knows no scopes of routes".to_owned(), "leave it out");
    }
    let least = if family == Family::V6 { 1280 } else { 68 };
    if route.mtu.is_some_and(|mtu| !(least..=65_535).contains(&mtu)) {
        return wrong("mtu", format!("'mtu' must be from {least} to 65535"), "in bytes");
    }
    Ok(())
}

pub(super) fn one_of<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let known = choices.iter().find(|(word, _)| *word == text);
    known.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        format!("none of {}: \"{text}\"", words.join(", "))
    })
}

#[cfg(test)]
mod tests;
