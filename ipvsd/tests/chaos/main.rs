//! Whatever happens, ipvsd converges: random configurations, health, orders, strange hands, reloads, crashes and stops of
//! the whole daemon on the real kernel; after each calm `ipvsadm` shows what the manual says, and goes on showing it.
//!
//! TRIVET_SEEDS plays more rounds than one, TRIVET_SEED a certain one. In a machine that has IPVS (kernel/main.rs):
//! `TRIVET_FLOOR=4 TRIVET_BIN=/payload tests/vm --with target/debug/ipvsd target/debug/deps/chaos-…`

#![allow(clippy::unwrap_used, reason = "as in every test")]

#[path = "../common/mod.rs"]
mod common;
mod oracle;
mod random;
mod site;
mod world;

use common::table::kernel;
use world::World;

/// Rounds end with so many calms.
const CALMS: u32 = 4;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn after_each_calm_the_table_is_what_the_manual_says_and_stays_so() {
    let seeds = match number("TRIVET_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("TRIVET_SEEDS").unwrap_or(1),
    };
    for seed in seeds {
        // A network, and so a table, for each.
        if kernel().is_none() {
            return;
        }
        let mut world = World::new(seed);
        for _ in 0..CALMS {
            world.unrest();
            world.calm();
        }
    }
}
