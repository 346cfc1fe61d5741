//! What is set beside the table: timeouts, sysctls, synchronisation threads.

use super::super::scene::{Scene, web};
use super::super::*;
use crate::routers::Role as Routing;
use crate::sync::{Link, Role, SyncSettings, SyncState};
use crate::tuning::{Tuning, Value};

fn link() -> Link {
    Link { interface: "eth1".into(), id: 7, max_length: 0, group: None, port: 0, ttl: 0 }
}

fn following() -> Settings {
    let sync = SyncSettings::Managed { link: link(), role: Role::Follow("gateway".into()) };
    Settings { sync, ..web() }
}

fn states(scene: &Scene) -> Vec<SyncState> {
    scene.daemons.keys().copied().collect()
}

#[test]
fn the_sync_daemon_follows_the_virtual_router_and_outlives_ipvsd() {
    let mut scene = Scene::new(following()).started();
    assert_eq!(states(&scene), [SyncState::Backup], "whoever does not know listens");
    let is = |role| Event::Routers(BTreeMap::from([(Arc::from("gateway"), role)]));
    scene.event(is(Routing::Active));
    assert_eq!(states(&scene), [SyncState::Master]);
    assert_eq!(scene.said("start sync daemon master on eth1 (id 7)"), 1);
    let mut scene = scene.restarted(following());
    assert_eq!((states(&scene), scene.set.len()), (vec![SyncState::Master], 0));
    scene.event(is(Routing::Active));
    assert_eq!(scene.set.len(), 0);
    scene.daemons.clear();
    scene.pass(Duration::from_secs(1));
    assert_eq!(states(&scene), [SyncState::Master], "somebody stopped it");
}

#[test]
fn only_timeouts_that_differ_are_set_and_again_when_others_change_them() {
    let timeouts = Timeouts { tcp: Some(600), tcp_fin: Some(120), udp: None };
    let settings = Settings { tuning: Tuning { timeouts, ..Tuning::default() }, ..web() };
    let mut scene = Scene::new(settings).started();
    assert_eq!(scene.set, [Setting::Timeouts(Timeouts { tcp: Some(600), ..Timeouts::default() })]);
    assert_eq!(scene.said("set timeouts tcp 600 s"), 1);
    scene.timeouts.tcp_fin = 5;
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.timeouts.tcp_fin, 120);
    scene.pass(Duration::from_secs(5));
    assert_eq!(scene.set.len(), 2);
}

#[test]
fn a_sysctl_that_is_otherwise_is_set_and_said_and_one_that_cannot_be_is_said_once() {
    let sysctls = BTreeMap::from([("conntrack", Value::One(1)), ("sloppy_tcp", Value::One(1))]);
    let settings = Settings { tuning: Tuning { sysctls, ..Tuning::default() }, ..web() };
    let mut scene = Scene::new(settings);
    scene.sysctls.insert("sloppy_tcp", Err("this kernel has no sloppy_tcp".into()));
    let mut scene = scene.started();
    assert_eq!(scene.set, [Setting::Sysctl("conntrack", Value::One(1))]);
    assert_eq!(scene.said("conntrack is 0, setting it to 1"), 1);
    scene.pass(Duration::from_secs(10));
    assert_eq!(scene.said("cannot set sloppy_tcp to 1: this kernel has no sloppy_tcp; trying again"), 1);
    assert_eq!(scene.director.unset["sloppy_tcp"], "this kernel has no sloppy_tcp");
    scene.sysctls.insert("sloppy_tcp", Ok(Value::One(0)));
    scene.pass(Duration::from_secs(2));
    assert!(scene.director.unset.is_empty());
    assert_eq!(scene.sysctls["sloppy_tcp"], Ok(Value::One(1)));
}

#[test]
fn a_sysctl_that_can_be_read_and_not_written_is_tried_again_without_another_word() {
    let sysctls = BTreeMap::from([("conntrack", Value::One(1))]);
    let settings = Settings { tuning: Tuning { sysctls, ..Tuning::default() }, ..web() };
    let mut scene = Scene::new(settings).started();
    let (what, why) = (Setting::Sysctl("conntrack", Value::One(1)), "/proc/sys is read-only for ipvsd");
    for _ in 0..5 {
        scene.sysctls.insert("conntrack", Ok(Value::One(0)));
        scene.event(Event::Set { what: what.clone(), result: Err(why.into()) });
        let actions =
            scene.director.on_event(scene.at(), Event::SysctlsRead(vec![("conntrack", Ok(Value::One(0)))]));
        assert_eq!(actions.into_iter().collect::<Vec<_>>(), [Action::Set(what.clone())]);
    }
    assert_eq!((scene.said("conntrack is 0"), scene.said(why)), (1, 1), "{:?}", scene.log);
}

#[test]
fn a_kernel_without_ipvs_is_one_fault_however_many_sysctls_are_wanted() {
    let sysctls = BTreeMap::from([("conntrack", Value::One(1)), ("sloppy_tcp", Value::One(1))]);
    let settings = Settings { tuning: Tuning { sysctls, ..Tuning::default() }, ..web() };
    let mut scene = Scene::new(settings);
    let missing = "the kernel has no IPVS: modprobe ip_vs";
    scene.fault = Some(Fault(missing.into()));
    scene.sysctls = ["conntrack", "sloppy_tcp"].map(|name| (name, Err(missing.into()))).into();
    let mut scene = scene.started();
    scene.pass(Duration::from_secs(10));
    assert_eq!((scene.said(missing), scene.director.unset.len()), (1, 0), "{:?}", scene.log);
    (scene.fault, scene.sysctls) = (None, BTreeMap::new());
    scene.pass(Duration::from_secs(2));
    assert_eq!(
        scene.set,
        [Setting::Sysctl("conntrack", Value::One(1)), Setting::Sysctl("sloppy_tcp", Value::One(1))]
    );
}

#[test]
fn a_defence_that_the_kernel_switches_by_itself_is_left_to_it() {
    let sysctls = BTreeMap::from([("drop_entry", Value::One(1)), ("conn_reuse_mode", Value::One(1))]);
    let settings = Settings { tuning: Tuning { sysctls, ..Tuning::default() }, ..web() };
    let mut scene = Scene::new(settings).started();
    assert_eq!(
        scene.set,
        [Setting::Sysctl("conn_reuse_mode", Value::One(1)), Setting::Sysctl("drop_entry", Value::One(1))]
    );
    scene.sysctls.insert("drop_entry", Ok(Value::One(2)));
    scene.pass(Duration::from_secs(3));
    assert_eq!(
        (scene.sysctls["drop_entry"].clone(), scene.set.len()),
        (Ok(Value::One(2)), 2),
        "memory is short"
    );
    scene.sysctls.insert("drop_entry", Ok(Value::One(3)));
    scene.sysctls.insert("conn_reuse_mode", Ok(Value::One(2)));
    scene.pass(Duration::from_secs(3));
    assert_eq!(
        (scene.sysctls["drop_entry"].clone(), scene.sysctls["conn_reuse_mode"].clone()),
        (Ok(Value::One(1)), Ok(Value::One(1)))
    );
}

#[test]
fn what_could_not_be_set_and_is_as_it_should_be_by_now_is_no_fault_any_more() {
    let timeouts = Timeouts { tcp: Some(600), ..Timeouts::default() };
    let settings = Settings { tuning: Tuning { timeouts, ..Tuning::default() }, ..web() };
    let mut scene = Scene::new(settings).started();
    scene.event(Event::Set { what: Setting::Timeouts(timeouts), result: Err("not now".into()) });
    assert_eq!(scene.director.unset.len(), 1);
    scene.pass(Duration::from_secs(2));
    assert!(scene.director.unset.is_empty(), "the kernel has 600 s");
}
