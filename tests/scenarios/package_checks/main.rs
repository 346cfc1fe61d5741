//! checkd and checkd-exec as the package installs them, under a real systemd: what their units promise, and what is left
//! after restarts, crashes and commands that do not want to end.

mod commands;
mod configuration;
mod credentials;
mod ends;
mod pings;
mod restarts;
mod site;
