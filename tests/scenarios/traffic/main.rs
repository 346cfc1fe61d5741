//! What ipvsd writes into the kernel's table, judged by what it does to clients: every way to forward, in both address
//! families and across them; who gets the next connection; and what becomes of connections when servers fail, are
//! drained, limited, or replaced by a sorry server; and for how long a client is remembered.

mod clients;
mod forwarding;
mod health;
mod ipv6;
mod memory;
mod namer;
mod orders;
mod site;
