//! Everything that the kernel is to hold while a router is Active.

use std::sync::Arc;

use super::RouterConfig;
use crate::objects::{Object, Spec};

impl RouterConfig {
    pub fn objects(&self) -> impl Iterator<Item = (Object, Spec)> + '_ {
        let addresses = self.settings.held().map(|address| {
            let options = self.address_options.get(&address.address).cloned().unwrap_or_default();
            (Object::Address(address.clone()), Spec::Address(options))
        });
        let routes = self.routes.iter().map(|route| (Object::route(route), Spec::Route(Arc::clone(route))));
        let rules = self.rules.iter().map(|rule| (Object::Rule(Arc::clone(rule)), Spec::Rule));
        addresses.chain(routes).chain(rules)
    }
}
