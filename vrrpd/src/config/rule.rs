//! The key `rules`: routing rules that the Active router has, each `{ from = "10.0.0.0/24", table = 100, priority = 100 }`,
//! or a line of ip-rule(8), `"from 10.0.0.0/24 table 100 priority 100"`.

use std::collections::BTreeMap;
use std::sync::Arc;

use daemon::diagnostic::{Location, Report};
use daemon::document::Value;
use daemon::reader::Located;

use super::route::one_of;
use super::words::{self, Grammar, Words};
use crate::objects::{Rule, RuleAction};
use crate::types::Family;

const GRAMMAR: Grammar = Grammar {
    what: "a rule",
    example: "{ from = \"10.0.0.0/24\", table = 100, priority = 100 }",
    keys: &["from", "to", "table", "priority", "fwmark", "iif", "oif", "type", "family"],
    flag: None,
    first: None,
    types: &["blackhole", "unreachable", "prohibit"],
    aliases: &[
        ("lookup", "table"),
        ("pref", "priority"),
        ("preference", "priority"),
        ("order", "priority"),
        ("dev", "iif"),
        ("source", "from"),
        ("src", "from"),
        ("dst", "to"),
    ],
    others: &[
        ("proto", "the rules of vrrpd have the protocol number 112: leave it out"),
        ("protocol", "the rules of vrrpd have the protocol number 112: leave it out"),
        ("not", "rules that do not match are not available"),
        ("no_track", "a rule is not tracked; what it lacks is in the router's Reason"),
        ("track_group", "a rule follows its router"),
    ],
};
const TYPES: [(&str, RuleAction); 3] = [
    ("blackhole", RuleAction::Blackhole),
    ("unreachable", RuleAction::Unreachable),
    ("prohibit", RuleAction::Prohibit),
];
const FAMILIES: [(&str, Family); 2] = [("ipv4", Family::V4), ("ipv6", Family::V6)];

/// As [`super::route::read_all`].
pub(super) fn read_all(
    array: Option<Located<&[Value]>>,
    family: Option<Family>,
    seen: &mut BTreeMap<Rule, Location>,
    report: &mut Report,
) -> Vec<Arc<Rule>> {
    let mut rules = Vec::new();
    for value in array.map(|array| array.value).unwrap_or_default() {
        let Some(words) = GRAMMAR.read(value, report) else { continue };
        let Some(rule) = rule(&words, family.unwrap_or(Family::V4), report) else { continue };
        if let Some(first) = seen.get(&rule) {
            report
                .error(&words.at, format!("the rule '{rule}' is given twice"))
                .hint(format!("the other is at {first}"));
            continue;
        }
        seen.insert(rule.clone(), words.at.clone());
        rules.push(Arc::new(rule));
    }
    rules
}

fn rule(words: &Words, default_family: Family, report: &mut Report) -> Option<Rule> {
    let from = words.get("from", report, words::prefix);
    let to = words.get("to", report, words::prefix);
    let table = words.get("table", report, words::table);
    let priority = words.get("priority", report, words::number);
    let fwmark = words.get("fwmark", report, fwmark);
    let iif = words.get("iif", report, words::interface);
    let oif = words.get("oif", report, words::interface);
    let kind = words.get("type", report, |text| one_of(text, &TYPES));
    let family = words.get("family", report, |text| one_of(text, &FAMILIES));
    let (from, to) = (from.ok()?.flatten(), to.ok()?.flatten());
    let (table, kind, iif, oif) = (table.ok()?, kind.ok()?, iif.ok()?, oif.ok()?);
    let (priority, fwmark, family) = (priority.ok()?, fwmark.ok()?, family.ok()?);
    let named = from.or(to).map(|(address, _)| Family::of(address));
    let family = family.or(named).unwrap_or(default_family);
    for (key, prefix) in [("from", from), ("to", to)] {
        if prefix.is_some_and(|(address, _)| Family::of(address) != family) {
            report.error(words.at(key), format!("'{key}' is not of the rule's family, {family}"));
            return None;
        }
    }
    let action = match (table, kind) {
        (Some(table), None) => RuleAction::Table(table),
        (None, Some(kind)) => kind,
        (None, None) | (Some(_), Some(_)) => {
            let message = "a rule needs either 'table' or 'type'";
            report.error(&words.at, message).hint(GRAMMAR.example);
            return None;
        }
    };
    let Some(priority) = priority.filter(|priority| *priority > 0) else {
        let message =
            "a rule needs a 'priority', at least 1: rules are asked in the order of their priorities";
        let hint = "below 32766, that of the table main, to be asked before it";
        report.error(words.at("priority"), message).hint(hint);
        return None;
    };
    // Everything is the same as nothing said.
    let some = |prefix: Option<_>| prefix.filter(|(_, len)| *len > 0);
    Some(Rule { family, priority, from: some(from), to: some(to), iif, oif, fwmark, action })
}

/// `MARK` or `MARK/MASK`.
fn fwmark(text: &str) -> Result<(u32, u32), String> {
    let (mark, mask) = text.split_once('/').map_or((text, None), |(mark, mask)| (mark, Some(mask)));
    let (mark, mask) = (words::number(mark)?, mask.map(words::number).transpose()?.unwrap_or(u32::MAX));
    if mark & !mask != 0 {
        return Err(format!("a mark with bits outside of its mask: \"{text}\""));
    }
    Ok((mark, mask))
}
