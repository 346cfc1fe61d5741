//! Commands as checkd-exec's units have them run: who they are, what they can do, and what they cannot.

use trivet_tests::clock::{PATIENCE, wait, wait_for};

use crate::site::{EXEC, SOCKET, Site, script};

const DAEMONS: [&str; 3] = ["vrrpd", "ipvsd", "checkd"];
const TARGET: &str = "192.0.2.1:80";

/// Where a command may write: each is the unit's own.
const PLACES: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

#[test]
fn commands_run_as_a_user_of_their_own_that_has_no_power() {
    let status = |fields: &str| {
        script(&format!("grep -hE '^({fields}):' /proc/self/status | tr '\\n\\t' '  '; echo"), "")
    };
    let writable = "find / '(' -path /proc -o -path /sys/fs/cgroup ')' -prune -o '(' -type d -o -type f ')' -writable -print";
    let site = Site::new(&[
        ("identity", script("echo \"$(id -un) $(id -gn) $(id -G | wc -w) $(pwd) $(umask) $1\"", "")),
        ("capabilities", status("Cap[A-Z][a-z]*")),
        ("confined", status("NoNewPrivs|Seccomp")),
        (
            "writable",
            script(
                &format!("{writable} >/tmp/writable 2>/dev/null; wc -l </tmp/writable"),
                "timeout = \"1min\"",
            ),
        ),
    ]);

    // As installed: the socket waits, and nothing runs yet.
    assert_eq!(
        (site.unit(SOCKET, "UnitFileState"), site.unit(SOCKET, "SubState")),
        ("enabled".into(), "listening".into())
    );
    assert_eq!(site.unit(EXEC, "ActiveState"), "inactive", "nobody has asked for a command");
    let user = site.sh("getent passwd trivet-exec");
    assert!(user.ends_with("/nologin"), "{user}");
    assert_eq!(site.sh("stat -c '%U %a' /run/trivet-checkd-exec/socket"), "trivet-checkd 600");

    site.expect("identity", TARGET, "up", "exit status 0: trivet-exec trivet-exec 1 / 0077 192.0.2.1:80");
    assert_eq!(site.unit(EXEC, "ActiveState"), "active");
    let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(|set| format!("{set}: {:016x}", 0));
    site.expect("capabilities", TARGET, "up", &format!("exit status 0: {}", sets.join(" ")));
    site.expect("confined", TARGET, "up", "exit status 0: NoNewPrivs: 1 Seccomp: 2");

    let (state, reason) = site.probe("writable", TARGET);
    assert_eq!(state, "up", "{reason}");
    let found = site.sh("cat /tmp/systemd-private-*-checkd-exec.service-*/tmp/writable");
    assert!(
        found.lines().any(|path| path == "/tmp"),
        "a place for what a command needs while it runs:\n{found}"
    );
    let elsewhere: Vec<_> =
        found.lines().filter(|path| !PLACES.iter().any(|place| path.starts_with(place))).collect();
    assert!(elsewhere.is_empty(), "commands can write to {elsewhere:?}");
}

#[test]
fn where_commands_can_write_is_seen_by_nobody_else_and_goes_with_the_unit() {
    let files = PLACES.map(|place| format!("{place}/by-a-command"));
    let list = format!("ls {} 2>/dev/null | wc -l", files.join(" "));
    let site = Site::new(&[
        ("leaves", script(&format!("touch {}; {list}", files.join(" ")), "")),
        ("finds", script(&list, "")),
    ]);
    site.expect("leaves", TARGET, "up", "exit status 0: 3");
    assert_eq!(site.sh(&list), "0", "it is everybody's");
    site.expect("finds", TARGET, "up", "exit status 0: 3");
    site.sh("systemctl restart checkd-exec");
    site.expect("finds", TARGET, "up", "exit status 0: 0");
}

/// What root can read, and no command.
const SECRETS: [&str; 6] = [
    "cat /etc/trivet/gateway.pass",
    "cat /run/trivet-checkd/results",
    "cat /etc/shadow",
    "ls /run/trivet-checkd",
    "ls /root",
    "cat /proc/1/environ",
];

/// Where root can write, and no command.
const DIRECTORIES: [&str; 7] =
    ["/etc/trivet/check.d", "/run", "/run/trivet-checkd", "/var/lib", "/run/lock", "/dev/mqueue", "/dev"];

/// What takes a privilege, or to be asked by somebody who may.
const DEEDS: [&str; 10] = [
    "mount -t tmpfs none /mnt",
    "unshare --user true",
    "unshare --net true",
    "ip link set lo down",
    "chrt --rr 1 true",
    "setpriv --reuid=65534 true",
    "install -m 4755 /bin/true /tmp/with-setuid",
    "systemctl restart nginx",
    "busctl call org.trivet.Check1 /org/trivet/Check1/check/tcp org.trivet.Check1.Check Probe s 127.0.0.1:9",
    "perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(\"/run/trivet-checkd-exec/socket\") or exit 1'",
];

#[test]
fn commands_can_read_no_secret_and_touch_neither_the_daemons_nor_the_machine() {
    let site = Site::new(&[]);
    site.sh("echo secret | install -m 640 -g trivet-vrrpd /dev/stdin /etc/trivet/gateway.pass");
    wait("there are results", PATIENCE, || {
        site.watch("tcp", "127.0.0.1:9");
        site.machine().try_sh("test -e /run/trivet-checkd/results").0.then_some(())
    });
    let mut tries: Vec<String> = SECRETS.map(str::to_owned).into();
    tries.extend(DIRECTORIES.map(|directory| format!("touch {directory}/by-a-command")));
    for daemon in DAEMONS {
        let pid = site.unit(daemon, "MainPID");
        tries.extend([format!("cat /proc/{pid}/environ"), format!("kill -0 {pid}")]);
    }
    // As root and without the unit each of them works: what follows is about the unit.
    for command in &tries {
        site.sh(command);
    }
    tries.extend(DEEDS.map(str::to_owned));
    tries.push("true".to_owned());
    let each: String = tries.iter().map(|command| format!("try {command}\n")).collect();
    let all = format!(
        "done=; try() {{ \"$@\" >/dev/null 2>&1 && done=\"$done [$*]\"; }}\n{each}echo \"worked:$done\""
    );
    site.write("trespass", &script(&all, "timeout = \"1min\""));
    site.reload();
    site.expect_check("trespass");
    site.expect("trespass", TARGET, "up", "exit status 0: worked: [true]");
}

#[test]
fn the_sandbox_of_each_is_as_tight_as_systemd_can_tell() {
    let site = Site::new(&[]);
    for (unit, bound) in [("checkd.service", 1.5), (EXEC, 2.0)] {
        let verdict = site.sh(&format!("systemd-analyze security --no-pager {unit} | tail -n 1"));
        eprintln!("{unit}: {verdict}");
        let exposure: f64 =
            verdict.split_whitespace().find_map(|word| word.parse().ok()).expect("an exposure");
        assert!(exposure <= bound, "{unit}: {verdict}");
    }
}

#[test]
fn where_the_socket_is_stopped_the_reason_says_how_to_start_it() {
    let site = Site::new(&[("good", script("echo fine", ""))]);
    site.expect("good", TARGET, "up", "exit status 0: fine");
    site.sh("systemctl disable --now checkd-exec.socket && systemctl stop checkd-exec.service");
    assert_eq!(site.sh("ls -A /run/trivet-checkd-exec"), "", "the socket is removed");
    let (state, reason) = site.probe("good", TARGET);
    let advice = "systemctl enable --now checkd-exec.socket";
    assert!(state == "unknown" && reason.contains(advice), "{state}: {reason}");
    site.sh(advice);
    wait_for("the command runs again", &"exit status 0: fine".to_owned(), || site.probe("good", TARGET).1);
}
