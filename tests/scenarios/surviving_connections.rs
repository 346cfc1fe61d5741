//! A pair of directors with the kernel's connection synchronisation: whose connections they are changes hands, and a
//! long download does not notice. And a service that belongs to a virtual router is where that is Active.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
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
/// The service is where the virtual router is.
const TIED: &str = "address = \"10.0.10.50:8001\"\nwhile_active = \"gateway\"\n[[server]]\naddress = \"192.168.100.101:8000\"\n";
/// Of each part of the download; its first four bytes are its number.
const PART: usize = 1024;
const PARTS: u32 = 600;
const PACE: Duration = Duration::from_millis(20);

/// Serves one download: parts in order, each in its time.
fn serve(host: &Host) -> std::thread::JoinHandle<()> {
    let listener = host
        .namespace()
        .within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))
        .expect("listening on the web server");
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("the client connects");
        for number in 0..PARTS {
            let mut part = [0; PART];
            part[..4].copy_from_slice(&number.to_be_bytes());
            if stream.write_all(&part).is_err() {
                return;
            }
            pace(PACE);
        }
    })
}

/// Downloads; tells the number of each part, and at the end how it ended.
fn download(host: &Host) -> (Receiver<u32>, std::thread::JoinHandle<Result<u32, String>>) {
    let target = SocketAddr::from((OUTSIDE, PORT));
    let connect = || TcpStream::connect_timeout(&target, PATIENCE);
    let mut stream = host.namespace().within(connect).expect("connecting to the service");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let (told, parts) = channel();
    let thread = std::thread::spawn(move || {
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
    (parts, thread)
}

fn wait_for_part(parts: &Receiver<u32>, number: u32) {
    while parts.recv_timeout(PATIENCE).expect("the download goes on") < number {}
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

#[test]
fn a_long_download_survives_a_planned_and_an_unplanned_failover() {
    ipvs::require();
    let pair = NatPair::new();
    let start = |number: usize| {
        let name = format!("nat-pair/lvs{}", number + 1);
        let mut trivet = Trivet::prepare(&pair.directors[number], &name);
        trivet.write("ipvs.d/download.toml", DOWNLOAD);
        trivet.write("ipvs.d/tied.toml", TIED);
        trivet.write("ipvsd.toml", SYNC);
        trivet.start_all(&pair.directors[number], &["checkd", "ipvsd", "vrrpd"]);
        trivet
    };
    let mut directors = [start(0), start(1)];
    let first = wait("one director is Active", PATIENCE, || pair.active());
    expect_roles(&pair, first);
    for trivet in &directors {
        trivet.wait_for_property(&Property::service("download", "State"), "s \"forwarding\"");
    }
    directors[1 - first].wait_for_property(&Property::service("tied", "State"), "s \"standby\"");

    let server = serve(&pair.web_hosts[0]);
    let (parts, client) = download(&pair.client);
    wait_for_part(&parts, 50);
    wait("the other director knows the connection", PATIENCE, || {
        let text = pair.directors[1 - first].sh("ipvsadm -Lcn");
        text.contains("192.168.100.101:8000").then_some(())
    });
    // Planned: vrrpd is stopped in order.
    directors[first].stop("vrrpd");
    wait("the other director takes over", PATIENCE, || (pair.active() == Some(1 - first)).then_some(()));
    expect_roles(&pair, 1 - first);
    wait_for_part(&parts, 200);
    // It comes back as Backup, and learns the connection; then the Active one loses its power.
    directors[first].run(&pair.directors[first], "vrrpd");
    directors[first].wait_for_property(&Property::router("gateway", "State"), "s \"Backup\"");
    expect_roles(&pair, 1 - first);
    wait_for_part(&parts, 330);
    pair.directors[1 - first].cut();
    wait("the first director takes over again", PATIENCE, || {
        let mine = &pair.directors[first];
        mine.namespace().addresses("eth0").contains(&OUTSIDE).then_some(())
    });
    assert_eq!(client.join().expect("no panic"), Ok(PARTS));
    server.join().expect("no panic");
}
