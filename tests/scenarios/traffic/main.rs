//! What ipvsd writes into the kernel's table, judged by what it does to clients: every way to forward, in both address
//! families and across them; who gets the next connection; and what becomes of connections when servers fail, are
//! drained, limited, or replaced by a sorry server.

mod clients;
mod forwarding;
mod health;
mod orders;
mod site;
