//! Two hosts on one segment: the servers, and checkd on a private bus, asked with busctl.

use trivet_tests::clock::{PATIENCE, wait};
use trivet_tests::host::{Host, Process};
use trivet_tests::lab::Lab;
use trivet_tests::servers::Servers;
use trivet_tests::trivet::Trivet;

use crate::scripts;

/// Where all servers are.
pub(crate) const SERVER: &str = "10.0.0.5";

pub(crate) struct Site {
    trivet: Trivet,
    tree: Servers,
    server: Host,
    director: Host,
    _lab: Lab,
}

impl Site {
    /// With checkd, which has these checks: name and text. Each probe may take a while: the machine is busy.
    pub(crate) fn new(checks: &[(&str, &str)]) -> Self {
        let patient = |text: &str| format!("timeout = \"10s\"\nfall = 1\n{text}");
        let checks: Vec<_> = checks.iter().map(|(check, text)| (*check, patient(text))).collect();
        let checks: Vec<_> = checks.iter().map(|(check, text)| (*check, text.as_str())).collect();
        Self::with_defaults(&checks)
    }

    /// With checkd, which has these checks just so.
    pub(crate) fn with_defaults(checks: &[(&str, &str)]) -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        let server = lab.host("server", &[("eth0", "lan", "10.0.0.5/24")]);
        let director = lab.host("director", &[("eth0", "lan", "10.0.0.9/24")]);
        let tree = Servers::of_tree();
        let mut files = vec![("ca.pem".to_owned(), certificate(&tree, &server))];
        let text = |(check, text): &(&str, &str)| (format!("check.d/{check}.toml"), (*text).to_owned());
        files.extend(checks.iter().map(text));
        let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let mut trivet = Trivet::with_files(&director, &files);
        trivet.start_bus(&director);
        trivet.run(&director, "checkd");
        Self { trivet, tree, server, director, _lab: lab }
    }

    pub(crate) fn director(&self) -> &Host {
        &self.director
    }

    /// Starts a server; it may take a moment until it serves.
    pub(crate) fn serve(&self, name: &str, script: &str) -> Process {
        self.tree.start(&self.server, name, script)
    }

    /// The state and the reason of one probe. `port`: such as ":6383", or nothing.
    pub(crate) fn probe(&self, check: &str, port: &str) -> (String, String) {
        let (path, target) = (format!("/org/trivet/Check1/check/{check}"), format!("{SERVER}{port}"));
        let call = ["call", "org.trivet.Check1", &path, "org.trivet.Check1.Check", "Probe", "s", &target];
        match self.trivet.bus().busctl(&call) {
            Ok(said) => {
                let mut words = said.splitn(3, ' ').skip(1);
                let state = words.next().unwrap_or_default().trim_matches('"').to_owned();
                let rest = words.next().unwrap_or_default();
                let reason = rest.rsplit_once("\" ").map_or(rest, |(reason, _)| reason);
                (state, unescaped(reason.trim_start_matches('"')))
            }
            Err(error) => (String::new(), error),
        }
    }

    /// Probes until a probe's outcome is this.
    #[track_caller]
    pub(crate) fn wait_for(&self, check: &str, port: &str, state: &str, reason: impl Fn(&str) -> bool) {
        let mut last = (String::new(), String::new());
        let what = format!("{check} at {SERVER}{port} is {state}, for the right reason");
        let deadline = trivet_tests::clock::now() + PATIENCE;
        wait(&what, PATIENCE * 2, || {
            last = self.probe(check, port);
            assert!(trivet_tests::clock::now() < deadline, "{what}, not {last:?}");
            (last.0 == state && reason(&last.1)).then_some(())
        });
    }
}

/// Made on the server, for its address; PEM.
fn certificate(tree: &Servers, server: &Host) -> String {
    let _openssl = tree.start(server, "certificate", scripts::CERTIFICATE);
    let key = server.directory().join("key.pem");
    wait("a certificate", PATIENCE, || key.exists().then_some(()));
    std::fs::read_to_string(server.directory().join("cert.pem")).expect("it is there before its key")
}

/// busctl writes text as C does; of a reason, which is printable, that is a backslash before what is special.
fn unescaped(text: &str) -> String {
    let mut characters = text.chars();
    let next = || match characters.next()? {
        '\\' => characters.next(),
        other => Some(other),
    };
    std::iter::from_fn(next).collect()
}
