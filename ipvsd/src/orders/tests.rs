use std::os::unix::fs::PermissionsExt as _;

use daemon::testing::TempRoot;

use super::*;
use crate::table::{Family, Protocol};

const PATH: &str = "var/lib/trivet/ipvsd/orders";

fn order(command: Command, reason: &str) -> Order {
    let author = "root".into();
    Order { command, author, reason: reason.into(), since: 1_700_000_000_000_000, beneath: None, front: None }
}

fn seat(backend: &str) -> (Arc<str>, Backend) {
    (Arc::from("web"), parse_backend(backend).unwrap())
}

fn found(orders: Orders) -> Found {
    Found { orders, strange: String::new() }
}

#[test]
fn orders_are_read_back_as_they_were_written() {
    let root = TempRoot::new();
    let mut file = OrdersFile::new(root.path());
    assert_eq!(file.read().unwrap(), Found::default());
    let mut drain = order(Command::Drain { until: 7 }, "新しい");
    drain.beneath = Some(Box::new(Order {
        author: "alice (uid 1000)".into(),
        since: 3,
        ..order(Command::Weight(0), "half\\t of it\r")
    }));
    drain.front = Some(ServiceKey::Mark { family: Family::V6, mark: 7 });
    drain.beneath.as_mut().unwrap().front = drain.front;
    let mut disable = order(Command::Disable, "its disk:\tsda\n\\back");
    let address = "10.0.10.50:80".parse().unwrap();
    disable.front = Some(ServiceKey::Address { protocol: Protocol::Tcp, address });
    let orders = Orders::from([
        (seat("192.168.100.101:80"), order(Command::Weight(5), "")),
        (seat("192.168.100.102"), disable),
        (seat("[2001:db8::1]:443"), drain),
    ]);
    file.write(&orders).unwrap();
    assert_eq!(OrdersFile::new(root.path()).read().unwrap(), found(orders));
    file.write(&Orders::new()).unwrap();
    assert_eq!(file.read().unwrap(), Found::default());
}

#[test]
fn the_first_form_of_the_file_is_read() {
    let root = TempRoot::new();
    root.write(PATH, "web\t192.168.100.102\tdisable\t1700000000000000\troot\tits disk\\tsda\n");
    let orders = Orders::from([(seat("192.168.100.102"), order(Command::Disable, "its disk\tsda"))]);
    assert_eq!(OrdersFile::new(root.path()).read().unwrap(), found(orders));
}

#[test]
fn a_weight_is_beneath_what_takes_the_server_out_of_use_in_whatever_order_the_lines_stand() {
    let root = TempRoot::new();
    let (weight, stop) = ("web\t10.0.0.1:80\tweight 5\t1\ta\tw", "web\t10.0.0.1:80\tdisable\t2\tb\ts");
    for lines in [[weight, stop], [stop, weight]] {
        root.write(PATH, &lines.join("\n"));
        let orders = OrdersFile::new(root.path()).read().unwrap().orders;
        let order = &orders[&seat("10.0.0.1:80")];
        let beneath = order.beneath.as_deref().unwrap();
        assert_eq!((order.command, beneath.command), (Command::Disable, Command::Weight(5)));
        assert_eq!((beneath.author.as_str(), beneath.reason.as_str(), beneath.since), ("a", "w", 1));
    }
}

#[test]
fn what_makes_no_sense_is_told_and_stays_in_the_file() {
    let root = TempRoot::new();
    let strange: [&[u8]; 9] = [
        b"nonsense",
        b"web\tx\tdisable\t1\tme\t",
        b"web\t1.2.3.4:5\tsing\t1\tme\t",
        b"web\t1.2.3.4:5\tweight 70000\t1\tme\t",
        b"web\t1.2.3.4:5\tdisable\t1\tme",
        b"\t1.2.3.4:5\tdisable\t1\tme\t",
        b"web\t1.2.3.4:5\tdisable\t1\tme\t\ttcp 10.0.10.50:80\tmore of a later version",
        b"web\t1.2.3.4:5\tdisable\t1\tme\t\tnowhere",
        b"web\t1.2.3.4:5\tdisable\t1\tm\xe9\t",
    ];
    let good: &[u8] = b"web\t10.0.0.1:80\tdisable\t2\tb\ts";
    let lines = [&strange[..4], &[good, b""], &strange[4..]].concat();
    root.write(PATH, "");
    let path = root.path().join(PATH);
    fs::write(&path, lines.join(&b'\n')).unwrap();
    let mut file = OrdersFile::new(root.path());
    let Found { orders, strange: told } = file.read().unwrap();
    assert_eq!(orders.keys().collect::<Vec<_>>(), [&seat("10.0.0.1:80")]);
    let said = "9 lines make no sense (1, 2, 3, 4, 7, …); they order nothing, and are kept";
    assert_eq!(told, format!("{}: {said}", path.display()));
    file.write(&Orders::new()).unwrap();
    let kept = [strange.join(&b'\n'), b"\n".to_vec()].concat();
    assert_eq!(fs::read(&path).unwrap(), kept);
    file.write(&orders).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [good, b"\n", &kept].concat());
    fs::write(&path, [b"what?\n", good].concat()).unwrap();
    assert!(file.read().unwrap().strange.ends_with("line 1 makes no sense; it orders nothing, and is kept"));
    file.write(&Orders::new()).unwrap();
    assert_eq!(
        fs::read(&path).unwrap(),
        b"what?\n",
        "what was kept of a former reading is not there any more"
    );
}

#[test]
fn a_file_that_cannot_be_read_or_written_says_which_and_why() {
    let root = TempRoot::new();
    let path = root.path().join(PATH);
    fs::create_dir_all(&path).unwrap();
    let mut file = OrdersFile::new(root.path());
    let said = file.read().unwrap_err();
    assert_eq!(said, format!("cannot read {}: Is a directory (os error 21)", path.display()));
    assert!(file.write(&Orders::new()).unwrap_err().starts_with("cannot write /"));
    fs::remove_dir(&path).unwrap();
    file.write(&Orders::new()).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o600, 0o600);
}
