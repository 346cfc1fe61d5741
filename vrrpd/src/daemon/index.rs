//! The virtual routers of the daemon, and the ways to one that do not pass by all the others: by its name, by the
//! advertisement that is for it, by an address (a route, a rule) of its own, and by its deadline.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::instance::Instance;
use super::timers::Timers;
use crate::config::RouterConfig;
use crate::objects::Object;
use crate::types::{Family, VirtualRouterId};

/// A router's place. Good for as long as no router is removed: not to be kept over turns of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RouterId(usize);

impl RouterId {
    #[cfg(test)]
    pub(super) fn new(number: usize) -> Self {
        Self(number)
    }

    /// Places are used again: numbers stay small.
    pub(super) fn number(self) -> usize {
        self.0
    }
}

/// What an advertisement says of the router that it is for.
type Group = (Arc<str>, Family, VirtualRouterId);

#[derive(Debug)]
struct Place {
    name: Arc<str>,
    instance: Instance,
}

#[derive(Debug, Default)]
pub(super) struct Routers {
    places: Vec<Option<Place>>,
    free: Vec<RouterId>,
    names: BTreeMap<Arc<str>, RouterId>,
    groups: HashMap<Group, RouterId>,
    objects: HashMap<Object, RouterId>,
    timers: Timers,
}

impl Routers {
    /// A new router; one of the same name is replaced.
    pub(super) fn insert(&mut self, name: &str, instance: Instance) -> RouterId {
        self.remove(name);
        let id = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            RouterId(self.places.len() - 1)
        });
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name), id);
        self.places[id.0] = Some(Place { name, instance });
        self.enter(id);
        self.rearm(id);
        id
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Instance> {
        let id = self.names.remove(name)?;
        self.leave(id);
        self.timers.set(id, None);
        self.free.push(id);
        self.places[id.0].take().map(|place| place.instance)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Another configuration for a router, which is found by that one from now on.
    pub(super) fn configure(&mut self, name: &str, config: RouterConfig) -> Option<RouterId> {
        let id = *self.names.get(name)?;
        self.leave(id);
        if let Some(place) = self.place_mut(id) {
            place.instance.configure(config);
        }
        self.enter(id);
        Some(id)
    }

    pub(super) fn find(&self, name: &str) -> Option<(RouterId, &Instance)> {
        let id = *self.names.get(name)?;
        Some((id, self.get(id)?))
    }

    pub(super) fn get(&self, id: RouterId) -> Option<&Instance> {
        let place = self.places.get(id.0)?.as_ref()?;
        Some(&place.instance)
    }

    /// With its name.
    pub(super) fn get_mut(&mut self, id: RouterId) -> Option<(&Arc<str>, &mut Instance)> {
        self.place_mut(id).map(|place| (&place.name, &mut place.instance))
    }

    /// The router that an advertisement on an interface is for.
    pub(super) fn of_group(
        &self,
        interface: &Arc<str>,
        family: Family,
        vrid: VirtualRouterId,
    ) -> Option<RouterId> {
        self.groups.get(&(Arc::clone(interface), family, vrid)).copied()
    }

    /// Whose address, route or rule it is.
    pub(super) fn of_object(&self, object: &Object) -> Option<RouterId> {
        self.objects.get(object).copied()
    }

    /// In the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Instance)> {
        let place = |(name, id): (_, &RouterId)| Some((name, &self.places[id.0].as_ref()?.instance));
        self.names.iter().filter_map(place)
    }

    /// In the order of their names.
    pub(super) fn ids(&self) -> Vec<RouterId> {
        self.names.values().copied().collect()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Instance> {
        self.places.iter().flatten().map(|place| &place.instance)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Instance> {
        self.places.iter_mut().flatten().map(|place| &mut place.instance)
    }

    /// The earliest deadline of all.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        let next = self.timers.next();
        debug_assert_eq!(
            next,
            self.values().filter_map(|instance| instance.router.deadline()).min(),
            "a router had an event and was not rearmed"
        );
        next
    }

    /// To be called after every event of a router.
    pub(super) fn rearm(&mut self, id: RouterId) {
        let deadline = self.places[id.0].as_ref().and_then(|place| place.instance.router.deadline());
        self.timers.set(id, deadline);
    }

    /// Put the routers whose deadline has come into `due`, the earliest first, and tell its deadline. Each is
    /// to have its event now.
    pub(super) fn take_due(&mut self, now: Instant, due: &mut Vec<RouterId>) -> Option<Instant> {
        self.timers.take_due(now, due)
    }

    fn place_mut(&mut self, id: RouterId) -> Option<&mut Place> {
        self.places.get_mut(id.0)?.as_mut()
    }

    fn enter(&mut self, id: RouterId) {
        let Some(Place { instance, .. }) = &self.places[id.0] else { return };
        let config = &instance.config;
        self.groups.insert((Arc::clone(&config.interface), config.family, config.vrid), id);
        for (object, _) in config.objects() {
            self.objects.insert(object, id);
        }
    }

    /// What another router has taken over meanwhile stays with that one.
    fn leave(&mut self, id: RouterId) {
        let Some(Place { instance, .. }) = &self.places[id.0] else { return };
        let config = &instance.config;
        let group = (Arc::clone(&config.interface), config.family, config.vrid);
        if self.groups.get(&group) == Some(&id) {
            self.groups.remove(&group);
        }
        for (object, _) in config.objects() {
            if self.objects.get(&object) == Some(&id) {
                self.objects.remove(&object);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use daemon::diagnostic::Report;
    use daemon::testing::TempRoot;

    use super::*;
    use crate::config;
    use crate::router::Event;

    #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
    fn now() -> Instant {
        Instant::now()
    }

    fn configured(vrid: u8, address: &str) -> RouterConfig {
        let root = TempRoot::new();
        let text = format!("interface = \"lo\"\nvirtual_router_id = {vrid}\naddresses = [\"{address}\"]\n");
        root.write("etc/trivet/vrrp.d/x.toml", &text);
        config::load(root.path(), None, &mut Report::new()).routers.remove("x").unwrap()
    }

    fn object(config: &RouterConfig) -> Object {
        Object::Address(config.settings.addresses[0].clone())
    }

    // RFC 9568: +7.1-vrid -7.1-vrid +5.2.9-family
    #[test]
    fn a_router_is_found_by_its_name_its_advertisements_and_its_address_until_it_is_removed() {
        let (first, second) = (configured(1, "10.0.0.1/32"), configured(2, "10.0.0.2/32"));
        let mut routers = Routers::default();
        let a = routers.insert("a", Instance::new(now(), 0, first.clone()));
        let b = routers.insert("b", Instance::new(now(), 0, second.clone()));
        let lo: Arc<str> = "lo".into();
        assert_eq!(routers.find("b").map(|(id, _)| id), Some(b));
        assert_eq!(routers.of_group(&lo, Family::V4, second.vrid), Some(b));
        assert_eq!(routers.of_group(&lo, Family::V6, second.vrid), None);
        assert_eq!(routers.of_object(&object(&first)), Some(a));
        assert!(routers.remove("a").is_some());
        assert_eq!(routers.of_object(&object(&first)), None);
        assert_eq!(routers.of_group(&lo, Family::V4, first.vrid), None);
        let c = routers.insert("c", Instance::new(now(), 0, first));
        assert_eq!((c, routers.ids()), (a, vec![b, c]), "a place is used again");
    }

    #[test]
    fn addresses_that_two_routers_exchange_are_found_with_their_new_ones() {
        let (first, second) = (configured(1, "10.0.0.1/32"), configured(2, "10.0.0.2/32"));
        let mut routers = Routers::default();
        let a = routers.insert("a", Instance::new(now(), 0, first.clone()));
        let b = routers.insert("b", Instance::new(now(), 0, second.clone()));
        routers.configure("a", configured(1, "10.0.0.2/32")).unwrap();
        routers.configure("b", configured(2, "10.0.0.1/32")).unwrap();
        assert_eq!(routers.of_object(&object(&first)), Some(b));
        assert_eq!(routers.of_object(&object(&second)), Some(a));
    }

    #[test]
    fn a_removed_router_has_no_deadline() {
        let start = now();
        let mut routers = Routers::default();
        let id = routers.insert("a", Instance::new(start, 0, configured(1, "10.0.0.1/32")));
        let (_, instance) = routers.get_mut(id).unwrap();
        let _ = instance.router.on_event(start, Event::Ready { source: [10, 0, 0, 9].into() });
        routers.rearm(id);
        assert!(routers.deadline().is_some());
        routers.remove("a");
        assert_eq!(routers.deadline(), None);
    }
}
