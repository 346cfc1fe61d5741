//! A pair of directors with the kernel's connection synchronisation: whose connections they are changes hands, and a
//! long download does not notice. And a service that belongs to a virtual router is where that is Active.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, pace, wait, wait_for};
use trivet_tests::host::Host;
use trivet_tests::ipvs;
use trivet_tests::nat_pair::{NatPair, OUTSIDE};
use trivet_tests::trivet::Trivet;

const PORT: u16 = 8000;
const DOWNLOAD: &str = "address = \"10.0.10.50:8000\"\n[[server]]\naddress = \"192.168.100.101:8000\"\n";
const SYNC: &str = "[sync]\ninterface = \"eth1\"\nid = 7\nvirtual_router = \"gateway\"\n";
/// Otherwise a connection's third packet is the first that the other director is told of.
const FROM_THE_BEGINNING: &str = "[sysctl]\nsync_threshold = [0, 0]\nsync_refresh_period = \"10s\"\n";
/// The service is where the virtual router is.
const TIED: &str = "address = \"10.0.10.50:8001\"\nwhile_active = \"gateway\"\n[[server]]\naddress = \"192.168.100.101:8000\"\n";
/// Of each part of the download; its first four bytes are its number.
const PART: usize = 1024;
const PARTS: u32 = 600;
const PACE: Duration = Duration::from_millis(20);

/// Serves so many downloads: parts in order, each in its time.
fn serve(host: &Host, downloads: usize) -> JoinHandle<()> {
    let listener = host
        .namespace()
        .within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))
        .expect("listening on the web server");
    std::thread::spawn(move || {
        let mut streams = Vec::new();
        for _ in 0..downloads {
            let (stream, _) = listener.accept().expect("the client connects");
            streams.push(std::thread::spawn(move || send_parts(stream)));
        }
        streams.into_iter().for_each(|stream| stream.join().expect("no panic"));
    })
}

fn send_parts(mut stream: TcpStream) {
    for number in 0..PARTS {
        let mut part = [0; PART];
        part[..4].copy_from_slice(&number.to_be_bytes());
        if stream.write_all(&part).is_err() {
            return;
        }
        pace(PACE);
    }
}

/// A download that goes on.
struct Download {
    /// The numbers of the parts.
    parts: Receiver<u32>,
    /// At the client.
    port: u16,
    /// How it ended.
    end: JoinHandle<Result<u32, String>>,
}

fn download(host: &Host) -> Download {
    let target = SocketAddr::from((OUTSIDE, PORT));
    let connect = || TcpStream::connect_timeout(&target, PATIENCE);
    let mut stream = host.namespace().within(connect).expect("connecting to the service");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let port = stream.local_addr().expect("it is connected").port();
    let (told, parts) = channel();
    let end = std::thread::spawn(move || {
        for number in 0..PARTS {
            let mut part = [0; PART];
            stream.read_exact(&mut part).map_err(|error| format!("part {number}: {error}"))?;
            let [a, b, c, d, ..] = part;
            let found = u32::from_be_bytes([a, b, c, d]);
            if found != number {
                return Err(format!("part {found} instead of {number}"));
            }
            let _ = told.send(number);
        }
        Ok(PARTS)
    });
    Download { parts, port, end }
}

/// That a director knows the connection from a client's port: by itself, or by what the other one has told it.
fn wait_until_known(director: &Host, port: u16) {
    let from = format!(":{port} {OUTSIDE}:{PORT} 192.168.100.101:8000");
    wait("a director knows the connection", PATIENCE, || {
        let text = director.sh("ipvsadm -Lcn");
        let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        lines.into_iter().any(|line| line.contains(&from)).then_some(())
    });
}

fn wait_for_part(download: &Download, number: u32) {
    while download.parts.recv_timeout(PATIENCE).expect("the download goes on") < number {}
}

/// The synchronisation threads of a director, as `ipvsadm` shows them.
fn daemons(host: &Host) -> String {
    host.sh("ipvsadm -L --daemon")
}

fn expect_roles(pair: &NatPair, active: usize) {
    for (number, host) in pair.directors.iter().enumerate() {
        let word = if number == active { "master sync daemon" } else { "backup sync daemon" };
        wait(&format!("lvs{} runs the {word}", number + 1), PATIENCE, || {
            let text = daemons(host);
            (text.contains(word) && text.matches("sync daemon").count() == 1).then_some(())
        });
        wait_for("the tied service", &(number == active), || ipvs::table(host).contains("10.0.10.50:8001"));
    }
}

/// Both directors with these settings of ipvsd, and the number of the Active one.
fn start(pair: &NatPair, settings: &str) -> ([Trivet; 2], usize) {
    let start = |number: usize| {
        let name = format!("nat-pair/lvs{}", number + 1);
        let mut trivet = Trivet::prepare(&pair.directors[number], &name);
        trivet.write("ipvs.d/download.toml", DOWNLOAD);
        trivet.write("ipvs.d/tied.toml", TIED);
        trivet.write("ipvsd.toml", settings);
        trivet.start_all(&pair.directors[number], &["checkd", "ipvsd", "vrrpd"]);
        trivet
    };
    let directors = [start(0), start(1)];
    let first = wait("one director is Active", PATIENCE, || pair.active());
    expect_roles(pair, first);
    for trivet in &directors {
        trivet.wait_for_property(&Property::service("download", "State"), "s \"forwarding\"");
    }
    (directors, first)
}

#[test]
fn a_long_download_survives_a_planned_and_an_unplanned_failover() {
    ipvs::require();
    let pair = NatPair::new();
    let (mut directors, first) = start(&pair, SYNC);
    directors[1 - first].wait_for_property(&Property::service("tied", "State"), "s \"standby\"");

    let server = serve(&pair.web_hosts[0], 2);
    let early = download(&pair.client);
    wait_for_part(&early, 50);
    wait_until_known(&pair.directors[1 - first], early.port);
    // Planned: vrrpd is stopped in order.
    directors[first].stop("vrrpd");
    wait("the other director takes over", PATIENCE, || (pair.active() == Some(1 - first)).then_some(()));
    expect_roles(&pair, 1 - first);
    wait_for_part(&early, 200);
    // It comes back as Backup, and learns a connection that it never had; then the Active one loses its power.
    directors[first].run(&pair.directors[first], "vrrpd");
    directors[first].wait_for_property(&Property::router("gateway", "State"), "s \"Backup\"");
    expect_roles(&pair, 1 - first);
    let late = download(&pair.client);
    wait_for_part(&late, 50);
    wait_until_known(&pair.directors[first], late.port);
    pair.directors[1 - first].cut();
    wait("the first director takes over again", PATIENCE, || {
        let mine = &pair.directors[first];
        mine.namespace().addresses("eth0").contains(&OUTSIDE).then_some(())
    });
    for download in [early, late] {
        assert_eq!(download.end.join().expect("no panic"), Ok(PARTS));
    }
    server.join().expect("no panic");
}

#[test]
fn a_connection_at_rest_is_known_to_the_other_director_where_the_threshold_says_so() {
    ipvs::require();
    let pair = NatPair::new();
    let (_directors, first) = start(&pair, &format!("{SYNC}{FROM_THE_BEGINNING}"));
    let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT));
    let _listener = pair.web_hosts[0].namespace().within(listen).expect("listening on the web server");
    let connect = || TcpStream::connect_timeout(&SocketAddr::from((OUTSIDE, PORT)), PATIENCE);
    // Two packets, and never another.
    let connection = pair.client.namespace().within(connect).expect("connecting to the service");
    wait_until_known(&pair.directors[1 - first], connection.local_addr().expect("it is connected").port());
}
