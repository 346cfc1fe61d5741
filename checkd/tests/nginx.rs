//! A real web server, nginx: pages as they are, made in chunks, through a proxy, large, and what nginx and the kernel
//! have to say about how our probes close their connections.

#![expect(
    clippy::unwrap_used,
    reason = "clippy does not know that the functions beside the tests are tests, too"
)]

mod support;

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU8, Ordering};

use support::authority::{Authority, Leaf};
use support::servers::{Server, read_request, wait_for_end};
use support::watcher::Watcher;
use support::{World, until};

/// Of a megabyte of "x".
const LARGE: &str = "sha256:1b977e9f84f1b26b6ed7f68b0498faee2385ea4125bd29adce4a7d9106ba3134";
const PORT: u16 = 8080;
const TLS_PORT: u16 = 8443;

struct Nginx {
    process: Child,
    address: Ipv4Addr,
}

impl Nginx {
    /// With the pages `/page`, `/ssi/page` (chunked), `/proxy/page` (chunked, through itself), `/old/page` (up to
    /// the end of the connection), `/large` and `/redirect`; with and without TLS. At an address of its own, so that no port has to be found.
    fn start(world: &World) -> Self {
        static NUMBER: AtomicU8 = AtomicU8::new(1);
        let [.., high, low] = std::process::id().to_be_bytes();
        let address = Ipv4Addr::new(127, 64 | NUMBER.fetch_add(1, Ordering::SeqCst), high, low);
        world.root.write("www/page", "all is well\n");
        world.root.write("www/ssi/page", "<!--# echo var=\"uri\" --> is well\n");
        world.root.write("www/10k", &"<p>The quick brown fox jumps over the lazy dog.</p>\n".repeat(197));
        world.root.write("www/large", &"x".repeat(1_000_000));
        let root = world.root.path().display().to_string();
        let certificate = Authority::new(&world.root).issue(&Leaf::for_name("www.example.com")).path;
        let certificate = certificate.display().to_string();
        world.root.write("nginx.conf", &configuration(&root, address, &certificate));
        let mut command = Command::new("nginx");
        command.arg("-c").arg(world.root.path().join("nginx.conf")).args(["-e", "stderr", "-p", &root]);
        let process = command.spawn().expect("nginx can be started: install nginx-light");
        // A whole request: nginx has something to say about less.
        until("nginx listens", || {
            let mut stream = TcpStream::connect((address, PORT)).ok()?;
            stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").ok()?;
            stream.read_to_end(&mut Vec::new()).ok()
        });
        Self { process, address }
    }

    /// As [`Nginx::target`], with a certificate for www.example.com.
    fn secured(&self) -> String {
        format!("{}:{TLS_PORT}", self.address)
    }

    fn target(&self) -> String {
        format!("{}:{PORT}", self.address)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn configuration(root: &str, address: Ipv4Addr, certificate: &str) -> String {
    let listen = format!("{address}:{PORT}");
    format!(
        "daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log info;
         events {{ worker_connections 512; }}
         http {{
             access_log {root}/access.log; default_type text/plain;
             client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
             fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
             gzip on; gzip_types text/plain; gzip_min_length 1;
             server {{
                 listen {listen};
                 listen {address}:{TLS_PORT} ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate};
                 root {root}/www; absolute_redirect off; log_not_found off;
                 location /ssi/ {{ ssi on; ssi_types text/plain; }}
                 location /old/ {{ alias {root}/www/ssi/; ssi on; ssi_types text/plain; chunked_transfer_encoding off; }}
                 location /proxy/ {{ proxy_http_version 1.1; proxy_pass http://{listen}/ssi/; }}
                 location /redirect {{ return 302 /login?next=page; }}
             }}
         }}
"
    )
}

/// A check's name, its keys, and the state and reason that it comes to.
const CHECKS: &[(&str, &str, &str, &str)] = &[
    ("plain", "path = \"/page\"\nmatches = '^all is well\\n$'", "up", "status 200, body as expected"),
    ("ssi", "path = \"/ssi/page\"\nmatches = '^/ssi/page is well\\n$'", "up", "status 200, body as expected"),
    ("proxy", "path = \"/proxy/page\"\ncontains = \"is well\"", "up", "status 200, body as expected"),
    ("old", "path = \"/old/page\"\nmatches = '^/old/page is well\\n$'", "up", "status 200, body as expected"),
    ("absent", "path = \"/proxy/page\"\nnot_contains = \"well\"", "down", "the body contains 'well'"),
    ("head", "path = \"/large\"\nmethod = \"HEAD\"", "up", "status 200"),
    ("large", "path = \"/large\"\ndigest = \"LARGE\"", "up", "status 200, body as expected"),
    (
        "limited",
        "path = \"/large\"\nmatches = \"y\"\nbody_limit = \"64K\"",
        "down",
        "the body is longer than body_limit = 65536",
    ),
    ("redirect", "path = \"/redirect\"", "down", "status 302 to '/login?next=page', expected 200-299"),
    ("missing", "path = \"/none\"", "down", "status 404, expected 200-299"),
    (
        "part",
        "path = \"/page\"\nstatus = 206\nmatches = \"^is$\"\nheaders = { Range = \"bytes=4-5\" }",
        "up",
        "status 206, body as expected",
    ),
    (
        "gzip",
        "path = \"/page\"\ncontains = \"well\"\nheaders = { Accept-Encoding = \"gzip\" }",
        "down",
        "the body is compressed (gzip), which the request does not accept",
    ),
    (
        "several",
        "paths = [\"/page\", \"/none\", \"/ssi/page\"]",
        "down",
        "/none: status 404, expected 200-299",
    ),
];

#[test]
fn the_pages_of_nginx_are_what_they_are() {
    let world = World::new();
    for (name, keys, _, _) in CHECKS {
        let keys = keys.replace("LARGE", LARGE);
        let keys = format!("type = \"http\"\ninterval = \"10min\"\ntimeout = \"20s\"\n{keys}\n");
        world.check(name, &keys);
        let tls = "tls = true\ntls_ca = \"/etc/ssl/own-ca.pem\"\nhost = \"www.example.com\"\n";
        world.check(&format!("{name}-tls"), &format!("{tls}{keys}"));
    }
    let nginx = Nginx::start(&world);
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    for (name, _, expected_state, expected_reason) in CHECKS {
        let states = watcher.first_states(&[(name, &nginx.target())]);
        let (state, reason) = &states[&nginx.target()];
        assert_eq!((&**state, &**reason), (*expected_state, *expected_reason), "{name}");
        let states = watcher.first_states(&[(&format!("{name}-tls"), &nginx.secured())]);
        let (state, reason) = &states[&nginx.secured()];
        assert_eq!((&**state, &**reason), (*expected_state, *expected_reason), "{name} with TLS");
    }
}

#[test]
fn a_digest_that_keepalived_s_genhash_tells_is_the_one_to_write_here() {
    let world = World::new();
    let nginx = Nginx::start(&world);
    // HTTP/1.0, as keepalived asks: the page comes as it is; here it comes in chunks.
    let output = Command::new("genhash")
        .args(["-s", &nginx.address.to_string(), "-p", &PORT.to_string(), "-u", "/ssi/page"])
        .output()
        .expect("genhash can be started: install keepalived");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    // Alone, or as "MD5SUM = …", depending on its version.
    let digest = output.split_whitespace().last().unwrap_or_default();
    let keys = "type = \"http\"\ninterval = \"10min\"\ntimeout = \"20s\"\npath = \"/ssi/page\"\n";
    world.check("same", &format!("{keys}digest = \"md5:{digest}\"\n"));
    let wrong = "0".repeat(32);
    world.check("other", &format!("{keys}digest = \"md5:{wrong}\"\n"));
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let (state, reason, _) = watcher.probe("same", &nginx.target()).unwrap();
    assert_eq!((state.as_str(), reason.as_str()), ("up", "status 200, body as expected"));
    let (state, reason, _) = watcher.probe("other", &nginx.target()).unwrap();
    let expected = format!("the digest of the body (18 bytes) is md5:{digest}, expected md5:{wrong}");
    assert_eq!((state, reason), ("down".to_owned(), expected));
}

/// Connections to `address` in TIME_WAIT at the client's end.
fn time_waits(address: Ipv4Addr) -> usize {
    // As the kernel prints it: the four bytes as a number of this machine.
    let peers =
        [PORT, TLS_PORT].map(|port| format!("{:08X}:{port:04X}", u32::from_ne_bytes(address.octets())));
    let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
    let is_ours = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        peers.iter().any(|peer| fields[2] == peer) && fields[3] == "06"
    };
    sockets.lines().skip(1).filter(is_ours).count()
}

#[test]
fn a_server_is_left_without_a_word_in_its_log_and_without_connections_that_wait_on_our_side() {
    let world = World::new();
    for (name, keys) in [
        ("page", "path = \"/page\""),
        ("body", "path = \"/ssi/page\"\nmatches = \"well\""),
        ("head", "path = \"/large\"\nmethod = \"HEAD\""),
        ("bad", "path = \"/none\""),
        ("tls", "path = \"/page\"\ntls = true\ntls_ca = \"/etc/ssl/own-ca.pem\"\nhost = \"www.example.com\""),
        ("insecure", "path = \"/large\"\nmethod = \"HEAD\"\ntls = true\ninsecure = true"),
    ] {
        world.check(name, &format!("type = \"http\"\ninterval = \"100ms\"\ntimeout = \"20s\"\n{keys}\n"));
    }
    let nginx = Nginx::start(&world);
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let before = time_waits(nginx.address);
    let target = nginx.target();
    let secured = nginx.secured();
    let mut targets = ["page", "body", "head", "bad"].map(|check| (check, &*target)).to_vec();
    targets.extend(["tls", "insecure"].map(|check| (check, &*secured)));
    watcher.watch(&targets);
    let log = |name: &str| fs::read_to_string(world.root.path().join(name)).unwrap_or_default();
    let probes = until("200 probes", || {
        let count = log("access.log").lines().count();
        (count >= 200).then_some(count)
    });
    // At its level "info", nginx logs what a client does to it that is not quite right. Looked at while checkd still
    // runs: its end would cut off a probe that is under way.
    let complaints: Vec<String> =
        log("error.log").lines().filter(|line| line.contains("client")).map(str::to_owned).collect();
    assert_eq!(complaints, Vec::<String>::new(), "in {probes} probes");
    let waiting = time_waits(nginx.address) - before;
    assert!(waiting <= 6, "{waiting} connections of {probes} wait on our side");
}

#[test]
fn a_server_that_is_still_sending_when_the_outcome_is_known_can_send_to_its_end() {
    let world = World::new();
    world.check("web", "type = \"http\"\ninterval = \"100ms\"\ntimeout = \"20s\"\n");
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let (failures, report) = std::sync::mpsc::channel();
    // Head and body in two portions, as many small servers send them; 200 kB do not fit in any buffer on the way.
    let server = Server::start(move |mut stream| {
        read_request(&mut stream);
        let head = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n");
        let sent =
            head.and_then(|()| [b'x'; 200].iter().try_for_each(|byte| stream.write_all(&[*byte; 1000])));
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // Then it hears our end of it, not a reset.
        let mut rest = [0; 16];
        let end = stream.read(&mut rest);
        let _ = failures.send(sent.and(end));
    });
    watcher.watch(&[("web", &server.address)]);
    for _ in 0..20 {
        let end = report.recv_timeout(support::PATIENCE).expect("another probe");
        assert_eq!(end.map_err(|error| error.to_string()), Ok(0));
    }
    // One that does not close, and one that does not end, are not waited for: they get a reset.
    let (ends, report) = std::sync::mpsc::channel();
    let stubborn = Server::start(move |mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let end = stream.read(&mut [0; 16]);
        let _ = ends.send(end.map_err(|error| error.kind()));
        wait_for_end(stream);
    });
    watcher.watch(&[("web", &stubborn.address)]);
    let end = report.recv_timeout(support::PATIENCE).expect("the end of a probe");
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
}

/// Processor time, sockets and all. To be had again:
/// `cargo test --release -p checkd --test nginx -- --ignored --nocapture what_a_probe_of_10_kib_costs`
#[test]
#[ignore = "a measurement: figures, not a verdict"]
fn what_a_probe_of_10_kib_costs() {
    let digest = "digest = \"sha256:ce689d7034431aed4b32a69231f44e5442c79b21100745b0c07ddff065a39308\"";
    for (name, keys) in [
        ("the head only", "method = \"HEAD\""),
        ("nothing of the body", ""),
        ("contains, at its end", "not_contains = \"panic\"\ncontains = \"fox\""),
        ("matches, to its end", "not_matches = \"(?i)panic|[0-9]+ errors\""),
        ("digest, SHA-256", digest),
    ] {
        let world = World::new();
        let nginx = Nginx::start(&world);
        let mut targets = Vec::new();
        for number in 0..100 {
            let check = format!("c{number}");
            let keys = format!(
                "type = \"http\"\ninterval = \"100ms\"\ntimeout = \"20s\"\npath = \"/10k\"\n{keys}\n"
            );
            world.check(&check, &keys);
            targets.push((check, nginx.target()));
        }
        let (_bus, checkd) = (world.start_bus(), world.start_checkd());
        let watcher = Watcher::new(&world);
        let targets: Vec<(&str, &str)> =
            targets.iter().map(|(check, target)| (&**check, &**target)).collect();
        watcher.watch(&targets);
        let probes = || {
            let log = fs::read(world.root.path().join("access.log")).unwrap_or_default();
            log.iter().filter(|byte| **byte == b'\n').count()
        };
        until("all are going", || (probes() > 500).then_some(()));
        let before = (probes(), checkd.processor_time());
        until("5,000 probes", || (probes() > before.0 + 5_000).then_some(()));
        let after = (probes(), checkd.processor_time());
        let each = (after.1 - before.1) / u32::try_from(after.0 - before.0).unwrap();
        println!("10 KiB from nginx, {name:22} {each:?} a probe, at most {} KiB", checkd.memory_at_most());
    }
}
