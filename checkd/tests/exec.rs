//! Checks by command, with the real checkd-exec and real processes: what the exit status says, and that nothing of a run
//! is left, whatever it does.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use support::commands::Listener;
use support::watcher::Watcher;
use support::{Bus, Checkd, World, now, until};

const TARGET: &str = "192.0.2.1:80";

struct Site {
    listener: Listener,
    checkd: Checkd,
    watcher: Watcher,
    _bus: Bus,
    world: World,
}

impl Site {
    /// `checks`: a name, a script for sh, and more keys.
    fn new(checks: &[(&str, &str, &str)]) -> Self {
        Self::with_options(checks, &[])
    }

    fn with_options(checks: &[(&str, &str, &str)], options: &[&str]) -> Self {
        let world = World::new();
        for (name, script, keys) in checks {
            check(&world, name, script, keys);
        }
        let bus = world.start_bus();
        let listener = Listener::start(&world, options);
        let checkd = world.start_checkd();
        let watcher = Watcher::new(&world);
        Self { listener, checkd, watcher, _bus: bus, world }
    }

    fn probe(&self, check: &str) -> (String, String) {
        let (state, reason, _) = self.watcher.probe(check, TARGET).unwrap();
        (state, reason)
    }

    /// Every process of this site's commands, by what checkd-exec tells each: nothing that they do hides that.
    fn processes(&self) -> Vec<u32> {
        let mark = format!("TRIVET_TEST={}", self.world.root.path().display());
        let entries = fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_ours = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        };
        pids.filter(is_ours).collect()
    }

    #[track_caller]
    fn expect_nothing_left(&self) {
        until("nothing of the command is left", || self.processes().is_empty().then_some(()));
        until("and no zombie", || children(self.listener.pid()).is_empty().then_some(()));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.world.root.path().join(name)
    }
}

/// A script of sh, whose first argument is the root, second the target.
fn check(world: &World, name: &str, script: &str, keys: &str) {
    let root = world.root.path().display();
    let script = format!("export TRIVET_TEST={root}; {script}");
    // A script is a literal string of TOML: no escapes, no end but the three quotes.
    let text = format!(
        "type = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", '''{script}''', \"check\", \"{root}\", \"{{target}}\"]\n\
         interval = \"10min\"\n{keys}\n"
    );
    world.check(name, &text);
}

fn children(parent: u32) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status
            .lines()
            .any(|line| line.strip_prefix("PPid:").is_some_and(|of| of.trim() == parent.to_string()))
    };
    pids.filter(is_child).collect()
}

fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

#[test]
fn the_exit_status_decides_and_the_last_line_says_why() {
    let site = Site::new(&[
        ("good", "echo one; echo \"PING OK - $2\"; echo", ""),
        ("quiet", "exit 0", ""),
        ("bad", "echo CRITICAL; echo why >&2; exit 2", ""),
        ("killed", "echo about to die; kill -SEGV $$", ""),
    ]);
    let expected = [
        ("good", "up", "exit status 0: PING OK - 192.0.2.1:80"),
        ("quiet", "up", "exit status 0"),
        ("bad", "down", "exit status 2: why"),
        ("killed", "down", "ended by SIGSEGV: about to die"),
    ];
    for (check, state, reason) in expected {
        assert_eq!(site.probe(check), (state.to_owned(), reason.to_owned()));
    }
    site.expect_nothing_left();
}

#[test]
fn a_command_has_a_clean_environment_no_input_and_no_descriptor_but_its_three() {
    let site = Site::new(&[
        ("descriptors", "exec ls -m /proc/self/fd", ""),
        ("input", "cat; echo \"status $?\"", ""),
        ("place", "pwd; ulimit -c; echo \"$(pwd) $(ulimit -c) ${NOTIFY_SOCKET-none}\"", ""),
        ("variables", "echo \"$TRIVET_CHECK $TRIVET_ADDRESS $TRIVET_PORT\"", ""),
        ("mask", "grep -h -e SigBlk -e SigIgn /proc/$$/status | tr -d '\\n\\t'", ""),
    ]);
    for (check, line) in [
        // The last one is the directory that ls reads.
        ("descriptors", "0, 1, 2, 3"),
        ("input", "status 0"),
        ("place", "/ 0 none"),
        ("variables", "variables 192.0.2.1 80"),
    ] {
        assert_eq!(site.probe(check).1, format!("exit status 0: {line}"));
    }
    let (_, mask) = site.probe("mask");
    assert!(mask.contains("SigBlk:0000000000000000"), "{mask}");
    let ignored = |status: &str| {
        let digits = status.split("SigIgn:").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
        // The first 28 signals; glibc keeps its own two, 32 and 33, from whom it starts.
        u64::from_str_radix(&digits, 16).unwrap() & 0x0fff_ffff
    };
    // SIGPIPE, which every program in Rust ignores, a command does not; what whoever runs this test ignores, it may.
    let own = ignored(&fs::read_to_string("/proc/self/status").unwrap()) & !(1 << 12);
    assert_eq!(ignored(&mask), own, "{mask}");
}

#[test]
fn a_command_that_cannot_be_started_is_no_fault_of_the_server() {
    let world = World::new();
    world.root.write("plain", "#!/bin/sh\n");
    let plain = world.root.path().join("plain");
    world.check("missing", "type = \"exec\"\ncommand = [\"/nonexistent/check_x\"]\n");
    world.check("plain", &format!("type = \"exec\"\ncommand = [\"{}\"]\n", plain.display()));
    let (_bus, _listener, checkd) = (world.start_bus(), Listener::start(&world, &[]), world.start_checkd());
    let watcher = Watcher::new(&world);
    checkd.wait_for_log("/nonexistent/check_x does not exist: its targets stay unknown");
    for (check, reason) in [
        ("missing", "could not probe: /nonexistent/check_x does not exist".to_owned()),
        ("plain", format!("could not probe: {0} is not executable (chmod 755 {0})", plain.display())),
    ] {
        let (state, found, _) = watcher.probe(check, TARGET).unwrap();
        assert_eq!(state, "unknown");
        assert!(found.starts_with(&reason), "{found}");
    }
}

#[test]
fn a_flood_of_output_is_read_to_its_end_and_an_endless_one_ends_at_the_limit() {
    let site = Site::new(&[
        ("flood", "yes | head -c 1G; echo; echo enough", "timeout = \"1min\""),
        // A line without end, and what its reader needed in memory: that is the parent of this shell.
        (
            "memory",
            "head -c 256M /dev/zero | tr '\\0' x; echo; grep VmHWM /proc/$PPID/status",
            "timeout = \"1min\"",
        ),
        ("endless", "exec yes", "timeout = \"1s\""),
        ("line", "tr '\\0' x </dev/zero", "timeout = \"1s\""),
    ]);
    assert_eq!(site.probe("flood"), ("up".into(), "exit status 0: enough".into()));
    assert_eq!(site.probe("endless"), ("down".into(), "still running after 1s, and ended: y".into()));
    let (state, reason) = site.probe("line");
    assert_eq!((state.as_str(), reason.chars().count()), ("down", 236), "{reason}");
    let (_, reason) = site.probe("memory");
    let kib = reason
        .split("VmHWM:")
        .nth(1)
        .and_then(|rest| rest.trim_start_matches(['\\', 't', ' ']).split(' ').next());
    let kib: u64 = kib.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{reason}"));
    assert!(kib < 16 * 1024, "{kib} KiB for a line of 256 MiB");
    site.expect_nothing_left();
}

/// Each of them leaves something that is not in its group, or not in its session, or does not listen.
const TREES: [(&str, &str); 5] = [
    ("group", "sleep 1000 & sleep 1000 & wait"),
    ("deaf", "trap '' TERM; while :; do sleep 1000; done"),
    ("session", "setsid setsid sh -c 'trap \"\" TERM HUP; sleep 1000' & sleep 1000"),
    ("daemon", "(setsid sh -c 'sleep 1000 & exec sleep 1000' &) & exec sleep 1000"),
    (
        "many",
        "for i in 1 2 3 4 5 6 7 8 9; do (trap '' TERM; setsid sh -c 'sleep 1000 & sleep 1000') & done; wait",
    ),
];

#[test]
fn at_the_time_limit_everything_ends_that_the_command_has_started() {
    let checks = TREES.map(|(name, script)| (name, script, "timeout = \"1s\""));
    let site = Site::new(&checks);
    for (name, _, _) in checks {
        let (state, reason) = site.probe(name);
        assert_eq!(
            (state.as_str(), reason.as_str()),
            ("down", "still running after 1s, and ended"),
            "{name}"
        );
        // At once: the outcome is told when it is so.
        assert_eq!(site.processes(), [0; 0], "{name}");
    }
    site.expect_nothing_left();
}

#[test]
fn a_command_that_ends_leaves_nothing_behind_either() {
    let site = Site::new(&[(
        "left",
        "(setsid sh -c 'trap \"\" TERM; sleep 1000' &) ; sleep 1000 & echo fine",
        "timeout = \"1min\"",
    )]);
    assert_eq!(site.probe("left"), ("up".into(), "exit status 0: fine".into()));
    assert_eq!(site.processes(), [0; 0]);
    site.expect_nothing_left();
}

#[test]
fn a_command_may_clean_up_when_it_is_told_to_end() {
    let script = "trap 'echo cleaned up; exit 3' TERM; echo working; sleep 1000 & wait";
    let site = Site::new(&[("polite", script, "timeout = \"1s\"")]);
    let reason = "still running after 1s, and ended: cleaned up";
    assert_eq!(site.probe("polite"), ("down".into(), reason.into()));
}

/// Wait until its command runs.
fn start(site: &Site, check: &str) {
    site.watcher.watch(&[(check, TARGET)]);
    until("the command runs", || (site.processes().len() >= 2).then_some(()));
}

const ENDLESS: (&str, &str, &str) =
    ("endless", "trap '' TERM; setsid sleep 1000 & while :; do sleep 1000; done", "timeout = \"5min\"");

#[test]
fn a_checkd_that_is_killed_takes_its_commands_with_it() {
    let site = Site::new(&[ENDLESS]);
    start(&site, "endless");
    site.checkd.signal(Signal::SIGKILL);
    site.expect_nothing_left();
}

#[test]
fn a_check_that_is_removed_ends_its_command() {
    let site = Site::new(&[ENDLESS]);
    start(&site, "endless");
    site.world.root.write("etc/trivet/check.d/endless.toml", "");
    site.checkd.reload();
    site.expect_nothing_left();
}

#[test]
fn a_listener_that_is_killed_takes_its_commands_with_it_and_the_next_one_goes_on() {
    let mut site = Site::new(&[ENDLESS, ("good", "echo fine", "")]);
    start(&site, "endless");
    site.listener.kill();
    until("nothing is left", || site.processes().is_empty().then_some(()));
    let changed = site.watcher.wait_for("endless", TARGET, "unknown");
    assert!(changed.3.starts_with("could not probe: checkd-exec ended while the command was running"));
    let (state, reason) = site.probe("good");
    let hint = "does not listen at";
    assert!(state == "unknown" && reason.contains(hint) && reason.contains("checkd-exec.socket"), "{reason}");
    site.listener = Listener::start(&site.world, &[]);
    assert_eq!(site.probe("good"), ("up".into(), "exit status 0: fine".into()));
}

#[test]
fn a_command_that_kills_its_own_supervisor_does_not_outlive_it() {
    let script = "setsid sleep 1000 & kill -KILL $PPID; sleep 1000";
    let site = Site::new(&[("murder", script, "timeout = \"1min\""), ("good", "echo fine", "")]);
    let (state, reason) = site.probe("murder");
    assert_eq!(state, "unknown", "{reason}");
    // It may have been quicker than the word that it runs.
    assert!(reason.contains("checkd-exec ended while") || reason.contains("checkd-exec closed"), "{reason}");
    site.expect_nothing_left();
    assert_eq!(site.probe("good").0, "up");
}

#[test]
fn two_hundred_commands_run_at_the_same_time() {
    let world = World::new();
    let gate = world.root.path().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // Blocks in open(2) until the gate has a writer.
    check(&world, "many", "cat \"$1/gate\"; echo \"$2\"", "timeout = \"5min\"");
    let (_bus, _listener) = (world.start_bus(), Listener::start(&world, &[]));
    let _checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    let addresses: Vec<String> = (1..=200).map(|number| format!("192.0.2.{number}:80")).collect();
    let targets: Vec<(&str, &str)> = addresses.iter().map(|address| ("many", address.as_str())).collect();
    watcher.watch(&targets);
    let mark = format!("{}/gate", world.root.path().display());
    until("two hundred wait at the gate", || (waiting_at(&mark) == 200).then_some(()));
    // Opened for both: it does not block, and it is open until all have passed.
    let writer = fs::OpenOptions::new().read(true).write(true).open(&gate).unwrap();
    until("all are through the gate", || (waiting_in_open(&mark) == 0).then_some(()));
    drop(writer);
    for address in &addresses {
        until("every target's own answer", || {
            let (_, rows) = watcher.watch(&targets);
            let row = rows.iter().find(|row| &row.1 == address)?;
            (row.2 == "up" && row.3 == format!("exit status 0: {address}")).then_some(())
        });
    }
}

/// Processes named cat with this argument.
fn waiting_at(gate: &str) -> usize {
    cats(gate).len()
}

/// Of these, who has not opened it yet.
fn waiting_in_open(gate: &str) -> usize {
    let is_open = |pid: &u32| {
        let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        entries.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|path| path.to_str() == Some(gate))
    };
    cats(gate).iter().filter(|pid| !is_open(pid)).count()
}

fn cats(gate: &str) -> Vec<u32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let line = format!("cat\0{gate}\0");
    pids.filter(|pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|found| found == line.as_bytes())
    })
    .collect()
}

#[test]
fn more_commands_than_allowed_are_not_begun_and_that_is_said() {
    let site = Site::with_options(&[ENDLESS, ("good", "echo fine", "")], &["--runs", "1"]);
    start(&site, "endless");
    let (state, reason) = site.probe("good");
    let expected =
        "could not probe: too many commands are running: 1, as many as checkd-exec is allowed (--runs)";
    assert!(state == "unknown" && reason.starts_with(expected), "{state}: {reason}");
}

#[test]
fn a_probe_never_overlaps_with_the_one_before_it() {
    let script = "if kill -0 $(cat $1/pid) 2>/dev/null; then echo x >>$1/overlap; fi; echo $$ >$1/pid; echo x >>$1/runs;
        trap '' TERM; while :; do sleep 1000; done";
    let keys = "timeout = \"100ms\"\nretry_interval = \"10ms\"\nfall = 1000";
    let world = World::new();
    check(&world, "deaf", script, keys);
    let text = fs::read_to_string(world.root.path().join("etc/trivet/check.d/deaf.toml")).unwrap();
    world.check("deaf", &text.replace("10min", "100ms"));
    let (_bus, _listener, _checkd) = (world.start_bus(), Listener::start(&world, &[]), world.start_checkd());
    let watcher = Watcher::new(&world);
    watcher.watch(&[("deaf", TARGET)]);
    let runs = || fs::read_to_string(world.root.path().join("runs")).unwrap_or_default().lines().count();
    until("five runs", || (runs() >= 5).then_some(()));
    assert!(!world.root.path().join("overlap").exists());
}

#[test]
fn nothing_leaks_from_run_to_run() {
    let site = Site::new(&[("good", "echo fine", ""), ("bad", "exec sleep 1000", "timeout = \"10ms\"")]);
    let checkd = children(std::process::id());
    let checkd = checkd.into_iter().find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            line.contains(site.world.root.path().to_str().unwrap())
                && line.split('\0').next().unwrap().ends_with("checkd")
        })
    });
    let pids = [site.listener.pid(), checkd.expect("checkd is our child")];
    let run = || {
        assert_eq!(site.probe("good").0, "up");
        assert_eq!(site.probe("bad").0, "down");
    };
    run();
    let before = pids.map(descriptors);
    for _ in 0..30 {
        run();
    }
    until("as many descriptors as before", || (pids.map(descriptors) == before).then_some(()));
    site.expect_nothing_left();
}

#[test]
fn nobody_but_checkds_user_and_root_may_have_commands_run() {
    assert!(geteuid().is_root(), "only root can play somebody else: run this test as root");
    use std::os::unix::fs::PermissionsExt as _;
    let site = Site::new(&[]);
    let socket = site.file("run/trivet-checkd-exec/socket");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    // As if the socket's mode had been changed.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666)).unwrap();
    let connect = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new($ARGV[0]) or die $!; print <$s>";
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "perl", "-e", connect]).arg(&socket);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("the user with id 65534 may not have commands run"), "{said:?} {output:?}");
}

#[test]
fn a_request_that_is_none_is_refused_and_the_next_one_served() {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;
    let site = Site::new(&[("good", "echo fine", "")]);
    let socket = site.file("run/trivet-checkd-exec/socket");
    for (request, expected) in [
        (&b"\xff\xff\xff\xff"[..], "a frame of 4294967295 bytes"),
        (b"\0\0\0\x01\x02", "not of checkd's version"),
        (b"\0\0\0\x01\x01", "it ends too early"),
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains(expected), "{answer:?}");
    }
    // One that goes away without a word.
    drop(UnixStream::connect(&socket).unwrap());
    assert_eq!(site.probe("good").0, "up");
    site.expect_nothing_left();
}

#[test]
fn a_listener_that_is_asked_to_stop_ends_its_commands() {
    let mut site = Site::new(&[ENDLESS]);
    start(&site, "endless");
    let asked = now();
    kill(Pid::from_raw(i32::try_from(site.listener.pid()).unwrap()), Signal::SIGTERM).unwrap();
    let status = until("checkd-exec ends", || site.listener.child.try_wait().unwrap());
    assert!(status.success());
    until("its commands end", || site.processes().is_empty().then_some(()));
    eprintln!("all ended {:?} after SIGTERM", now() - asked);
}
