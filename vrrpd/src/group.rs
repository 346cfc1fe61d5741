//! Sync groups: virtual routers that are Active all together or not at all, as a firewall's two sides must be.
//!
//! Pure. A member whose Active_Down_Timer fires does not become Active but wants to; when all want to, all do. When one
//! stops being Active, all give up, with priority 0, so that the other machine's members follow each other. And when one
//! cannot take part, none can. Nothing here is sent: each member speaks RFC 9568 on its own segment, as keepalived's do.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::router::reason::Fault;
use crate::router::{Router, StateName};

/// Where a member stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// It cannot take part.
    Fault,
    /// It does not know yet whether somebody else is Active: it is starting, or new.
    Listening,
    /// Somebody else is Active, or it has just given up.
    Follows,
    /// It would be Active.
    Wants,
    Active,
}

impl Position {
    pub fn of(router: &Router) -> Self {
        match router.state() {
            StateName::Fault => Self::Fault,
            StateName::Initialize => Self::Listening,
            StateName::Active => Self::Active,
            StateName::Backup if router.waits_for_group().is_some() => Self::Wants,
            StateName::Backup if router.follows() => Self::Follows,
            StateName::Backup => Self::Listening,
        }
    }
}

/// What the members are to do, each of those whom it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Stay,
    /// Those that want to be Active are.
    Permit,
    /// Those that are Active give up, because of the member with this index.
    Yield(usize),
}

/// What is to be done with a group whose members stand so.
pub fn decide(members: &[Position]) -> Decision {
    let gone = members.iter().position(|member| matches!(member, Position::Fault | Position::Follows));
    match gone {
        Some(gone) if members.contains(&Position::Active) => Decision::Yield(gone),
        Some(_) => Decision::Stay,
        // A member that is new to a group that is Active has time to find out whether it can be.
        None if members.contains(&Position::Listening) => Decision::Stay,
        None if members.contains(&Position::Wants) => Decision::Permit,
        None => Decision::Stay,
    }
}

/// Whether a router can take part, and from which address, as its own interfaces tell.
#[derive(Clone, Debug)]
pub struct Verdict<Id> {
    pub id: Id,
    pub name: Arc<str>,
    pub group: Option<Arc<str>>,
    pub usable: Result<IpAddr, Fault>,
}

/// One that cannot take part takes its group with it: the others' verdict names it.
pub fn spread_faults<Id>(verdicts: &mut [Verdict<Id>]) {
    let mut faults: BTreeMap<Arc<str>, Fault> = BTreeMap::new();
    for Verdict { name, group, usable, .. } in verdicts.iter() {
        if let (Some(group), Err(fault)) = (group, usable) {
            let spread = || Fault::Group(Arc::clone(name), fault.to_string());
            faults.entry(Arc::clone(group)).or_insert_with(spread);
        }
    }
    for verdict in verdicts {
        let fault = verdict.group.as_ref().and_then(|group| faults.get(group));
        if let (Some(fault), Ok(_)) = (fault, &verdict.usable) {
            verdict.usable = Err(fault.clone());
        }
    }
}

#[cfg(test)]
mod tests;
