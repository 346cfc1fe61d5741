//! ipvsd as the package installs it, under a real systemd, as far as it needs no IPVS: what its unit promises, who may
//! command it, what is left after restarts and reboots, and what it says where the kernel has no IPVS. What needs a
//! table is in `ipvsd_unit.rs`.

mod authority;
mod configuration;
mod remembered;
mod sandbox;
mod site;
mod without_ipvs;
