//! Who may look and who may order: the bus's policy and polkit's.

use trivet_tests::clock::{PATIENCE, wait, wait_for};

use crate::site::{MANAGER, SERVICE, Site};

const MANUAL: &str = include_str!("../../../man/ipvsd.8");
const RULES: &str = "etc/polkit-1/rules.d/40-trivet.rules";
const FIRST: &str = "192.168.100.101";

/// As a user.
fn by(user: &str, command: &str) -> String {
    format!("setpriv --reuid={user} --regid=$(id -g {user}) --init-groups {command}")
}

/// A call with dbus-send, which tells why it is refused; busctl has one text for all that is denied.
fn call(object: &str, method: &str, arguments: &str) -> String {
    let mut words = object.split(' ');
    let mut word = || words.next().expect("a name, a path and an interface");
    let (name, path, interface) = (word(), word(), word());
    format!("dbus-send --system --print-reply --dest={name} {path} {interface}.{method} {arguments}")
}

fn resync() -> String {
    call(MANAGER, "Resync", "")
}

fn disable() -> String {
    call(SERVICE, "Disable", &format!("string:{FIRST} string:disk"))
}

/// The rule that the manual gives: who is in the group lvs may order.
fn rule() -> String {
    let (_, rest) = MANUAL.split_once(".Bd -literal\npolkit").expect("a rule in the manual");
    let (rule, _) = rest.split_once(".Ed").expect("its end");
    format!("polkit{rule}")
}

#[test]
fn root_may_order_everyone_may_look_and_polkit_says_who_else_may_do_what() {
    let site = Site::new(&[]);
    everyone_may_look(&site);
    nobody_but_root_may_order(&site);
    what_is_not_allowed_by_name_reaches_nothing_and_the_name_is_nobody_elses(&site);
    a_rule_of_the_administrators_lets_a_user_do_what_it_names_and_nothing_else(&site);
    without_polkit_there_is_root(&site);
}

fn everyone_may_look(site: &Site) {
    for words in [
        &format!("get-property {SERVICE} State Reason Servers"),
        "introspect org.trivet.Ipvs1 /org/trivet/Ipvs1/service/web",
        "tree org.trivet.Ipvs1",
        "call org.trivet.Ipvs1 /org/trivet/Ipvs1 org.freedesktop.DBus.Peer Ping",
    ] {
        let looked = site.sh(&by("nobody", &format!("busctl {words}")));
        assert_eq!(looked, site.sh(&format!("busctl {words}")), "{words}");
    }
    let all = "call org.trivet.Ipvs1 /org/trivet/Ipvs1 org.freedesktop.DBus";
    for words in [
        format!("{all}.ObjectManager GetManagedObjects"),
        format!("{all}.Properties GetAll s org.trivet.Ipvs1.Manager"),
    ] {
        assert!(site.sh(&by("nobody", &format!("busctl {words}"))).starts_with("a{"), "{words}");
    }
    // Where there is no table it is told why there is no plan, which is another answer than that one may not ask.
    let told = site.machine().try_sh(&by("nobody", &call(MANAGER, "Plan", ""))).1;
    assert!(!told.contains("AccessDenied"), "{told}");
}

fn nobody_but_root_may_order(site: &Site) {
    for (verb, arguments) in [
        ("SetWeight", format!("string:{FIRST} uint16:5 string:me")),
        ("Drain", format!("string:{FIRST} uint32:5 string:me")),
        ("Disable", format!("string:{FIRST} string:me")),
        ("Enable", format!("string:{FIRST}")),
        ("ClearOverride", format!("string:{FIRST}")),
    ] {
        let said = site.refused(&by("nobody", &call(SERVICE, verb, &arguments)));
        let why = "AccessDenied: access denied (org.trivet.ipvs1.order): polkit wants a password for it";
        assert!(said.contains(why), "{verb}: {said}");
        site.sh(&call(SERVICE, verb, &arguments));
    }
    let said = site.refused(&by("nobody", &resync()));
    assert!(said.contains("AccessDenied: access denied (org.trivet.ipvs1.resync)"), "{said}");
    assert!(site.orders()[0].starts_with(" | "), "{:?}", site.orders());
}

fn what_is_not_allowed_by_name_reaches_nothing_and_the_name_is_nobody_elses(site: &Site) {
    let properties = MANAGER.replace("org.trivet.Ipvs1.Manager", "org.freedesktop.DBus.Properties");
    let set = "string:org.trivet.Ipvs1.Manager string:Version variant:string:1";
    for call in [
        call(&properties, "Set", set),
        call(MANAGER, "Shutdown", ""),
        call(&MANAGER.replace("Manager", "Other"), "Anything", ""),
    ] {
        let said = site.refused(&by("nobody", &call));
        assert!(said.contains("AccessDenied: Rejected send message"), "{call}: {said}");
        // Root's is heard, and is answered with a mistake.
        let said = site.refused(&call);
        assert!(!said.contains("AccessDenied"), "{call}: {said}");
    }
    let bus = "org.freedesktop.DBus /org/freedesktop/DBus org.freedesktop.DBus";
    let own = call(bus, "RequestName", "string:org.trivet.Ipvs1 uint32:0");
    for user in ["root", "nobody", "trivet-vrrpd", "trivet-checkd"] {
        let said = site.refused(&by(user, &own));
        assert!(said.contains("is not allowed to own the service"), "{user}: {said}");
    }
}

fn a_rule_of_the_administrators_lets_a_user_do_what_it_names_and_nothing_else(site: &Site) {
    site.sh("groupadd lvs && groupadd ops && useradd -G lvs operator-a && useradd -G ops operator-b");
    let uid = site.sh("id -u operator-a");
    let (mine, others) = (by("operator-a", &disable()), by("operator-b", &disable()));
    site.refused(&mine);
    site.machine().write(RULES, &rule());
    wait("polkit has read the rule", PATIENCE, || site.machine().try_sh(&mine).0.then_some(()));
    let orders = site.orders();
    assert!(orders[0].starts_with(&format!("disabled | operator-a (uid {uid}) | disk | ")), "{orders:?}");
    site.expect_in_journal(&format!("web: server {FIRST}: disabled by operator-a (uid {uid}): disk"));
    for denied in [&others, &by("operator-a", &resync()), &by("operator-b", &resync())] {
        let said = site.refused(denied);
        assert!(said.contains("AccessDenied: access denied (org.trivet.ipvs1."), "{denied}: {said}");
    }

    let other = rule().replace("ipvs1.order", "ipvs1.resync").replace("\"lvs\"", "\"ops\"");
    site.machine().write(&RULES.replace("40", "41"), &other);
    let is_denied = || site.machine().try_sh(&by("operator-b", &resync())).1.contains("AccessDenied");
    wait_for("polkit has read the other rule", &false, is_denied);
    site.refused(&others);
}

fn without_polkit_there_is_root(site: &Site) {
    site.sh("systemctl mask --now polkit");
    let said = site.refused(&by("operator-a", &disable()));
    assert!(said.contains("only root may do this where there is no polkit to ask"), "{said}");
    site.sh(&call(SERVICE, "Enable", &format!("string:{FIRST}")));
    wait_for("nothing is ordered", &true, || site.orders()[0].starts_with(" | "));
}
