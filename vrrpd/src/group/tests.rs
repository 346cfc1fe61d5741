use super::*;

use Position::{Active, Fault as Faulty, Follows, Listening, Wants};

#[test]
fn a_group_becomes_active_when_all_of_it_wants_to_and_not_before() {
    assert_eq!(decide(&[Wants, Wants]), Decision::Permit);
    assert_eq!(decide(&[Wants]), Decision::Permit);
    assert_eq!(decide(&[Wants, Active]), Decision::Permit, "one that is new to an Active group");
    for other in [Listening, Follows, Faulty] {
        assert_eq!(decide(&[Wants, other]), Decision::Stay, "{other:?}");
        assert_eq!(decide(&[other, Wants, Wants]), Decision::Stay, "{other:?}");
    }
}

#[test]
fn one_that_is_not_active_any_more_takes_the_others_with_it() {
    assert_eq!(decide(&[Active, Follows]), Decision::Yield(1));
    assert_eq!(decide(&[Active, Active, Faulty]), Decision::Yield(2));
    assert_eq!(decide(&[Follows, Active, Wants]), Decision::Yield(0));
}

#[test]
fn one_that_is_only_starting_does_not_disturb_an_active_group() {
    assert_eq!(decide(&[Active, Listening]), Decision::Stay);
    assert_eq!(decide(&[Active, Active]), Decision::Stay);
    assert_eq!(decide(&[Follows, Follows]), Decision::Stay);
    assert_eq!(decide(&[]), Decision::Stay);
}

fn verdict(name: &str, group: Option<&str>, usable: Result<IpAddr, Fault>) -> Verdict<u8> {
    Verdict { id: 0, name: name.into(), group: group.map(Arc::from), usable }
}

#[test]
fn a_fault_of_one_is_a_fault_of_all_of_its_group_that_names_it_and_of_nobody_else() {
    let source = IpAddr::from([10, 0, 0, 1]);
    let down = Fault::Down("eth1".into());
    let mut verdicts = [
        verdict("inside", Some("g"), Ok(source)),
        verdict("outside", Some("g"), Err(down.clone())),
        verdict("third", Some("g"), Err(Fault::Missing("eth9".into()))),
        verdict("other", Some("h"), Ok(source)),
        verdict("alone", None, Ok(source)),
        verdict("lonely", None, Err(down.clone())),
    ];
    spread_faults(&mut verdicts);
    let named = Fault::Group("outside".into(), down.to_string());
    assert_eq!(verdicts[0].usable, Err(named.clone()));
    assert!(named.to_string().contains("outside") && named.to_string().contains("eth1 is down"));
    assert_eq!(verdicts[1].usable, Err(down.clone()), "its own fault stays its own");
    assert_eq!(verdicts[2].usable, Err(Fault::Missing("eth9".into())));
    assert!(verdicts[3].usable.is_ok() && verdicts[4].usable.is_ok());
    assert_eq!(verdicts[5].usable, Err(down));
}
