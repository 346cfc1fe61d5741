//! Not in the RFC: a router that goes on where a former run of the daemon left it.

use super::*;

fn resume() -> Event {
    Event::Resume { source: US, silence: SECOND }
}

#[test]
fn a_router_that_goes_on_speaks_at_once_and_announces_again_what_the_kernel_still_has() {
    let mut bench = Bench::initialize(settings(100));
    assert_eq!(bench.event(resume()), takes_over(StateName::Initialize, 100));
    assert_eq!(*bench.router.reason(), Reason::Resumed(SECOND));
    assert_eq!(bench.event(Event::Installed(address(50))), [Action::Announce]);
    assert_eq!(bench.fire(), [send(100)], "an interval later");
}

#[test]
fn only_a_router_that_has_just_begun_goes_on() {
    let mut faulty = Bench::initialize(settings(100));
    faulty.event(Event::Fault(Fault::Down("eth0".into())));
    faulty.event(resume());
    assert_eq!(faulty.router.state(), StateName::Backup);
    let mut backup = Bench::backup(settings(100));
    assert_eq!(backup.event(resume()), []);
    assert_eq!(backup.router.state(), StateName::Backup);
}
