//! Every scenario is run: a conflict between two branches has taken some out of tests/run before.

#![cfg(test)]

#[test]
fn every_scenario_is_in_a_list_of_the_runner() {
    let runner = include_str!("../run");
    let lists: Vec<&str> = runner
        .lines()
        .filter_map(|line| line.split_once("_tests=(")?.1.strip_suffix(')'))
        .flat_map(str::split_whitespace)
        .collect();
    let manifest = include_str!("../Cargo.toml");
    let scenarios = manifest.split("[[test]]").skip(1);
    let names: Vec<&str> = scenarios.filter_map(|table| table.split('"').nth(1)).collect();
    assert!(names.len() > 10, "the manifest is read: {names:?}");
    let left_out: Vec<&&str> = names.iter().filter(|name| !lists.contains(name)).collect();
    assert!(left_out.is_empty(), "not in tests/run: {left_out:?}");
}
