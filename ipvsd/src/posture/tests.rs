use super::*;
use crate::director::scene::{backend, service};
use crate::service::{Quorum, SorryServer};

const UP: Health = Health::Up(None);

fn standing(health: Health) -> Standing {
    Standing { health, command: None, share: Share::WHOLE }
}

fn ordered(health: Health, command: Command) -> Standing {
    Standing { command: Some(command), ..standing(health) }
}

fn server(on_failure: OnFailure) -> RealServer {
    let (_, server) = service(50, &[101]).servers.pop_first().unwrap();
    RealServer { weight: 3, on_failure, ..server }
}

/// The service's weights when its servers, 101 and on, stand so.
fn weights(service: &VirtualService, standings: &[Standing], had_quorum: bool) -> Vec<(String, u32)> {
    let of = |backend: &Backend, _: &RealServer| {
        let index = service.servers.keys().position(|other| other == backend).unwrap();
        standings[index]
    };
    let posture = service.posture(of, Posture { has_quorum: had_quorum, ..Posture::default() });
    let entry = service.desired(&service.fronts[0], posture.stand, of);
    entry.servers.iter().map(|(address, server)| (address.to_string(), server.weight)).collect()
}

fn pairs(rows: &[(String, u32)]) -> Vec<(&str, u32)> {
    rows.iter().map(|(address, weight)| (address.trim_start_matches("192.168.100."), *weight)).collect()
}

#[test]
fn a_failed_server_leaves_the_table_or_stays_with_weight_0_if_inhibited() {
    for (on_failure, expected) in [(OnFailure::Remove, None), (OnFailure::Inhibit, Some(0))] {
        let server = server(on_failure);
        assert_eq!(standing(Health::Down).weight(&server), expected);
        assert_eq!(standing(UP).weight(&server), Some(3));
        assert_eq!(ordered(UP, Command::Disable).weight(&server), expected);
    }
}

#[test]
fn an_operators_weight_comes_before_the_checks_and_that_before_the_configured_one() {
    let server = server(OnFailure::Remove);
    assert_eq!(standing(Health::Up(Some(40))).weight(&server), Some(40));
    assert_eq!(standing(Health::Up(Some(0))).weight(&server), Some(0), "it gets no new connections");
    assert_eq!(ordered(Health::Up(Some(40)), Command::Weight(7)).weight(&server), Some(7));
    assert_eq!(ordered(Health::Down, Command::Weight(7)).weight(&server), None);
}

#[test]
fn an_unknown_server_stays_as_it_was_found() {
    let server = server(OnFailure::Remove);
    let weight = |admission| standing(Health::Unknown(admission)).weight(&server);
    assert_eq!(weight(Admission::Withheld), None);
    assert_eq!(weight(Admission::Idle), Some(0));
    assert_eq!(weight(Admission::Admitted), Some(3));
    assert_eq!(standing(Health::Unchecked).weight(&server), Some(3));
}

#[test]
fn a_drained_server_keeps_its_connections_while_it_lives() {
    let server = server(OnFailure::Remove);
    let drain = Command::Drain { until: 0 };
    assert_eq!(ordered(UP, drain).weight(&server), Some(0));
    assert_eq!(ordered(Health::Unknown(Admission::Admitted), drain).weight(&server), Some(0));
    assert_eq!(ordered(Health::Down, drain).weight(&server), None);
}

#[test]
fn a_share_of_a_weight_is_never_nothing_and_never_more() {
    assert_eq!(Share(1).of(100), 1);
    assert_eq!(Share(0).of(1), 1);
    assert_eq!(Share(500).of(100), 50);
    assert_eq!(Share::WHOLE.of(65_535), 65_535);
    assert_eq!(Share(500).of(0), 0);
}

fn with_sorry() -> VirtualService {
    let mut service = service(50, &[101, 102, 103]);
    service.quorum = Quorum { weight: 2, hysteresis: 0 };
    service.sorry = Some(SorryServer { backend: backend(200), forward: Forward::Nat });
    service
}

#[test]
fn the_sorry_server_answers_while_there_is_no_quorum_and_the_others_are_out_of_use() {
    let service = with_sorry();
    let up = standing(UP);
    let down = standing(Health::Down);
    assert_eq!(pairs(&weights(&service, &[up, up, down], true)), [("101:80", 1), ("102:80", 1)]);
    assert_eq!(pairs(&weights(&service, &[up, down, down], true)), [("200:80", 1)]);
    let mut inhibited = service;
    inhibited.servers.values_mut().for_each(|server| server.on_failure = OnFailure::Inhibit);
    assert_eq!(
        pairs(&weights(&inhibited, &[up, down, down], true)),
        [("101:80", 0), ("102:80", 0), ("103:80", 0), ("200:80", 1)]
    );
}

#[test]
fn nobody_is_sorry_about_servers_that_were_not_looked_at_yet() {
    let service = with_sorry();
    let (up, down) = (standing(UP), standing(Health::Down));
    let unknown = standing(Health::Unknown(Admission::Withheld));
    assert_eq!(pairs(&weights(&service, &[unknown, unknown, unknown], false)), []);
    assert_eq!(pairs(&weights(&service, &[up, unknown, down], false)), [("101:80", 1)]);
    assert_eq!(pairs(&weights(&service, &[unknown, down, down], false)), [("200:80", 1)], "hopeless");
}

#[test]
fn all_servers_are_kept_when_all_are_down_if_that_is_wanted_but_none_that_an_operator_took_out() {
    let mut service = service(50, &[101, 102]);
    let down = standing(Health::Down);
    assert_eq!(pairs(&weights(&service, &[down, down], true)), []);
    service.all_down = AllDown::Keep;
    assert_eq!(pairs(&weights(&service, &[down, down], true)), [("101:80", 1), ("102:80", 1)]);
    assert_eq!(pairs(&weights(&service, &[down, standing(UP)], true)), [("102:80", 1)]);
    let disabled = ordered(Health::Down, Command::Disable);
    assert_eq!(pairs(&weights(&service, &[down, disabled], true)), [("101:80", 1)]);
    let waiting = standing(Health::Unknown(Admission::Withheld));
    assert_eq!(pairs(&weights(&service, &[down, waiting], true)), [], "the wait is for that one");
}

#[test]
fn a_server_out_of_use_does_not_count_and_one_that_starts_slowly_counts_whole() {
    let service = with_sorry();
    let slow = Standing { share: Share(100), ..standing(UP) };
    let of = |backend: &Backend, _: &RealServer| match service.servers.keys().position(|b| b == backend) {
        Some(0) => slow,
        Some(1) => ordered(UP, Command::Disable),
        _ => standing(UP),
    };
    let posture = service.posture(of, Posture::default());
    assert_eq!((posture.weight, posture.usable, posture.has_quorum), (2, 2, true));
}
