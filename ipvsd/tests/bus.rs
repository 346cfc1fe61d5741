//! ipvsd on a private bus: what it shows, how it registers with checkd, and that it lives without either.

mod common;

use std::collections::HashMap;

use common::{Bus, FakeCheckd, Ipvsd, own_network, wait_for};
use daemon::testing::TempRoot;
use futures_util::StreamExt as _;
use nix::sys::signal::Signal;
use zbus::{MatchRule, MessageStream, OwnedVariant, connection};

const WEB: &str = "address = \"10.0.10.50:80\"\nscheduler = \"rr\"\ncheck = \"tcp\"\n\
                   [[server]]\naddress = \"192.168.100.101:80\"\n[[server]]\naddress = \"192.168.100.102:80\"\n";

/// In the rows of `Servers`.
const STALE: &str = "Str(\"Stale\"): Variant(Bool(true))";
const FRESH: &str = "Str(\"Stale\"): Variant(Bool(false))";

fn tcp(addresses: &[&str]) -> Vec<(String, String)> {
    addresses.iter().map(|address| ("tcp".to_owned(), (*address).to_owned())).collect()
}

fn root() -> TempRoot {
    own_network();
    let root = TempRoot::new();
    root.write("etc/trivet/ipvs.d/web.toml", WEB);
    root
}

#[test]
fn the_whole_set_is_registered_and_the_answers_are_shown() {
    let (root, bus) = (root(), Bus::new());
    let checkd = FakeCheckd::new(&bus);
    checkd.say("tcp", "192.168.100.101:80", "down");
    let _ipvsd = Ipvsd::start(&root, &bus);
    let both = tcp(&["192.168.100.101:80", "192.168.100.102:80"]);
    wait_for("registration", || (checkd.watched() == [both.clone()]).then_some(()));
    wait_for("the first answer", || bus.servers("web").contains("said down").then_some(()));
    checkd.say("tcp", "192.168.100.102:80", "up");
    wait_for("a changed answer", || bus.servers("web").contains("said up").then_some(()));
    assert_eq!(bus.of_service("web", "Address"), "OwnedVariant(Str(\"10.0.10.50:80\"))");
    assert_eq!(checkd.watched().len(), 1, "nothing changed that needs a new registration");
}

#[test]
fn a_change_that_is_older_than_the_answer_is_not_believed() {
    let (root, bus) = (root(), Bus::new());
    let checkd = FakeCheckd::new(&bus);
    checkd.say("tcp", "192.168.100.101:80", "up");
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for("the first answer", || bus.servers("web").contains("said up").then_some(()));
    checkd.say_late("tcp", "192.168.100.101:80", "down");
    checkd.say("tcp", "192.168.100.102:80", "down");
    wait_for("what came after it", || bus.servers("web").contains("said down").then_some(()));
    assert!(!bus.servers("web").contains("late") && bus.servers("web").contains("said up"));
}

#[test]
fn a_checkd_that_comes_back_gets_the_whole_set_again_and_meanwhile_answers_are_stale() {
    let (root, mut bus) = (root(), Bus::new());
    let mut checkd = FakeCheckd::new(&bus);
    checkd.say("tcp", "192.168.100.101:80", "up");
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for("the first answer", || bus.servers("web").contains("said up").then_some(()));
    checkd.stop();
    wait_for("staleness", || bus.servers("web").contains(STALE).then_some(()));
    checkd.start(&bus);
    wait_for("registration anew", || (checkd.watched().len() == 2).then_some(()));
    wait_for("fresh answers", || {
        let servers = bus.servers("web");
        (servers.contains("said up") && servers.matches(FRESH).count() == 2).then_some(())
    });
    // The bus goes and comes: both are back by themselves.
    checkd.stop();
    bus.stop();
    bus.start();
    checkd.start(&bus);
    wait_for("registration on the new bus", || (checkd.watched().len() == 3).then_some(()));
    wait_for("the objects on the new bus", || bus.servers("web").contains("said up").then_some(()));
}

#[test]
fn a_daemon_without_a_bus_runs_and_is_there_as_soon_as_there_is_one() {
    let (root, mut bus) = (root(), Bus::stopped());
    let ipvsd = Ipvsd::start(&root, &bus);
    ipvsd.wait_for_log("org.trivet.Ipvs1 is not on the bus");
    ipvsd.wait_for_log("running: 1 service");
    let said: Vec<String> = (0..2).map(|_| wait_for("notification", || ipvsd.notified())).collect();
    assert!(said[0].starts_with("STATUS=1 service: 1 ") && said[1] == "READY=1", "{said:?}");
    bus.start();
    wait_for("the objects", || bus.of_service("web", "Scheduler").contains("rr").then_some(()));
    assert!(ipvsd.stop().success());
}

#[test]
fn a_reload_is_all_or_nothing_and_registers_the_new_set() {
    let (root, bus) = (root(), Bus::new());
    let checkd = FakeCheckd::new(&bus);
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for("registration", || (checkd.watched().len() == 1).then_some(()));
    root.write("etc/trivet/ipvs.d/bad.toml", "address = \"10.0.10.51:80\"\nlb_algo = \"rr\"\n");
    ipvsd.signal(Signal::SIGHUP);
    ipvsd.wait_for_log("not reloaded: the configuration has errors");
    assert!(ipvsd.log().contains("unknown key 'lb_algo'"), "{}", ipvsd.log());
    assert!(bus.of_service("bad", "Address").starts_with("error"));
    let mail = "address = \"10.0.10.51:25\"\ncheck = \"tcp\"\n[[server]]\naddress = \"192.168.100.103:25\"\n";
    root.write("etc/trivet/ipvs.d/bad.toml", mail);
    ipvsd.signal(Signal::SIGHUP);
    wait_for("the new object", || bus.of_service("bad", "Address").contains("10.0.10.51:25").then_some(()));
    let three = tcp(&["192.168.100.101:80", "192.168.100.102:80", "192.168.100.103:25"]);
    wait_for("the new set", || (checkd.watched().last() == Some(&three)).then_some(()));
    std::fs::remove_file(root.path().join("etc/trivet/ipvs.d/bad.toml")).unwrap();
    ipvsd.signal(Signal::SIGHUP);
    wait_for("the object's end", || bus.of_service("bad", "Address").starts_with("error").then_some(()));
}

#[test]
fn a_change_of_health_is_announced_and_whoever_wants_the_rows_asks_for_them() {
    let (root, bus) = (root(), Bus::new());
    let checkd = FakeCheckd::new(&bus);
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for("the object", || bus.servers("web").contains("192.168.100.101:80").then_some(()));
    let changed = zbus::block_on(async {
        let connection = connection::Builder::address(bus.address().as_str()).build().await?;
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface("org.freedesktop.DBus.Properties")
            .member("PropertiesChanged")
            .path("/org/trivet/Ipvs1/service/web")
            .build()?;
        let mut signals = MessageStream::for_match_rule(rule, &connection, None).await?;
        checkd.say("tcp", "192.168.100.101:80", "down");
        while let Some(message) = signals.next().await {
            let message = message?;
            let body = message.body();
            let (interface, _, asked_for): (String, HashMap<String, OwnedVariant>, Vec<String>) =
                body.deserialize()?;
            if asked_for == ["Servers"] {
                return Ok(interface);
            }
        }
        Err(zbus::Error::Failure("no signal".into()))
    });
    assert_eq!(changed.unwrap(), "org.trivet.Ipvs1.Service");
    wait_for("the new row", || bus.servers("web").contains("said down").then_some(()));
}

#[test]
fn introspection_and_the_object_manager_tell_everything() {
    let (root, bus) = (root(), Bus::new());
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for("the object", || bus.of_service("web", "Name").contains("web").then_some(()));
    let introspect = "org.freedesktop.DBus.Introspectable";
    let text: String = bus.call("/org/trivet/Ipvs1/service/web", introspect, "Introspect").unwrap();
    for property in ["Address", "Protocol", "Scheduler", "Forward", "Check", "State", "Reason", "Servers"] {
        assert!(text.contains(&format!("<property name=\"{property}\"")), "{property} is not in:\n{text}");
    }
    assert!(!text.contains("write"), "no property is writable:\n{text}");
    let text: String = bus.call("/org/trivet/Ipvs1", introspect, "Introspect").unwrap();
    for method in ["Plan", "Resync", "GetManagedObjects"] {
        assert!(text.contains(&format!("<method name=\"{method}\"")), "{method} is not in:\n{text}");
    }
    let (ok, tree) = common::run(
        "busctl",
        &[&format!("--address={}", bus.address()), "tree", "--list", "org.trivet.Ipvs1"],
    );
    assert!(ok && tree.contains("/org/trivet/Ipvs1/service/web"), "{tree}");
}

#[test]
fn orders_are_taken_shown_with_author_and_reason_and_written_down_without_a_kernel_too() {
    let (root, bus) = (root(), Bus::new());
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for("the object", || bus.of_service("web", "Name").contains("web").then_some(()));
    bus.verb("web", "Disable", &("192.168.100.101:80", "its disk")).unwrap();
    wait_for("the order", || {
        let servers = bus.servers("web");
        ["disabled", "root", "its disk"].iter().all(|part| servers.contains(part)).then_some(())
    });
    let file = root.path().join("var/lib/trivet/ipvsd/orders");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("web\t192.168.100.101:80\tdisable\t"), "{text}");
    let error = bus.verb("web", "SetWeight", &("192.168.100.101:81", 5_u16, "")).unwrap_err().to_string();
    assert!(error.contains("its servers are 192.168.100.101:80, 192.168.100.102:80"), "{error}");
    assert!(ipvsd.stop().success());
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for("the order after a restart", || bus.servers("web").contains("its disk").then_some(()));
    wait_for("the verb", || bus.verb("web", "ClearOverride", &("192.168.100.101:80",)).ok());
    wait_for("its end", || (!bus.servers("web").contains("its disk")).then_some(()));
    assert_eq!(std::fs::read_to_string(file).unwrap(), "");
}

#[test]
fn an_order_that_cannot_be_written_down_is_refused_and_lines_that_make_no_sense_are_kept() {
    let (root, bus) = (root(), Bus::new());
    root.write("var/lib/trivet/ipvsd/orders", "of a later version\n");
    root.write("var/lib/trivet/ipvsd/orders.new/in/the/way", "");
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for("the object", || bus.of_service("web", "Name").contains("web").then_some(()));
    let refusal = bus.verb("web", "Disable", &("192.168.100.101:80", "its disk")).unwrap_err().to_string();
    assert!(refusal.contains("not done: cannot write /"), "{refusal}");
    let faults = || bus.of_manager("Faults");
    wait_for("the fault", || faults().contains("cannot write /").then_some(()));
    assert!(faults().contains("line 1 makes no sense"), "{}", faults());
    assert!(!bus.servers("web").contains("its disk"), "{}", bus.servers("web"));
    std::fs::remove_dir_all(root.path().join("var/lib/trivet/ipvsd/orders.new")).unwrap();
    wait_for("the retry", || (!faults().contains("cannot write /")).then_some(()));
    bus.verb("web", "Disable", &("192.168.100.101:80", "its disk")).unwrap();
    wait_for("the order", || bus.servers("web").contains("its disk").then_some(()));
    let text = std::fs::read_to_string(root.path().join("var/lib/trivet/ipvsd/orders")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with("web\t192.168.100.101:80\tdisable\t"), "{text}");
    assert_eq!(lines[1], "of a later version");
    assert!(ipvsd.stop().success());
}

#[test]
fn a_file_of_orders_that_cannot_be_read_refuses_them_and_is_read_when_it_can_be() {
    let (root, bus) = (root(), Bus::new());
    root.write("var/lib/trivet/ipvsd/orders/no/file", "");
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for("the object", || bus.of_service("web", "Name").contains("web").then_some(()));
    let refusal = bus.verb("web", "Disable", &("192.168.100.101:80", "its disk")).unwrap_err().to_string();
    assert!(refusal.contains("cannot read /") && refusal.contains("Is a directory"), "{refusal}");
    assert!(bus.of_manager("Faults").contains("nothing can be ordered"), "{}", bus.of_manager("Faults"));
    std::fs::remove_dir_all(root.path().join("var/lib/trivet/ipvsd/orders")).unwrap();
    root.write("var/lib/trivet/ipvsd/orders", "web\t192.168.100.102:80\tdisable\t1\troot\told disk\n");
    wait_for("what was ordered before", || bus.servers("web").contains("old disk").then_some(()));
    bus.verb("web", "Disable", &("192.168.100.101:80", "its disk")).unwrap();
}

#[test]
fn an_order_about_what_is_not_configured_any_more_is_shown_and_can_be_forgotten() {
    let (root, bus) = (root(), Bus::new());
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for("the object", || bus.of_service("web", "Name").contains("web").then_some(()));
    bus.verb("web", "SetWeight", &("192.168.100.101:80", 5_u16, "half of it")).unwrap();
    bus.verb("web", "Disable", &("192.168.100.101:80", "its disk")).unwrap();
    let beneath = "weight 5 by ";
    wait_for("what is beneath", || bus.servers("web").contains(beneath).then_some(()));
    std::fs::remove_file(root.path().join("etc/trivet/ipvs.d/web.toml")).unwrap();
    ipvsd.signal(Signal::SIGHUP);
    wait_for("the order without a seat", || {
        let orders = bus.of_manager("UnseatedOrders");
        ["192.168.100.101:80", "disabled", "its disk", beneath]
            .iter()
            .all(|part| orders.contains(part))
            .then_some(())
    });
    let forget = |server: &str| {
        bus.ask("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "ForgetOrder", &("web", server))
    };
    assert!(forget("192.168.100.102:80").unwrap_err().to_string().contains("there is no service 'web'"));
    forget("192.168.100.101:80").unwrap();
    wait_for("its end", || (!bus.of_manager("UnseatedOrders").contains("its disk")).then_some(()));
    let file = root.path().join("var/lib/trivet/ipvsd/orders");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "");
}
