//! `openssl s_server` on a loopback port: a real TLS server with every option.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::authority::Issued;

pub struct SServer {
    child: Child,
    pub address: String,
}

impl SServer {
    /// `options`: more of s_server's.
    pub fn start(leaf: &Issued, options: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0", "-cert"])
            .arg(&leaf.path)
            .arg("-cert_chain")
            .arg(&leaf.path)
            .arg("-key")
            .arg(&leaf.path)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl can be started: install openssl");
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        // "ACCEPT 127.0.0.1:40735"
        let address = loop {
            line.clear();
            assert!(output.read_line(&mut line).unwrap() > 0, "s_server ended with {:?}", child.wait());
            if let Some(address) = line.trim().strip_prefix("ACCEPT ") {
                break address.to_owned();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        Self { child, address }
    }
}

impl Drop for SServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
