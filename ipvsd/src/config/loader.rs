//! Reads all files, on as many threads as there are processors; and again at each reload, when a file that is still the
//! same is not read twice.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use daemon::diagnostic::{Location, Report};
use daemon::dropin::{self, Candidate, Stamp};
use daemon::event_loop::Clock;
use daemon::reader::Located;

use super::references::References;
use super::{daemon_wide, service};
use crate::service::{Settings, VirtualService};
use crate::table::ServiceKey;

const DIRECTORY: &str = "ipvs.d";
/// A thread has at least so many files to read.
const PORTION: usize = 64;
/// More threads than this read no faster.
const THREADS: usize = 8;

#[derive(Debug)]
pub struct Loader {
    root: PathBuf,
    references: References,
    /// By name: what was read without a finding, from a file of this stamp.
    known: HashMap<String, (Stamp, Arc<VirtualService>)>,
    /// How much later it is than the clock says, in microseconds.
    #[cfg(test)]
    ahead: u64,
}

/// A service as it was read.
struct Read {
    service: Arc<VirtualService>,
    /// Where its addresses stand; empty if it was known.
    fronts: Vec<Located<ServiceKey>>,
    /// It may be known from now on.
    stamp: Option<Stamp>,
}

impl Loader {
    /// `root` is `/`, but for tests and images.
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            references: References::default(),
            known: HashMap::new(),
            #[cfg(test)]
            ahead: 0,
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Everything as it is now. Use the settings only if the report has no errors.
    pub fn load(&mut self) -> (Settings, Report) {
        let references = self.references.again(&self.root);
        if references != self.references {
            // What a file names may be there now, or not any more.
            self.known.clear();
            self.references = references;
        }
        let knew_some = !self.known.is_empty();
        let mut loaded = self.read();
        if loaded.1.has_errors() && knew_some {
            // Two services may have one address: then both places are to be told.
            self.known.clear();
            loaded = self.read();
        }
        if loaded.1.has_errors() {
            self.known.clear();
        }
        loaded
    }

    fn read(&mut self) -> (Settings, Report) {
        let mut report = Report::new();
        let (mut settings, sync_at) = daemon_wide::load(&self.root, &self.references, &mut report);
        if self.references.set_sync_at(sync_at) {
            self.known.clear();
        }
        let candidates = dropin::candidates(&self.root, DIRECTORY, &mut report);
        let read = self.read_all(&candidates, &mut report);
        self.known.clear();
        let mut taken = BTreeMap::new();
        for (candidate, read) in candidates.into_iter().zip(read) {
            let Some(Read { service, fronts, stamp }) = read else { continue };
            claim(&service, fronts, &mut taken, &mut report);
            settings.services.insert(candidate.name.as_str().into(), Arc::clone(&service));
            if let Some(stamp) = stamp {
                self.known.insert(candidate.name, (stamp, service));
            }
        }
        (settings, report)
    }

    /// In the order of the candidates.
    fn read_all(&self, candidates: &[Candidate], report: &mut Report) -> Vec<Option<Read>> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.min(candidates.len() / PORTION).clamp(1, THREADS);
        if threads == 1 {
            return self.read_some(candidates, report);
        }
        let portions = candidates.chunks(candidates.len().div_ceil(threads));
        let found: Vec<(Vec<Option<Read>>, Report)> = thread::scope(|scope| {
            let read = |portion| {
                let mut report = Report::new();
                (self.read_some(portion, &mut report), report)
            };
            let running: Vec<_> = portions.map(|portion| scope.spawn(move || read(portion))).collect();
            let joined = running.into_iter().map(thread::ScopedJoinHandle::join);
            joined.map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let mut all = Vec::with_capacity(candidates.len());
        for (read, findings) in found {
            all.extend(read);
            report.append(findings);
        }
        all
    }

    fn read_some(&self, candidates: &[Candidate], report: &mut Report) -> Vec<Option<Read>> {
        let now = Clock::new().map_or(0, |clock| clock.realtime_usec(clock.now()));
        #[cfg(test)]
        let now = now + self.ahead;
        candidates.iter().map(|candidate| self.read_one(candidate, now, report)).collect()
    }

    fn read_one(&self, candidate: &Candidate, now: u64, report: &mut Report) -> Option<Read> {
        let stamp = candidate.stamp(now);
        if let (Some(stamp), Some((known, service))) = (stamp, self.known.get(&candidate.name))
            && stamp == *known
        {
            return Some(Read { service: Arc::clone(service), fronts: Vec::new(), stamp: Some(stamp) });
        }
        let before = report.diagnostics().len();
        let object = candidate.read(&self.root, DIRECTORY, report)?;
        let (service, fronts) = service::read(&object, &self.references, report)?;
        let is_clean = report.diagnostics().len() == before;
        Some(Read { service: Arc::new(service), fronts, stamp: stamp.filter(|_| is_clean) })
    }
}

/// The kernel has one service for each address and protocol, and for each mark.
fn claim(
    service: &VirtualService,
    fronts: Vec<Located<ServiceKey>>,
    taken: &mut BTreeMap<ServiceKey, Option<Location>>,
    report: &mut Report,
) {
    if fronts.is_empty() {
        for key in &service.fronts {
            if let Some(first) = taken.insert(*key, None).flatten() {
                refuse(*key, &first, &first, report);
            }
        }
    }
    // What one text has in common with another is said once.
    let mut refused = None;
    for Located { value: key, at } in fronts {
        match taken.get(&key) {
            Some(_) if refused.as_ref() == Some(&at) => {}
            Some(first) => {
                refuse(key, &at, first.as_ref().unwrap_or(&at), report);
                refused = Some(at);
            }
            None => drop(taken.insert(key, Some(at))),
        }
    }
}

fn refuse(key: ServiceKey, at: &Location, first: &Location, report: &mut Report) {
    report
        .error(at, format!("{key} is already the service of {first}"))
        .hint("put the servers of both into one file, or change the address, port or protocol of one");
}

#[cfg(test)]
mod tests;
