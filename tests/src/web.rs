//! A real web server (nginx) that says its name, and can be told to fail its health page.

use std::path::PathBuf;
use std::process::Command;

use crate::clock::{PATIENCE, wait};
use crate::host::{Host, Process};

/// Answers every path with its host's name, and with 503 while `sick`.
#[derive(Debug)]
pub struct Web {
    directory: PathBuf,
    process: Option<Process>,
}

impl Web {
    /// On port 80 of IPv4.
    pub fn start(host: &Host) -> Self {
        Self::listening(host, &["80"])
    }

    /// Where it listens, in nginx's words: "80", "[::]:8001-8008".
    pub fn listening(host: &Host, places: &[&str]) -> Self {
        let directory = host.directory().join("nginx");
        std::fs::create_dir_all(&directory).expect("making a web server's directory");
        std::fs::write(
            directory.join("nginx.conf"),
            configuration(&directory.display().to_string(), host.name(), places),
        )
        .expect("writing nginx.conf");
        let mut web = Self { directory, process: None };
        web.resume(host);
        web
    }

    /// Starts it (again); listening when it returns.
    pub fn resume(&mut self, host: &Host) {
        let mut command = Command::new("nginx");
        command
            .arg("-c")
            .arg(self.directory.join("nginx.conf"))
            .args(["-e", "stderr", "-p"])
            .arg(&self.directory);
        // It writes that when it listens everywhere.
        let pid = self.directory.join("pid");
        let _ = std::fs::remove_file(&pid);
        self.process = Some(host.spawn("nginx", &mut command));
        wait("nginx listens", PATIENCE, || {
            std::fs::read(&pid).is_ok_and(|pid| !pid.is_empty()).then_some(())
        });
    }

    /// Dies as by `kill -9`; its port then refuses connections.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Lives, but answers 503, or recovers from that.
    pub fn sick(&self, sick: bool) {
        let flag = self.directory.join("sick");
        if sick {
            std::fs::write(flag, "").expect("writing the flag");
        } else {
            let _ = std::fs::remove_file(flag);
        }
    }
}

/// One process only (`master_process off`), so that killing it closes its port.
fn configuration(directory: &str, name: &str, places: &[&str]) -> String {
    let listen: String = places.iter().map(|place| format!("listen {place}; ")).collect();
    format!(
        "daemon off; master_process off; pid {directory}/pid; error_log stderr;
         events {{ worker_connections 512; }}
         http {{
             access_log {directory}/access.log;
             client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
             fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
             default_type text/plain; keepalive_timeout 600s;
             server {{
                 {listen}
                 location / {{
                     if (-f {directory}/sick) {{ return 503 \"{name} is sick\\n\"; }}
                     return 200 \"{name}\\n\";
                 }}
             }}
         }}
"
    )
}
