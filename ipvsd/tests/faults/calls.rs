//! Calls to the kernel that fail now and then, and for a while, by `strace`, which does not make them at all then: what
//! the kernel had to say meanwhile stays in the socket and comes too late.

use std::time::Duration;

use daemon::event_loop::Clock;
use nix::sys::signal::Signal;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sendto, socket,
};
use nix::unistd::Pid;

use crate::common::table::{ipvsadm, kernel, wait_for_listing};
use crate::common::{Bus, FakeCheckd, Ipvsd, pause, wait_for};
use crate::strace::{RECEIVE, SEND, Strace, arguments, failing};
use crate::{FIRST, SECOND, SERVICE, root, service};

#[test]
fn calls_that_fail_now_and_then_lose_nothing() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root("check = \"tcp\""), Bus::new());
    root.write("etc/trivet/ipvsd.toml", "resync_interval = \"300ms\"\n");
    let checkd = FakeCheckd::new(&bus);
    checkd.say("tcp", "192.168.100.101:80", "up");
    checkd.say("tcp", "192.168.100.102:80", "up");
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("both servers", &[SERVICE, FIRST, SECOND]);
    // Primes, so that it is another call each time.
    let faults = [
        (SEND, "ENOBUFS", "3+11"),
        (SEND, "ENOMEM", "2+7"),
        (SEND, "EINTR", "2+7"),
        (RECEIVE, "ENOBUFS", "2+11"),
        (RECEIVE, "ENOMEM", "3+13"),
        (RECEIVE, "EAGAIN", "2+11"),
        (RECEIVE, "EINTR", "1+2"),
    ];
    for (calls, errno, when) in faults {
        let strace = Strace::new(&ipvsd, root.path(), calls, &failing(errno, when));
        println!("{errno} for {calls}, {when}");
        checkd.say("tcp", "192.168.100.101:80", "down");
        wait_for_listing(&format!("a failed server's removal with {errno} for {calls}"), &[SERVICE, SECOND]);
        ipvsadm("-C");
        checkd.say("tcp", "192.168.100.101:80", "up");
        wait_for_listing(&format!("a repair with {errno} for {calls}"), &[SERVICE, FIRST, SECOND]);
        strace.wait_until_injected(3);
        strace.end();
        wait_for_listing("the same after it", &[SERVICE, FIRST, SECOND]);
    }
    wait_for("a kernel without a fault", || {
        let fault = bus.property("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "KernelFault");
        fault.contains("Str(\"\")").then_some(())
    });
}

#[test]
fn calls_that_fail_for_a_while_are_said_once_and_everything_is_done_afterwards() {
    let Some(_kernel) = kernel() else { return };
    for (calls, errno, words) in [
        (SEND, "ENOMEM", "Cannot allocate memory"),
        (SEND, "ENOBUFS", "No buffer space available"),
        (RECEIVE, "ENOBUFS", "No buffer space available"),
        (RECEIVE, "EAGAIN", "Resource temporarily unavailable"),
    ] {
        let (root, bus) = (root("check = \"tcp\""), Bus::new());
        let checkd = FakeCheckd::new(&bus);
        checkd.say("tcp", "192.168.100.101:80", "up");
        checkd.say("tcp", "192.168.100.102:80", "up");
        let ipvsd = Ipvsd::start(&root, &bus);
        wait_for_listing("both servers", &[SERVICE, FIRST, SECOND]);
        let strace = Strace::new(&ipvsd, root.path(), calls, &failing(errno, "1+"));
        ipvsadm("-D -t 10.0.10.50:80");
        checkd.say("tcp", "192.168.100.101:80", "down");
        wait_for("the fault on the bus", || {
            let fault = bus.property("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "KernelFault");
            fault.contains(words).then_some(())
        });
        root.write("etc/trivet/ipvs.d/web.toml", &service("10.0.10.50:80", "wlc", "check = \"tcp\""));
        ipvsd.signal(Signal::SIGHUP);
        // It goes on trying.
        strace.wait_until_injected(4);
        assert!(ipvsd.log().matches("; trying again").count() <= 2, "said more than once:\n{}", ipvsd.log());
        strace.end();
        wait_for_listing("all that happened meanwhile", &["TCP 10.0.10.50:80 wlc", SECOND]);
        ipvsd.wait_for_log("the kernel's IPVS table can be used again");
        assert!(ipvsd.stop().success());
        ipvsadm("-C");
    }
}

#[test]
fn a_start_amid_failing_calls_ends_well() {
    let Some(_kernel) = kernel() else { return };
    for (calls, errno, when) in [
        (SEND, "ENOBUFS", "1..6"),
        (RECEIVE, "ENOBUFS", "1..9"),
        (RECEIVE, "ENOMEM", "3+13"),
        (SEND, "EINTR", "2+3"),
    ] {
        let (root, bus) = (root(""), Bus::new());
        let log = root.path().join("strace");
        let mut words = vec!["strace".to_owned(), "-D".to_owned()];
        words.extend(arguments(calls, &failing(errno, when), &log.display().to_string()));
        let words: Vec<&str> = words.iter().map(|word| &**word).collect();
        ipvsadm("-A -t 10.0.10.99:80 -s lc");
        let ipvsd = Ipvsd::start_under(&words, &root, &bus);
        let expected = [SERVICE, FIRST, SECOND, "TCP 10.0.10.99:80 lc"];
        wait_for_listing(&format!("the table although {calls} fails with {errno} ({when})"), &expected);
        let injected = std::fs::read_to_string(&log).unwrap().matches("(INJECTED)").count();
        assert!(injected > 0, "no call failed");
        ipvsd.signal(Signal::SIGTERM);
        pause(Duration::from_millis(100));
        drop(ipvsd);
        ipvsadm("-C");
    }
}

/// The number under which a process can be written to by generic netlink.
fn netlink_port(pid: Pid) -> u32 {
    let folder = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = folder.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let inodes: Vec<String> = links
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let sockets = std::fs::read_to_string(format!("/proc/{pid}/net/netlink")).unwrap();
    let rows = sockets.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    // sk, protocol, port, groups, rmem, wmem, dump, locks, drops, inode
    let mut ours = rows.filter(|row| row[1] == "16" && inodes.iter().any(|inode| inode == row[9]));
    ours.next().expect("ipvsd has a generic netlink socket")[2].parse().unwrap()
}

/// A message as the kernel would send it.
fn forged(kind: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + payload.len()).unwrap();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(2_u16.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(payload);
    bytes
}

#[test]
fn what_others_than_the_kernel_write_into_the_socket_is_not_believed() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root("check = \"tcp\""), Bus::new());
    root.write("etc/trivet/ipvsd.toml", "resync_interval = \"100ms\"\n");
    let checkd = FakeCheckd::new(&bus);
    checkd.say("tcp", "192.168.100.101:80", "up");
    checkd.say("tcp", "192.168.100.102:80", "up");
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("both servers", &[SERVICE, FIRST, SECOND]);
    let ours =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_NONBLOCK, SockProtocol::NetlinkGeneric)
            .unwrap();
    let to = NetlinkAddr::new(netlink_port(ipvsd.pid()), 0);
    let (clock, mut sent) = (Clock::new().unwrap(), 0);
    let began = clock.now();
    let mut state = "up";
    let enough = |sent: usize, time: Duration| time >= Duration::from_secs(4) && sent > 1000;
    while !enough(sent, clock.now() - began) && clock.now() - began < Duration::from_secs(60) {
        // The end of whatever is being asked for: without an error, with one; nonsense; a message that is cut short.
        for sequence in 0..400 {
            let (end, refusal) =
                (forged(3, sequence, &[0; 4]), forged(2, sequence, &(-12_i32).to_ne_bytes()));
            for bytes in [end, refusal, vec![0xff; 40], forged(2, sequence, &[])[..10].to_vec()] {
                sent += usize::from(
                    sendto(std::os::fd::AsRawFd::as_raw_fd(&ours), &bytes, &to, MsgFlags::empty()).is_ok(),
                );
            }
        }
        state = if state == "up" { "down" } else { "up" };
        checkd.say("tcp", "192.168.100.101:80", state);
        ipvsadm("-C");
        pause(Duration::from_millis(50));
    }
    assert!(sent > 1000, "only {sent} datagrams were taken");
    checkd.say("tcp", "192.168.100.101:80", "up");
    wait_for_listing("both servers again", &[SERVICE, FIRST, SECOND]);
    // What was forged was ENOMEM; that others clear the table under our hands may be said.
    assert!(!ipvsd.log().contains("memory"), "believed:\n{}", ipvsd.log());
    assert!(!ipvsd.log().contains("a netlink message is truncated"), "read:\n{}", ipvsd.log());
}
