//! A machine of the lab is a Debian with a systemd of its own.
use trivet_tests::lab::Lab;
use trivet_tests::machine::Machine;

#[test]
fn two_machines_boot_side_by_side() {
    let lab = Lab::new();
    lab.segment("lan");
    let hosts = [1, 2].map(|n| lab.host(&format!("m{n}"), &[("eth0", "lan", &format!("10.0.0.{n}/24"))]));
    let t = trivet_tests::clock::now();
    let mut machines = Vec::new();
    for host in &hosts {
        let mut m = Machine::prepare(host);
        m.boot(host);
        machines.push(m);
    }
    for m in &machines {
        m.wait_until_up();
        eprintln!("{:?} {}", t.elapsed(), m.sh("hostname; systemctl is-system-running; systemctl --failed --no-legend; ip -br addr; cat /proc/self/cgroup; systemd-analyze blame|head -5; which dpkg").trim());
    }
    machines[0].power_off();
    eprintln!("{:?}", machines[1].try_sh("uptime; ip addr add 10.9.9.9/32 dev eth0; ip -br a; ps ax|wc -l"));
}
