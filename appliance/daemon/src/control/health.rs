//! What does not work in a folder, for those who ask: it decides nothing.

use crate::events::{Events, Said};
use crate::moment::{now_millis, text_of_millis};
use farhaul_api::{EventKind, Failure, FolderState, Trouble};
use farhaul_proto::path_name::RelPath;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Paths whose last failure is remembered; the ones that failed longest ago go.
const FAILURES_MAX: usize = 1024;

/// How long after the last time something is shown that nobody tries again.
const PASSES_AFTER: Duration = Duration::from_mins(10);

/// Something that fails.
struct Fails {
    why: String,
    since_millis: u64,
    last_millis: u64,
    times: u64,
    /// Its place in the order of failures.
    number: u64,
    /// What stands there cannot be read, as far as the last look says.
    is_unread: bool,
    /// When it is shown no more, if it comes from what happened once.
    passes: Option<Instant>,
}

impl Fails {
    fn new(why: String) -> Self {
        let now = now_millis();
        let (number, is_unread, passes) = (0, false, None);
        Self { why, since_millis: now, last_millis: now, times: 0, number, is_unread, passes }
    }
}

/// What does not work in one folder.
pub(super) struct Health {
    folder: String,
    events: Events,
    troubles: BTreeMap<String, Fails>,
    failures: BTreeMap<RelPath, Fails>,
    /// The paths of `failures` by their last one.
    order: BTreeMap<u64, RelPath>,
    number: u64,
    /// The number of the last failure when the last scan began.
    scan_began: u64,
    scan_began_at: Option<Instant>,
    scan_ended_millis: Option<u64>,
    /// What was last said that the folder is at.
    told: Option<FolderState>,
}

impl Health {
    pub(super) fn new(folder: &str, events: Events) -> Self {
        Self {
            folder: folder.to_owned(),
            events,
            troubles: BTreeMap::new(),
            failures: BTreeMap::new(),
            order: BTreeMap::new(),
            number: 0,
            scan_began: 0,
            scan_began_at: None,
            scan_ended_millis: None,
            told: None,
        }
    }

    /// Says something of the folder.
    pub(super) fn say(&self, said: Said) {
        self.events.say(said.folder(&self.folder));
    }

    /// How something that is done again and again went.
    pub(super) fn went(&mut self, what: &str, failed: Option<String>) {
        let Some(why) = failed else {
            self.troubles.remove(what);
            return;
        };
        let is_new = self.troubles.get(what).is_none_or(|known| known.why != why);
        let fails = self.troubles.entry(what.to_owned()).or_insert_with(|| Fails::new(why.clone()));
        fails.times += 1;
        if is_new {
            fails.why.clone_from(&why);
            self.say(Said::that(EventKind::Trouble).text(format!("{what}: {why}")));
        }
    }

    /// What failed, if it did, comes from something that happened: a peer came, or said something. Nobody
    /// tries that again, so nobody would say that it works: it is shown for a while after the last time.
    pub(super) fn passes(&mut self, what: &str) {
        if let Some(fails) = self.troubles.get_mut(what) {
            fails.passes = Some(Instant::now() + PASSES_AFTER);
        }
    }

    /// Time has passed.
    pub(super) fn let_pass(&mut self, now: Instant) {
        self.troubles.retain(|_, fails| fails.passes.is_none_or(|at| at > now));
    }

    pub(super) fn troubles(&self) -> Vec<Trouble> {
        let trouble = |(what, fails): (&String, &Fails)| Trouble {
            what: what.clone(),
            why: fails.why.clone(),
            since: text_of_millis(fails.since_millis),
        };
        self.troubles.iter().map(trouble).collect()
    }

    pub(super) fn has_troubles(&self) -> bool {
        !self.troubles.is_empty()
    }

    /// At how many paths something failed when it was last tried, as far as that is remembered.
    pub(super) fn failing(&self) -> u64 {
        self.failures.len() as u64
    }

    /// Something failed at a path.
    pub(super) fn failed(&mut self, path: &RelPath, why: String) {
        let before = self.failures.remove(path);
        if let Some(before) = &before {
            self.order.remove(&before.number);
        }
        let is_new = before.as_ref().is_none_or(|before| before.why != why);
        if is_new {
            self.say(Said::that(EventKind::Failed).path(path).text(why.clone()));
        }
        let mut fails = before.unwrap_or_else(|| Fails::new(String::new()));
        fails.is_unread = false;
        (fails.why, fails.last_millis, fails.times) = (why, now_millis(), fails.times + 1);
        self.number += 1;
        fails.number = self.number;
        self.order.insert(fails.number, path.clone());
        self.failures.insert(path.clone(), fails);
        if self.failures.len() > FAILURES_MAX
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.failures.remove(&oldest);
        }
    }

    /// What stands at a path cannot be read.
    pub(super) fn unread(&mut self, path: &RelPath, why: &str) {
        // Of more than are remembered each scan would find all anew, and say so.
        if self.failures.len() >= FAILURES_MAX && !self.failures.contains_key(path) {
            return;
        }
        self.failed(path, format!("what stands here cannot be read: {why}"));
        if let Some(fails) = self.failures.get_mut(path) {
            fails.is_unread = true;
        }
    }

    /// Whether something cannot be read.
    pub(super) fn has_unread(&self) -> bool {
        self.failures.values().any(|fails| fails.is_unread)
    }

    /// What stands at a path was read, or is gone.
    pub(super) fn is_read(&mut self, path: &RelPath) {
        if self.failures.get(path).is_some_and(|fails| fails.is_unread) {
            self.is_over(path);
        }
    }

    /// Nothing is to be done at a path any more: what could not be done there matters no more.
    pub(super) fn is_settled(&mut self, path: &RelPath) {
        if self.failures.get(path).is_some_and(|fails| !fails.is_unread) {
            self.is_over(path);
        }
    }

    /// What failed at a path fails no more.
    pub(super) fn is_over(&mut self, path: &RelPath) {
        if let Some(fails) = self.failures.remove(path) {
            self.order.remove(&fails.number);
        }
    }

    /// Something at a path was done.
    pub(super) fn worked(&mut self, path: &RelPath) {
        self.is_over(path);
        self.say(Said::that(EventKind::Placed).path(path));
    }

    pub(super) fn failure(&self, path: &RelPath) -> Option<Failure> {
        self.failures.get(path).map(|fails| Failure {
            why: fails.why.clone(),
            at: text_of_millis(fails.last_millis),
            times: fails.times,
        })
    }

    pub(super) fn scan_begins(&mut self) {
        self.scan_began = self.number;
        self.scan_began_at = Some(Instant::now());
    }

    /// How long the last scan has taken by now.
    pub(super) fn scan_took(&self) -> Duration {
        self.scan_began_at.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// A scan ended: if it came to its end, all that cannot be read was said anew.
    pub(super) fn scanned(&mut self, is_whole: bool) {
        self.scan_ended_millis = Some(now_millis());
        if !is_whole {
            return;
        }
        let began = self.scan_began;
        let is_over = |fails: &Fails| fails.is_unread && fails.number <= began;
        let over: Vec<RelPath> = self
            .failures
            .iter()
            .filter(|(_, fails)| is_over(fails))
            .map(|(p, _)| p.clone())
            .collect();
        over.iter().for_each(|path| self.is_over(path));
    }

    pub(super) fn scan_ended_millis(&self) -> Option<u64> {
        self.scan_ended_millis
    }

    /// What the folder is at; said if it is new.
    pub(super) fn is_at(&mut self, state: FolderState) {
        if self.told.replace(state) != Some(state) {
            self.say(Said::that(EventKind::FolderState).text(state.name()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::From;

    fn path(n: usize) -> RelPath {
        RelPath::parse(format!("file {n}").as_bytes()).expect("a path")
    }

    #[test]
    fn the_same_failure_again_is_counted_and_not_told_again() {
        let events = Events::default();
        let mut health = Health::new("photos", events.clone());
        health.failed(&path(1), "no room".to_owned());
        health.failed(&path(1), "no room".to_owned());
        assert_eq!(health.failure(&path(1)).map(|failure| failure.times), Some(2));
        assert_eq!(events.newest(), 1);
        health.worked(&path(1));
        assert_eq!(health.failure(&path(1)), None);
        assert!(health.order.is_empty());
    }

    #[test]
    fn what_failed_longest_ago_is_forgotten_first() {
        let mut health = Health::new("photos", Events::default());
        for n in 0..FAILURES_MAX + 5 {
            health.failed(&path(n), "no".to_owned());
        }
        assert_eq!((health.failures.len(), health.order.len()), (FAILURES_MAX, FAILURES_MAX));
        assert_eq!(health.failure(&path(4)), None);
        assert!(health.failure(&path(5)).is_some());
    }

    #[test]
    fn a_trouble_is_over_when_it_works() {
        let events = Events::default();
        let mut health = Health::new("photos", events.clone());
        health.went("scan", Some("unreadable".to_owned()));
        health.went("scan", Some("unreadable".to_owned()));
        assert_eq!((health.troubles().len(), events.newest()), (1, 1));
        health.went("scan", None);
        assert_eq!(health.troubles(), []);
        assert_eq!(events.since(From::Number(0), 9).events[0].folder.as_deref(), Some("photos"));
    }

    #[test]
    fn what_went_wrong_once_is_shown_for_a_while_after_the_last_time_and_what_is_tried_again_until_it_works()
     {
        let mut health = Health::new("photos", Events::default());
        health.went("once", Some("wrong".to_owned()));
        health.passes("once");
        health.passes("never");
        health.went("scan", Some("unreadable".to_owned()));
        let began = Instant::now();
        health.let_pass(began);
        assert_eq!(health.troubles().len(), 2);
        health.let_pass(began + PASSES_AFTER);
        let left: Vec<String> = health.troubles().into_iter().map(|trouble| trouble.what).collect();
        assert_eq!(left, ["scan"]);
    }
}
