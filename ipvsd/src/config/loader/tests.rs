use std::fs::{File, FileTimes};

use daemon::testing::TempRoot;

use super::*;

fn text(number: u16) -> String {
    let port = 1_000 + number;
    format!("address = \"10.0.10.50:{port}\"\n[[server]]\naddress = \"192.168.100.101:80\"\n")
}

/// So many services, in files that are old enough to be known.
fn root(services: u16) -> TempRoot {
    let root = TempRoot::new();
    for number in 0..services {
        root.write(&file(number), &text(number));
    }
    root
}

fn file(number: u16) -> String {
    format!("etc/trivet/ipvs.d/service-{number:03}.toml")
}

/// As if so much time had passed since the files were written.
fn settled(loader: &mut Loader) -> (Settings, Report) {
    loader.ahead = 10_000_000;
    loader.load()
}

fn same(before: &Settings, now: &Settings) -> usize {
    let is_same = |(name, service): &(&Arc<str>, &Arc<VirtualService>)| {
        before.services.get(*name).is_some_and(|before| Arc::ptr_eq(before, service))
    };
    now.services.iter().filter(is_same).count()
}

#[test]
fn files_of_several_threads_are_one_configuration_with_all_mistakes() {
    let root = root(200);
    let (settings, report) = Loader::new(root.path()).load();
    assert!(report.is_empty(), "{report}");
    assert_eq!(settings.services.len(), 200);
    for number in [0, 150, 199] {
        root.write(&file(number), "adress = \"10.0.10.50:80\"\n");
    }
    let (_, report) = Loader::new(root.path()).load();
    for number in [0, 150, 199] {
        assert!(report.to_string().contains(&format!("service-{number:03}.toml:1:1: error")), "{report}");
    }
}

#[test]
fn a_file_that_is_still_the_same_is_not_read_again_and_any_other_is() {
    let root = root(4);
    let mut loader = Loader::new(root.path());
    let (first, _) = settled(&mut loader);
    let (second, report) = settled(&mut loader);
    assert!(report.is_empty(), "{report}");
    assert_eq!(same(&first, &second), 4);
    // The same length, the same time of the contents: only the inode tells.
    let path = root.path().join(file(1));
    let times = FileTimes::new().set_modified(std::fs::metadata(&path).unwrap().modified().unwrap());
    root.write(&file(1), &text(9));
    File::options().write(true).open(&path).unwrap().set_times(times).unwrap();
    root.write(&file(2).replace(".toml", ".toml.d/x.toml"), "scheduler = \"rr\"\n");
    std::fs::remove_file(root.path().join(file(3))).unwrap();
    let (third, report) = settled(&mut loader);
    assert!(report.is_empty(), "{report}");
    assert_eq!((third.services.len(), same(&second, &third)), (3, 1));
    assert_eq!(third.services["service-001"].fronts[0].to_string(), "tcp 10.0.10.50:1009");
    assert_eq!(third.services["service-002"].scheduler, "rr");
}

#[test]
fn a_file_that_was_just_written_is_read_again_since_the_next_writing_may_leave_no_mark() {
    let root = root(2);
    let mut loader = Loader::new(root.path());
    let (first, _) = loader.load();
    assert_eq!(same(&first, &loader.load().0), 0);
}

#[test]
fn what_a_file_names_is_looked_for_again_when_that_is_another() {
    let root = TempRoot::new();
    root.write("etc/trivet/check.d/web.toml", "type = \"http\"\n");
    root.write(&file(0), &format!("check = \"web\"\n{}", text(0)));
    let mut loader = Loader::new(root.path());
    let (_, report) = settled(&mut loader);
    assert!(report.is_empty(), "{report}");
    std::fs::remove_file(root.path().join("etc/trivet/check.d/web.toml")).unwrap();
    let (_, report) = settled(&mut loader);
    assert!(report.to_string().contains("there is no check 'web'"), "{report}");
}

#[test]
fn an_address_that_is_taken_is_told_with_both_places_whichever_was_known_and_each_time() {
    let root = root(3);
    let mut loader = Loader::new(root.path());
    settled(&mut loader);
    for (number, with) in [(0, 2), (2, 0)] {
        root.write(&file(number), &text(with));
        for _ in 0..3 {
            let (_, report) = settled(&mut loader);
            let told = report.to_string();
            let wanted = "service-002.toml:1:11: error: tcp 10.0.10.50:100";
            assert!(told.contains(wanted) && told.contains("service-000.toml:1:11\n"), "{told}");
        }
        root.write(&file(number), &text(number));
        assert!(settled(&mut loader).1.is_empty());
    }
}

#[test]
fn a_warning_is_told_at_each_reading() {
    let root = root(1);
    root.write(&file(1), "address = \"10.0.10.50:80\"\n");
    let mut loader = Loader::new(root.path());
    let (first, _) = settled(&mut loader);
    let (second, report) = settled(&mut loader);
    assert!(report.to_string().contains("has no servers"), "{report}");
    assert_eq!(same(&first, &second), 1);
}

/// Prints a figure: `cargo test --release -p ipvsd --lib -- --ignored --nocapture what_reading_files_costs`.
#[test]
#[ignore = "a measurement"]
fn what_reading_files_costs() {
    let root = TempRoot::new();
    for number in 0..2_277_u16 {
        let mut text = format!("address = \"10.200.{}.{}:80\"\n", number / 256, number % 256);
        for server in 0..16 {
            let line = format!(
                "[[server]]\naddress = \"10.{}.{}.{server}:80\"\nweight = 1\n",
                number / 256,
                number % 256
            );
            text.push_str(&line);
        }
        root.write(&file(number), &text);
    }
    let clock = Clock::new().unwrap();
    let mut loader = Loader::new(root.path());
    for _ in 0..5 {
        let began = clock.now();
        let (settings, report) = settled(&mut loader);
        assert!(report.is_empty());
        println!("{} services: {:?}", settings.services.len(), clock.now() - began);
    }
}

#[test]
fn a_known_file_is_read_again_when_another_ones_contents_decide_about_it() {
    let root = TempRoot::new();
    let mixed = "address = \"10.0.0.1:80\"\nforward = \"tunnel\"\n[[server]]\naddress = \"2001:db8::1\"\n";
    root.write("etc/trivet/ipvs.d/mixed.toml", mixed);
    let mark = "mark = 7\ncheck = \"web\"\n[[server]]\naddress = \"192.168.100.101\"\n";
    root.write("etc/trivet/ipvs.d/mark.toml", mark);
    root.write("etc/trivet/check.d/web.toml", "type = \"http\"\nport = 80\n");
    let mut loader = Loader::new(root.path());
    let (first, report) = settled(&mut loader);
    assert!(report.is_empty(), "{report}");
    assert_eq!(same(&first, &settled(&mut loader).0), 2);
    root.write("etc/trivet/check.d/web.toml", "type = \"http\"\n");
    let said = settled(&mut loader).1.to_string();
    assert!(said.contains("mark.toml:2:9: error: check 'web' needs a port"), "{said}");
    root.write("etc/trivet/check.d/web.toml", "type = \"http\"\nport = 81\n");
    let (second, report) = settled(&mut loader);
    assert!(report.is_empty(), "{report}");
    root.write("etc/trivet/ipvsd.toml", "[sync]\ninterface = \"eth1\"\n");
    let said = settled(&mut loader).1.to_string();
    assert!(said.contains("mixed.toml:4:11: error: the kernel synchronises no connections"), "{said}");
    std::fs::remove_file(root.path().join("etc/trivet/ipvsd.toml")).unwrap();
    let (third, report) = settled(&mut loader);
    assert!(report.is_empty() && third == second, "{report}");
}
