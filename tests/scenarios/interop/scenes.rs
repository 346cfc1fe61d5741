//! What happens to a pair in each scene, and what must be seen.

use std::net::IpAddr;
use std::time::Duration;

use nix::sys::signal::Signal;
use trivet_tests::frames::Frame;
use trivet_tests::tap::{Sent, Stamp};

use crate::cell::Scene;
use crate::render;
use crate::site::{MARGIN, Outcome, START, Site, until};

const FIRST: usize = 0;
const SECOND: usize = 1;
/// The tap's stamp is earlier than the moment at which a host set its timer, never later: this is for rounding. And a clock
/// that is being corrected runs up to 500 ppm faster than the hosts' timers (adjtimex).
const EARLY: Duration = Duration::from_micros(200);
const CORRECTION: u32 = 2000;
/// What a loaded machine may add to a program in real time. Less than what ignoring priority 0 would add.
const LATE: Duration = Duration::from_millis(150);

/// The figures of a run that passed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Times {
    /// From the last word of the one that went to the first of the other.
    pub(crate) takeover: Duration,
    /// From there to the announcement of the address.
    pub(crate) announced: Duration,
    /// From the return to the end of the other's time.
    pub(crate) back: Duration,
    /// How long two held the address, after the return.
    pub(crate) overlap: Duration,
}

impl Site {
    pub(crate) fn play(&mut self) -> Outcome<Times> {
        let began = Stamp::now();
        let times = self.scene().and_then(|times| {
            self.alive()?;
            self.well_addressed()?;
            Ok(times)
        });
        times.map_err(|error| format!("{error}\n{}", self.story(began)))
    }

    fn scene(&mut self) -> Outcome<Times> {
        if self.cell.scene == Scene::EqualPriority {
            return self.equal_priority();
        }
        let (began, limit) = (Stamp::now(), START + self.cell.active_down_interval(FIRST));
        self.start(FIRST);
        if render::learns(&self.cell, SECOND, self.pairing.checksum()) && self.pairing.is_ours(SECOND) {
            // As long as it is on its own it sends the RFC's checksum.
            self.first("the first is Active", began, limit, FIRST, active)?;
        }
        self.start(SECOND);
        self.expect_only(FIRST, limit)?;
        self.expect_peace(FIRST)?;
        match self.cell.scene {
            Scene::Stop | Scene::AddressMismatch => self.stop(),
            Scene::Kill | Scene::TenMilliseconds => self.kill_one(),
            Scene::LinkDown => self.link_down(),
            Scene::Freeze => self.freeze(),
            Scene::EqualPriority => unreachable!("played above"),
        }
    }

    fn stop(&mut self) -> Outcome<Times> {
        let stopped = Stamp::now();
        self.terminate(FIRST);
        let release = self.first("it gives up with priority 0", stopped, MARGIN, FIRST, |sent| {
            sent.advert().is_some_and(|advert| advert.priority == 0)
        })?;
        let mut times = self.expect_takeover(release.at, self.cell.skew(SECOND))?;
        self.reap(FIRST)?;
        let returned = Stamp::now();
        self.start(FIRST);
        self.expect_return(returned, START, &mut times)?;
        Ok(times)
    }

    fn kill_one(&mut self) -> Outcome<Times> {
        self.kill(FIRST);
        let last = self.last_word()?;
        let mut times = self.expect_takeover(last, self.cell.active_down_interval(SECOND))?;
        let returned = Stamp::now();
        self.start(FIRST);
        self.expect_return(returned, START, &mut times)?;
        Ok(times)
    }

    fn link_down(&mut self) -> Outcome<Times> {
        self.hosts[FIRST].carrier("eth0", false);
        let last = self.last_word()?;
        until("it gives the address up without its link", MARGIN, || {
            (!self.residence.now()[FIRST]).then_some(())
        })?;
        let mut times = self.expect_takeover(last, self.cell.active_down_interval(SECOND))?;
        let returned = Stamp::now();
        self.hosts[FIRST].carrier("eth0", true);
        self.expect_return(returned, START, &mut times)?;
        Ok(times)
    }

    /// It wakes with the address, while the other has it: for one interval, or what the other's next one takes to come.
    fn freeze(&mut self) -> Outcome<Times> {
        self.signal(FIRST, Signal::SIGSTOP);
        let last = self.last_word()?;
        let taken = self.expect_takeover(last, self.cell.active_down_interval(SECOND));
        if taken.is_err() {
            self.signal(FIRST, Signal::SIGCONT);
        }
        let mut times = taken?;
        // Longer than its own Active_Down_Interval, too, which is the shorter one.
        let woken = Stamp::now();
        self.signal(FIRST, Signal::SIGCONT);
        self.expect_return(woken, START, &mut times)?;
        if self.pairing.is_ours(FIRST) {
            let spoke = self.first("it speaks", woken, MARGIN, FIRST, active)?;
            let after = spoke.at.since(woken);
            if after + EARLY < self.cell.interval() {
                return Err(format!("it spoke {after:?} after waking, before it could have listened"));
            }
        }
        Ok(times)
    }

    /// In Backup, the same priority is as good as a higher one; between two Actives, the higher address wins.
    fn equal_priority(&mut self) -> Outcome<Times> {
        self.start(FIRST);
        self.expect_only(FIRST, START + self.cell.active_down_interval(FIRST))?;
        self.start(SECOND);
        self.expect_peace(FIRST)?;
        self.expect_peace(FIRST)?;
        // What it says while the cable is being pulled may arrive, or may not.
        let arrived = self.last_word()?;
        self.hosts[FIRST].cut();
        let last = self.last_word()?;
        let mut times = self.expect_takeover_since(arrived, last, self.cell.active_down_interval(SECOND))?;
        let met = Stamp::now();
        self.hosts[FIRST].plug();
        let plugged = Stamp::now();
        self.expect_only(SECOND, self.cell.interval() + MARGIN)?;
        times.back = Stamp::now().since(met);
        times.overlap = self.residence.longest_overlap(met);
        self.expect_mending(met, plugged)?;
        self.expect_peace(SECOND)?;
        Ok(times)
    }

    /// The second has won, and announces its address again, for hosts that learned the first's. It can know of them only
    /// if the first spoke. vrrpd does, before it yields; a keepalived that hears the second's next advertisement before
    /// its own is due yields without a word (`higher_prio_send_advert` is off by default).
    fn expect_mending(&self, met: Stamp, plugged: Stamp) -> Outcome<()> {
        let spoke = self.tap.find(plugged, |sent| sent.by == FIRST && active(sent)).is_some();
        if self.pairing.is_ours(FIRST) || spoke {
            self.expect_announcement(SECOND, met, MARGIN)?;
        }
        Ok(())
    }

    /// When the first host advertised last.
    fn last_word(&self) -> Outcome<Stamp> {
        // What was on its way when it happened arrives.
        trivet_tests::clock::pace(Duration::from_millis(2));
        let last = self.tap.last_advert(FIRST, Stamp::now()).ok_or("it never advertised")?;
        Ok(last.at)
    }

    /// The second becomes Active, `after` what was last heard of the first.
    fn expect_takeover(&self, since: Stamp, after: Duration) -> Outcome<Times> {
        self.expect_takeover_since(since, since, after)
    }

    /// The same, where the last that was heard was said at one of two times, or between them.
    fn expect_takeover_since(&self, first: Stamp, last: Stamp, after: Duration) -> Outcome<Times> {
        let advert = self.first("the second takes over", first, after + MARGIN, SECOND, active)?;
        let takeover = advert.at.since(first);
        if takeover + EARLY + after / CORRECTION < after || advert.at.since(last) > after + LATE {
            return Err(format!("took over after {takeover:?}, the protocol says {after:?}"));
        }
        let announced = self.expect_announcement(SECOND, advert.at, MARGIN)?.since(advert.at);
        until("the second has the address", MARGIN, || self.residence.now()[SECOND].then_some(()))?;
        Ok(Times { takeover, announced, ..Times::default() })
    }

    /// The first, which is the better one, is Active again, and the second yields.
    fn expect_return(&self, since: Stamp, start: Duration, times: &mut Times) -> Outcome<()> {
        let limit = start + self.cell.active_down_interval(FIRST) + MARGIN;
        let advert = self.first("the first is Active again", since, limit, FIRST, active)?;
        self.expect_announcement(FIRST, advert.at, MARGIN)?;
        self.expect_only(FIRST, limit)?;
        times.back = Stamp::now().since(since);
        times.overlap = self.residence.longest_overlap(advert.at);
        let allowed = self.cell.interval() + MARGIN;
        if times.overlap > allowed {
            return Err(format!("both had the address for {:?}, allowed is {allowed:?}", times.overlap));
        }
        self.expect_peace(FIRST)
    }

    fn expect_announcement(&self, by: usize, since: Stamp, limit: Duration) -> Outcome<Stamp> {
        let address = self.cell.address();
        let what = format!("host {by} announces {address}");
        Ok(self.first(&what, since, limit, by, |sent| announces(sent, address))?.at)
    }

    fn expect_only(&self, holder: usize, limit: Duration) -> Outcome<()> {
        let wanted = [holder == FIRST, holder == SECOND];
        until(&format!("host {holder} alone has the address"), limit, || {
            (self.residence.now() == wanted).then_some(())
        })
    }

    /// For as long as several advertisements take, only the holder sends any, and the address stays where it is.
    fn expect_peace(&self, holder: usize) -> Outcome<()> {
        let since = Stamp::now();
        let count = if self.cell.version == 2 { 2 } else { 5 };
        let limit = (count + 1) * self.cell.interval() + LATE;
        until("the holder goes on advertising", limit, || {
            let sent = self.tap.since(since);
            let adverts = sent.iter().filter(|sent| sent.by == holder && active(sent)).count();
            (adverts >= usize::try_from(count).expect("a few")).then_some(())
        })?;
        if let Some(other) = self.tap.find(since, |sent| sent.by != holder && active(sent)) {
            return Err(format!("the other is Active too: {other:?}"));
        }
        let wanted = [holder == FIRST, holder == SECOND];
        if self.residence.now() != wanted || self.residence.changes().iter().any(|(at, _)| *at > since) {
            return Err("the address moved, and nothing had happened".into());
        }
        Ok(())
    }

    /// What ours sent has the form that RFC 9568 sections 5.1 and 7.2 want.
    fn well_addressed(&self) -> Outcome<()> {
        let own: [[u8; 6]; 2] = [0, 1].map(|host| trivet_tests::capture::mac(&self.hosts[host], "eth0"));
        for sent in self.tap.since(Stamp::default()) {
            if self.pairing.is_ours(sent.by) {
                self.check(&sent, own[sent.by]).map_err(|error| format!("{error}: {sent:?}"))?;
            }
        }
        Ok(())
    }

    fn check(&self, sent: &Sent, own: [u8; 6]) -> Outcome<()> {
        let cell = &self.cell;
        let group = if cell.address().is_ipv4() { "224.0.0.18" } else { "ff02::12" };
        let group: IpAddr = group.parse().expect("an address");
        match &sent.frame {
            Some(Frame::Advert(advert)) => {
                let to = if cell.unicast { cell.own(1 - sent.by) } else { group };
                let mac = if cell.vmac && !cell.unicast { cell.virtual_mac() } else { own };
                let right = advert.hop_limit == 255
                    && (advert.from, advert.to) == (cell.own(sent.by), to)
                    && advert.version == cell.version
                    && usize::from(advert.count) == cell.addresses(sent.by).len();
                if !right {
                    return Err("an advertisement of ours is not as it should be".into());
                }
                if advert.mac != mac {
                    return Err(format!("an advertisement of ours comes from {:x?}", advert.mac));
                }
            }
            Some(Frame::Announcement { address, mac }) => {
                let wanted = if cell.vmac { cell.virtual_mac() } else { own };
                let is_virtual =
                    cell.addresses(sent.by).iter().any(|text| text.starts_with(&format!("{address}/")));
                if is_virtual && *mac != wanted {
                    return Err("an announcement of ours has another MAC address".into());
                }
            }
            None => {}
        }
        Ok(())
    }
}

fn active(sent: &Sent) -> bool {
    sent.advert().is_some_and(|advert| advert.priority > 0)
}

fn announces(sent: &Sent, wanted: IpAddr) -> bool {
    matches!(sent.frame, Some(Frame::Announcement { address, .. }) if address == wanted)
}
