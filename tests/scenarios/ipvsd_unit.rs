//! ipvsd under its real unit on a kernel whose IPVS comes late: what it says until then, and what it writes from within
//! its sandbox afterwards. And whatever happens to ipvsd, the table and a connection through it do not notice. Judged by
//! ipvsadm, from outside the machine.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, now, pace, wait, wait_for};
use trivet_tests::host::Host;
use trivet_tests::installed::Installed;
use trivet_tests::ipvs;
use trivet_tests::lab::Lab;
use trivet_tests::machine::Machine;
use trivet_tests::namespace::sh;

const MANAGER: &str = "org.trivet.Ipvs1 /org/trivet/Ipvs1 org.trivet.Ipvs1.Manager";
const FAULT: &str = "the kernel has no IPVS: modprobe ip_vs";
const READ_ONLY: &str = "cannot set expire_nodest_conn: /proc/sys is read-only for ipvsd: systemctl restart ipvsd, now that ip_vs is loaded";
const PORT: u16 = 8000;
const TALK: &str =
    "address = \"10.0.10.50:8000\"\nscheduler = \"rr\"\n[[server]]\naddress = \"192.168.100.101\"\n";
const MORE: &str =
    "address = \"10.0.10.50:8001\"\nscheduler = \"rr\"\n[[server]]\naddress = \"192.168.100.101\"\n";
/// With the sysctl a server that is out of the table for one packet of a connection costs the connection.
const SETTINGS: &str = "[sysctl]\nexpire_nodest_conn = true\n[timeouts]\ntcp = \"20min\"\n[sync]\ninterface = \"eth1\"\nid = 7\nrole = \"master\"\n";
/// Its server says itself what it weighs, by a command on the director.
const WEIGHED: &str = "address = \"10.0.10.50:8002\"\nscheduler = \"wrr\"\ncheck = \"load\"\n[[server]]\naddress = \"192.168.100.101\"\n";
const LOAD: &str = "type = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", \"exit $(cat /etc/load-of-$1)\", \"load\", \"{address}\"]\n\
                    weight_from = \"exit-status\"\ninterval = \"1s\"\n";
/// What `ipvsadm -Sn` prints of the two.
const TABLE: [&str; 4] = [
    "-A -t 10.0.10.50:8000 -s rr",
    "-a -t 10.0.10.50:8000 -r 192.168.100.101:8000 -m -w 1",
    "-A -t 10.0.10.50:8001 -s rr",
    "-a -t 10.0.10.50:8001 -r 192.168.100.101:8001 -m -w 1",
];

/// While it is there the kernel does not load the module by itself, as it does when it is asked for the netlink
/// family; whoever names the module gets it all the same.
const NOT_BY_ITSELF: &str = "/run/modprobe.d/trivet-ipvsd-unit.conf";

/// The modules of IPVS, taken out of the virtual machine's kernel; back on drop, for who comes after.
struct Modules(Vec<String>);

impl Modules {
    fn take() -> Self {
        let all = sh("lsmod | awk '$1 ~ /^ip_vs(_|$)/ {print $1}'");
        let modules = Self(all.lines().map(str::to_owned).collect());
        sh(&format!("mkdir -p /run/modprobe.d && echo 'blacklist ip_vs' >{NOT_BY_ITSELF}"));
        let others: Vec<_> = modules.0.iter().map(String::as_str).filter(|name| *name != "ip_vs").collect();
        // The tables of namespaces that have just gone may still be on their way out.
        let remove = format!(
            "rmmod {} 2>/dev/null; rmmod ip_vs 2>/dev/null; test ! -e /proc/net/ip_vs",
            others.join(" ")
        );
        wait("the kernel is without IPVS", PATIENCE, || {
            std::process::Command::new("sh").args(["-c", &remove]).status().ok()?.success().then_some(())
        });
        modules
    }

    fn give(&self) {
        sh(&format!("rm -f {NOT_BY_ITSELF} && modprobe -a {}", self.0.join(" ")));
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        self.give();
    }
}

/// Fields are in the order in which they must end.
struct Site {
    trivet: Installed,
    client: Host,
    director: Host,
    server: Host,
    _lab: Lab,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        let director = lab.lone_director();
        let client = lab.host("client", &[("eth0", "outside", "10.0.10.100/24")]);
        let server = lab.host("server", &[("eth0", "inside", "192.168.100.101/22")]);
        server.sh("ip route add default via 192.168.100.11");
        director.sh("ip addr add 10.0.10.50/32 dev eth0 && sysctl -qw net.ipv4.ip_forward=1");
        let mut machine = Machine::prepare(&director);
        machine.give_sysctls();
        for (name, text) in [("ipvs.d/talk.toml", TALK), ("ipvs.d/more.toml", MORE), ("ipvsd.toml", SETTINGS)]
        {
            machine.write(&format!("etc/trivet/{name}"), text);
        }
        let trivet = Installed::boot_on(&director, machine);
        trivet.install_package();
        let site = Self { trivet, client, director, server, _lab: lab };
        site.expect_state(&["pending", "forwarding"]);
        site
    }

    #[track_caller]
    fn sh(&self, script: &str) -> String {
        self.trivet.machine.sh(script).trim().to_owned()
    }

    fn manager(&self, property: &str) -> String {
        self.trivet.machine.try_sh(&format!("busctl get-property {MANAGER} {property}")).1.trim().to_owned()
    }

    #[track_caller]
    fn expect_manager(&self, property: &str, value: &str) {
        wait_for(&format!("the manager's {property}"), &value.to_owned(), || self.manager(property));
    }

    #[track_caller]
    fn expect_state(&self, states: &[&str]) {
        wait(&format!("the service is {states:?}"), PATIENCE, || {
            let state = self.trivet.property(&Property::service("talk", "State"))?;
            states.contains(&state.trim_start_matches("s ").trim_matches('"')).then_some(())
        });
    }

    /// What `systemctl status` says.
    #[track_caller]
    fn expect_status(&self, text: &str) {
        wait(&format!("the status says {text:?}"), PATIENCE, || {
            self.sh("systemctl status ipvsd --no-pager").contains(text).then_some(())
        });
    }

    fn pid(&self) -> String {
        self.trivet.unit("ipvsd", "MainPID")
    }

    fn table(&self) -> Vec<String> {
        self.director.sh("ipvsadm -Sn").lines().map(|line| line.trim().to_owned()).collect()
    }

    fn sysctl(&self) -> String {
        self.director.sh("sysctl -n net.ipv4.vs.expire_nodest_conn").trim().to_owned()
    }
}

/// A connection from the client through the table to the server, which repeats what it hears. It never rests: whatever
/// becomes of it is seen.
struct Talk {
    rounds: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    client: Option<JoinHandle<std::io::Result<()>>>,
}

impl Talk {
    fn start(site: &Site) -> Self {
        let listener = site.server.namespace().within(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)));
        let listener = listener.expect("listening on the server");
        std::thread::spawn(move || {
            let Ok((mut connection, _)) = listener.accept() else { return };
            let mut word = [0; 8];
            while connection.read_exact(&mut word).is_ok() && connection.write_all(&word).is_ok() {}
        });
        let service = SocketAddr::from((Ipv4Addr::new(10, 0, 10, 50), PORT));
        let connection = site.client.namespace().within(|| TcpStream::connect_timeout(&service, PATIENCE));
        let mut connection = connection.expect("a connection to the service");
        connection.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        let (rounds, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counter, end) = (Arc::clone(&rounds), Arc::clone(&is_over));
        let client = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let word = counter.load(Ordering::Relaxed).to_be_bytes();
                let mut answer = [0; 8];
                connection.write_all(&word)?;
                connection.read_exact(&mut answer)?;
                assert_eq!(answer, word, "the server repeats what it hears");
                counter.fetch_add(1, Ordering::Relaxed);
                pace(Duration::from_millis(10));
            }
            Ok(())
        });
        Self { rounds, is_over, client: Some(client) }
    }

    /// It goes on, and has from its beginning.
    #[track_caller]
    fn expect_more(&self, after: &str) {
        let before = self.rounds.load(Ordering::Relaxed);
        wait(&format!("the connection goes on after {after}"), PATIENCE, || {
            let client = self.client.as_ref().expect("it is not over");
            assert!(!client.is_finished(), "the connection has ended after {after}");
            (self.rounds.load(Ordering::Relaxed) >= before + 10).then_some(())
        });
    }

    fn end(mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let client = self.client.take().expect("it is not over");
        client.join().expect("no panic in the client").expect("the connection goes on until its end");
    }
}

#[test]
fn ipvs_may_come_late_and_ipvsd_may_go_and_come_and_no_connection_notices() {
    ipvs::require();
    // Of a kernel that is not the virtual machine's nothing is taken away.
    let modules = std::env::var_os("TRIVET_IN_VM").map(|_| Modules::take());
    let began = now();
    let told = |what: &str| eprintln!("{what}: after {:.0?}", began.elapsed());
    let site = Site::new();
    told("installed");
    match &modules {
        Some(modules) => it_waits_for_ipvs_and_works_as_soon_as_it_is_there(&site, modules),
        None => {
            eprintln!("LEFT OUT: a kernel without IPVS: this one's is not ours to unload; tests/vm shows it");
        }
    }
    told("IPVS is there");
    its_settings_are_written_from_within_its_sandbox(&site);
    told("settings are set");
    whatever_happens_to_it_neither_the_table_nor_a_connection_notices(&site);
    told("nothing was noticed");
    a_command_says_what_a_server_weighs(&site);
    told("a command was heeded");
    what_it_made_is_known_to_be_its_own_after_a_restart(&site);
}

fn it_waits_for_ipvs_and_works_as_soon_as_it_is_there(site: &Site, modules: &Modules) {
    site.expect_state(&["pending"]);
    site.expect_manager("KernelFault", &format!("s \"{FAULT}\""));
    site.expect_status(&format!("Status: \"2 services: 2 pending; {FAULT}"));
    let pid = site.pid();
    site.sh("systemctl reload ipvsd");

    modules.give();
    site.expect_state(&["forwarding"]);
    wait_for("the whole table", &TABLE.map(str::to_owned).to_vec(), || site.table());
    site.expect_manager("KernelFault", "s \"\"");
    wait_for("the timeouts", &true, || site.director.sh("ipvsadm -Ln --timeout").contains(": 1200 120 300"));
    wait_for("the sync daemon", &true, || {
        site.director.sh("ipvsadm -Ln --daemon").contains("master sync daemon (mcast=eth1, syncid=7")
    });
    assert_eq!(site.pid(), pid, "it was not restarted for it");
    let journal = site.sh("journalctl --sync && journalctl -u ipvsd --no-pager -o cat");
    for (entry, times) in
        [(format!("{FAULT}; trying again"), 1), ("the kernel's IPVS table can be used again".into(), 1)]
    {
        assert_eq!(journal.matches(&entry).count(), times, "{entry}:\n{journal}");
    }

    // The sandbox is from before there was anything to except from it. It says what to do, and that is true.
    site.expect_manager("Faults", &format!("as 1 \"{READ_ONLY}\""));
    site.expect_status(READ_ONLY);
    assert_eq!(site.sysctl(), "0");
    // It goes on trying, and has said what there is to say: once.
    let journal = site.sh("journalctl --sync && journalctl -u ipvsd --no-pager -o cat");
    assert_eq!(journal.matches("expire_nodest_conn is 0").count(), 1, "{journal}");
    site.sh("systemctl restart ipvsd");
}

fn its_settings_are_written_from_within_its_sandbox(site: &Site) {
    site.expect_state(&["forwarding"]);
    wait_for("the sysctl is set", &"1".to_owned(), || site.sysctl());
    site.expect_manager("Faults", "as 0");
    site.director.sh("sysctl -qw net.ipv4.vs.expire_nodest_conn=0 && ipvsadm --stop-daemon master && ipvsadm --set 900 0 0");
    wait_for("the sysctl is set again", &"1".to_owned(), || site.sysctl());
    wait_for("the timeouts, too", &true, || {
        site.director.sh("ipvsadm -Ln --timeout").contains(": 1200 120 300")
    });
    wait_for("the sync daemon, too", &true, || site.director.sh("ipvsadm -Ln --daemon").contains("syncid=7"));
    let journal = site.sh("journalctl --sync && journalctl -u ipvsd --no-pager -o cat");
    for entry in [
        "expire_nodest_conn is 0, setting it to 1",
        "set timeouts tcp 1200 s",
        "start sync daemon master on eth1 (id 7)",
    ] {
        assert!(journal.contains(entry), "{entry} is not in:\n{journal}");
    }
    // Of its network's sysctls it can write nothing else, although its capability would let it.
    let pid = site.pid();
    let there = format!(
        "nsenter -t {pid} -m setpriv --reuid=trivet-ipvsd --regid=trivet-ipvsd --clear-groups --no-new-privs \
         --inh-caps=-all,+net_admin --ambient-caps=-all,+net_admin --bounding-set=-all,+net_admin"
    );
    let writable =
        format!("{there} find /proc/sys -type f -writable -not -path '/proc/sys/net/ipv4/vs/*' 2>/dev/null");
    assert_eq!(site.trivet.machine.try_sh(&writable).1, "");
}

fn whatever_happens_to_it_neither_the_table_nor_a_connection_notices(site: &Site) {
    let talk = Talk::start(site);
    talk.expect_more("its beginning");
    for how in [
        "systemctl restart ipvsd",
        "kill -KILL $(systemctl show --value -p MainPID ipvsd)",
        "dpkg -i /root/trivet.deb",
    ] {
        let before = site.pid();
        site.sh(how);
        wait(&format!("another ipvsd after {how}"), PATIENCE, || {
            let now = site.pid();
            (now != "0" && now != before && site.trivet.unit("ipvsd", "ActiveState") == "active")
                .then_some(())
        });
        site.expect_state(&["forwarding"]);
        talk.expect_more(how);
        assert_eq!(site.table(), TABLE, "after {how}");
        // Of a service that was made anew it would be 0. The kernel brings it up to date every two seconds.
        wait_for(&format!("its connections after {how}"), &"1\n".to_owned(), || {
            site.director.sh("ipvsadm -Ln --stats | awk '$2 == \"10.0.10.50:8000\" {print $3}'")
        });
        assert_eq!(site.sysctl(), "1", "after {how}");
    }
    let state = site.director.sh("ipvsadm -Lnc | grep 10.0.10.50:8000");
    assert!(state.contains("ESTABLISHED"), "{state}");
    talk.end();
}

/// From checkd-exec by way of checkd and the system's bus, each under its own unit, to the table.
fn a_command_says_what_a_server_weighs(site: &Site) {
    let machine = &site.trivet.machine;
    machine.write("etc/load-of-192.168.100.101", "42");
    machine.write("etc/trivet/check.d/load.toml", LOAD);
    machine.write("etc/trivet/ipvs.d/weighed.toml", WEIGHED);
    site.sh("systemctl enable --now checkd-exec.socket && systemctl start checkd");
    site.sh("systemctl reload checkd && systemctl reload ipvsd");
    for (status, weight) in [(42, Some(40)), (2, Some(0)), (1, None), (255, Some(253)), (0, Some(1))] {
        machine.write("etc/load-of-192.168.100.101", &status.to_string());
        let wanted: Vec<_> =
            weight.map(|weight| ("192.168.100.101:8002".to_owned(), weight)).into_iter().collect();
        wait_for(&format!("its weight by exit status {status}"), &wanted, || {
            ipvs::weights(&site.director, "10.0.10.50:8002")
        });
    }
    site.sh("rm /etc/trivet/ipvs.d/weighed.toml && systemctl reload ipvsd");
    wait_for("it is gone again", &TABLE.map(str::to_owned).to_vec(), || site.table());
}

fn what_it_made_is_known_to_be_its_own_after_a_restart(site: &Site) {
    site.director.sh("ipvsadm -A -t 10.0.10.50:9000 -s rr");
    let owned = "/run/trivet/ipvsd/owned";
    wait_for("what is ours", &"tcp 10.0.10.50:8000\ntcp 10.0.10.50:8001".to_owned(), || {
        site.sh(&format!("cat {owned}"))
    });
    assert_eq!(site.sh(&format!("stat -c '%U %a' {owned}")), "trivet-ipvsd 600");
    site.sh("systemctl stop ipvsd");
    assert!(
        site.table().starts_with(&TABLE.map(str::to_owned)),
        "a stop changes nothing: {:?}",
        site.table()
    );
    site.sh("rm /etc/trivet/ipvs.d/more.toml && systemctl start ipvsd");
    let stranger = "-A -t 10.0.10.50:9000 -s rr".to_owned();
    let left: Vec<String> = TABLE[..2].iter().map(ToString::to_string).chain([stranger]).collect();
    wait_for("ours is removed, and a stranger's is not", &left, || site.table());
}
