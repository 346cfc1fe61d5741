//! What two files cannot both have.

use super::*;

const SERVER: &str = "[[server]]\naddress = \"192.168.100.101:80\"\n";

/// What is said about these files, of which all but one thing is right.
fn said(files: &[(&str, &str)]) -> String {
    let root = TempRoot::new();
    for (name, text) in files {
        root.write(&format!("etc/trivet/{name}"), text);
    }
    let report = load(root.path()).1.to_string();
    assert!(report.is_empty() || report.ends_with("1 error\n"), "{report}");
    report
}

#[test]
fn one_address_and_protocol_and_one_mark_is_one_service() {
    for (first, second, at, message) in [
        ("address = \"10.0.0.1:80\"", "address = \"10.0.0.1:80\"", "1:11", "tcp 10.0.0.1:80"),
        ("address = \"10.0.0.1:80\"", "address = \"10.0.0.0-9:79-81\"", "1:11", "tcp 10.0.0.1:80"),
        ("address = \"10.0.0.0-9:79-81\"", "address = \"10.0.0.5-20:80\"", "1:11", "tcp 10.0.0.5:80"),
        (
            "address = \"[2001:db8::1]:80\"",
            "address = \"[2001:db8::0-f]:80\"",
            "1:11",
            "tcp [2001:db8::1]:80",
        ),
        ("marks = [6, 7]", "marks = [7, 8]", "1:10", "fwmark 7"),
    ] {
        let server =
            if first.contains("2001") { "[[server]]\naddress = \"2001:db8:1::1\"\n" } else { SERVER };
        let [first, second] = [first, second].map(|front| format!("{front}\n{server}"));
        let report = said(&[("ipvs.d/a.toml", &first), ("ipvs.d/b.toml", &second)]);
        let wanted = format!("b.toml:{at}: error: {message} is already the service of ");
        assert!(report.contains(&wanted), "{wanted}: {report}");
        assert!(report.contains("/a.toml:1:") && report.contains("into one file"), "{report}");
    }
}

#[test]
fn services_that_differ_in_protocol_port_or_family_do_not_overlap() {
    let other = "[[server]]\naddress = \"2001:db8::1\"\n";
    let files = [
        ("ipvs.d/a.toml", format!("address = \"10.0.0.1:80\"\n{SERVER}")),
        ("ipvs.d/b.toml", format!("address = \"10.0.0.1:80\"\nprotocol = \"udp\"\n{SERVER}")),
        ("ipvs.d/c.toml", format!("address = \"10.0.0.1:*\"\npersistence = 60\n{SERVER}")),
        ("ipvs.d/d.toml", format!("mark = 7\n{SERVER}")),
        ("ipvs.d/e.toml", format!("mark = 7\n{other}")),
    ];
    assert_eq!(said(&files.each_ref().map(|(name, text)| (*name, text.as_str()))), "");
}

#[test]
fn no_connection_is_synchronised_while_a_server_is_of_another_family_than_its_service() {
    let sync = ("ipvsd.toml", "[sync]\ninterface = \"eth1\"\n");
    let service = "address = \"10.0.0.1:80\"\nforward = \"tunnel\"\n";
    let mixed = format!("{service}[[server]]\naddress = \"2001:db8::1\"\n");
    let sorry = format!("{service}sorry_server = \"2001:db8::1\"\n[[server]]\naddress = \"10.1.0.1\"\n");
    let plain = format!("{service}[[server]]\naddress = \"10.1.0.1\"\n");
    for (text, at) in [(&mixed, "4:11"), (&sorry, "3:16")] {
        assert_eq!(said(&[("ipvs.d/a.toml", text)]), "");
        let report = said(&[("ipvs.d/a.toml", text), sync]);
        let wanted = format!("a.toml:{at}: error: the kernel synchronises no connections while a server");
        assert!(report.contains(&wanted), "{wanted}: {report}");
        assert!(
            report.contains("hint: the one or the other: [sync] is at ") && report.contains("ipvsd.toml:1:1"),
            "{report}"
        );
    }
    assert_eq!(said(&[("ipvs.d/a.toml", &plain), sync]), "");
}

#[test]
fn a_check_without_a_file_can_be_disabled_and_a_service_that_names_it_is_told_so() {
    let service = format!("address = \"10.0.0.1:80\"\ncheck = \"tcp\"\n{SERVER}");
    assert_eq!(said(&[("ipvs.d/a.toml", &service)]), "");
    let report = said(&[("ipvs.d/a.toml", &service), ("check.d/tcp.toml", "")]);
    let wanted = "a.toml:2:9: error: the check 'tcp' is disabled by a link to /dev/null";
    assert!(report.contains(wanted) && report.contains("remove tcp.toml from check.d"), "{report}");
}

#[test]
fn the_virtual_router_of_a_service_and_of_the_sync_daemons_must_be_there() {
    let service = format!("address = \"10.0.0.1:80\"\nwhile_active = \"gateway\"\n{SERVER}");
    let missing = "error: there is no virtual router 'gateway'";
    let hint = "hint: write it: /etc/trivet/vrrp.d/NAME.toml";
    let report = said(&[("ipvs.d/a.toml", &service)]);
    assert!(report.contains(&format!("a.toml:2:16: {missing}")) && report.contains(hint), "{report}");
    let sync = "[sync]\ninterface = \"eth1\"\nvirtual_router = \"gateway\"\n";
    let report = said(&[("ipvsd.toml", sync)]);
    assert!(report.contains(&format!("ipvsd.toml:3:18: {missing}")) && report.contains(hint), "{report}");
    let router = ("vrrp.d/gateway.toml", "interface = \"eth0\"\n");
    assert_eq!(said(&[("ipvs.d/a.toml", &service), ("ipvsd.toml", sync), router]), "");
}
