//! Files of the greatest length that is read, each as bad as that length allows: they are read in moderate time, their
//! mistakes are told, and the settings and the report stay small.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use daemon::testing::TempRoot;
use ipvsd::config;

/// Longer files are not read: 1 MiB.
const LONGEST: usize = 1 << 20;
/// For each, on a slow and busy machine; what is quadratic takes minutes.
const LIMIT: Duration = Duration::from_secs(60);

/// As many of `part` as there is room for after `head` and before `tail`.
fn fill(head: &str, tail: &str, part: impl Fn(usize) -> String) -> String {
    let mut text = head.to_owned();
    for number in 0.. {
        let part = part(number);
        if text.len() + part.len() + tail.len() > LONGEST {
            break;
        }
        text.push_str(&part);
    }
    text + tail
}

fn server(number: usize) -> String {
    format!("[[server]]\naddress=\"10.{}.{}.{}\"\n", number >> 16 & 0xff, number >> 8 & 0xff, number & 0xff)
}

#[expect(clippy::disallowed_methods, reason = "how long it takes")]
fn read(what: &str, text: &str) -> String {
    let root = TempRoot::new();
    root.write("etc/trivet/ipvs.d/long.toml", text);
    let began = Instant::now();
    let (_, report) = config::load(root.path());
    let read = began.elapsed();
    let said = report.to_string();
    println!("{what}: read in {read:?}, told in {:?}, {} bytes", began.elapsed() - read, said.len());
    assert!(began.elapsed() < LIMIT, "{what}: {:?}", began.elapsed());
    said
}

#[test]
fn thousands_of_addresses_and_of_servers_are_no_product() {
    let wide = "address = \"172.16.0.0-172.16.15.255:80\"\n";
    let said = read("many servers of many addresses", &fill(wide, "", server));
    assert!(said.contains("entries in the kernel, more than"), "{said}");
    let same = |_| "[[server]]\naddress=\"10.0.0.1\"\n".to_owned();
    let said = read("one server again and again", &fill(wide, "", same));
    assert!(said.contains("error: server 10.0.0.1 is already at "), "{}", &said[..1000]);
    let port = |number: usize| match number % 2 {
        0 => format!("[[server]]\naddress=\"10.0.0.1:{}\"\n", number % 65_000 + 1),
        _ => "[[server]]\naddress=\"10.0.0.1\"\n".to_owned(),
    };
    let ports = "addresses = [\"172.16.0.1:61440-65535\"]\n";
    read("one server with each port and with none", &fill(ports, "", port));
    let ranges = fill("addresses = [", "]\n", |number| {
        format!("\"10.{}.0.0-10.{}.15.255:80\",", number % 250, number % 250)
    });
    assert!(read("many ranges", &ranges).contains("more than 4096 addresses and ports"));
}

#[test]
fn nesting_has_an_end() {
    let head = "address = \"10.0.0.1:80\"\n";
    for (what, open, middle, close) in [("arrays", "[", "1", "]"), ("inline tables", "{a=", "1", "}")] {
        let half = (LONGEST - 100) / (open.len() + close.len());
        let text = format!("{head}x = {}{middle}{}\n", open.repeat(half), close.repeat(half));
        assert!(read(what, &text).contains("long.toml:2:"));
    }
    let dotted = format!("{head}{}a = 1\n", "a.".repeat(LONGEST / 2 - 50));
    assert!(read("a dotted key", &dotted).contains("error"));
    let header = format!("{head}[{}a]\n", "a.".repeat(LONGEST / 2 - 50));
    assert!(read("a table's name", &header).contains("error"));
}

#[test]
fn thousands_of_mistakes_are_told_without_end() {
    let head = "address = \"10.0.0.1:80\"\n";
    read("unknown keys", &fill(head, "", |number| format!("k{number} = 1\n")));
    read("servers without an address", &fill(head, "", |_| "[[server]]\n".to_owned()));
    read("no TOML", &fill(head, "", |_| "= =\n".to_owned()));
    read("wrong servers in one line", &fill(&format!("{head}server = ["), "]\n", |_| "{a=1},".to_owned()));
    let mut marks = String::from("marks = [");
    (0..80_000).for_each(|_| write!(marks, "7, ").unwrap());
    read("one mark again and again", &(marks + "]\n[[server]]\naddress = \"10.1.0.1\"\n"));
}
