//! What happens at this site, for whoever follows it: a bounded ring of events with numbers.
//!
//! Whoever says something never waits. Who follows too slowly, or comes back too late, is told that
//! events are missing, never that nothing happened.

use crate::moment;
use farhaul_api::{Event, EventKind, FolderState, SiteRef, TreePath};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// Events that are remembered.
pub const EVENTS_MAX: usize = 4096;
/// Bytes of the text of an event.
const TEXT_MAX: usize = 1024;

/// Where events go and come from. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Events {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Tells this run of the site from others.
    run: String,
    ring: Mutex<Ring>,
    /// The number of the newest event.
    newest: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Ring {
    /// The number of the newest event; 0 before the first.
    newest: u64,
    /// The number of the newest event that there was no room for; 0: there was for all.
    lost: u64,
    /// Each with its number.
    events: VecDeque<(u64, Event)>,
}

/// Something to be said.
#[derive(Clone, Debug)]
pub struct Said {
    kind: EventKind,
    folder: Option<String>,
    peer: Option<SiteRef>,
    path: Option<TreePath>,
    text: Option<String>,
}

impl Said {
    /// That this happened.
    pub const fn that(kind: EventKind) -> Self {
        Self { kind, folder: None, peer: None, path: None, text: None }
    }

    /// In that folder.
    #[must_use]
    pub fn folder(self, name: &str) -> Self {
        Self { folder: Some(name.to_owned()), ..self }
    }

    /// With that peer.
    #[must_use]
    pub fn peer(self, id: SiteId) -> Self {
        Self { peer: Some(SiteRef { name: None, id: id.to_string() }), ..self }
    }

    /// At that path.
    #[must_use]
    pub fn path(self, path: &RelPath) -> Self {
        Self { path: Some(TreePath::from_bytes(path.as_bytes())), ..self }
    }

    /// With that to add; what is too long is cut.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        let mut text = text.into();
        let end = (0..=TEXT_MAX.min(text.len())).rev().find(|&at| text.is_char_boundary(at));
        text.truncate(end.unwrap_or(0));
        Self { text: Some(text), ..self }
    }
}

/// What came after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Since {
    /// How many events are missing before the first, at most; `None`: nobody knows.
    pub missed: Option<u64>,
    /// What there is, the oldest first.
    pub events: Vec<Event>,
    /// The number to go on from.
    pub upto: u64,
}

/// Where somebody who comes back left off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// Behind the event of that number in this run.
    Number(u64),
    /// In another run.
    OtherRun,
}

impl Default for Events {
    fn default() -> Self {
        let (newest, _) = watch::channel(0);
        let run = format!("{:x}", moment::now_millis());
        Self { shared: Arc::new(Shared { run, ring: Mutex::default(), newest }) }
    }
}

impl Events {
    /// Says something.
    pub fn say(&self, said: Said) {
        let Said { kind, folder, peer, path, text } = said;
        let at = moment::text_of_millis(moment::now_millis());
        let mut ring = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.newest += 1;
        let id = format!("{}-{}", self.shared.run, ring.newest);
        if kind == EventKind::ScanStarted {
            ring.forget_scans(folder.as_deref());
        }
        if ring.events.len() >= EVENTS_MAX
            && let Some((number, _)) = ring.events.pop_front()
        {
            ring.lost = number;
        }
        let newest = ring.newest;
        ring.events.push_back((newest, Event { id, at, kind, folder, peer, path, text }));
        drop(ring);
        self.shared.newest.send_replace(newest);
    }

    /// The number of the newest event.
    pub fn newest(&self) -> u64 {
        *self.shared.newest.borrow()
    }

    /// Changes whenever something was said.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.shared.newest.subscribe()
    }

    /// Where an event with this id stands; `None` for what is no id.
    pub fn place_of(&self, id: &str) -> Option<From> {
        let (run, number) = id.rsplit_once('-')?;
        let number = number.parse().ok()?;
        let is_run = !run.is_empty() && run.bytes().all(|byte| byte.is_ascii_hexdigit());
        match run == self.shared.run {
            // A number that was not given yet is none of this run.
            true if number <= self.newest() => Some(From::Number(number)),
            _ if is_run => Some(From::OtherRun),
            _ => None,
        }
    }

    /// What came after `from`, `limit` events at most.
    pub fn since(&self, from: From, limit: usize) -> Since {
        let ring = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let (missed, after) = match from {
            From::Number(number) => (Some(ring.lost.saturating_sub(number)), number.max(ring.lost)),
            From::OtherRun => (None, ring.lost),
        };
        let skipped = ring.events.partition_point(|(number, _)| *number <= after);
        let upto = ring.events.iter().skip(skipped).take(limit).next_back();
        let upto = upto.map_or(after, |(number, _)| *number);
        let events = ring.events.iter().skip(skipped).take(limit);
        Since { missed, upto, events: events.map(|(_, event)| event.clone()).collect() }
    }
}

impl Ring {
    /// Forgets the scans of a folder that came to their end, and that it was at nothing else before
    /// and after: a quiet folder says nothing more, and what matters would be lost behind that.
    fn forget_scans(&mut self, folder: Option<&str>) {
        let mut state = None;
        self.events.retain(|(_, event)| {
            if event.folder.as_deref() != folder {
                return true;
            }
            match event.kind {
                EventKind::ScanStarted | EventKind::ScanEnded => event.text.is_some(),
                EventKind::FolderState => {
                    let is_scanning = event.text.as_deref() == Some(FolderState::Scanning.name());
                    !is_scanning && state.replace(event.text.clone()) != Some(event.text.clone())
                }
                _ => true,
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(events: &[Event]) -> Vec<u64> {
        events.iter().filter_map(|event| event.id.rsplit_once('-')?.1.parse().ok()).collect()
    }

    fn say(events: &Events, count: u64) {
        (0..count).for_each(|_| events.say(Said::that(EventKind::Placed)));
    }

    #[test]
    fn who_comes_back_hears_what_came_meanwhile_and_nothing_twice() {
        let events = Events::default();
        say(&events, 5);
        let first = events.since(From::Number(0), 3);
        assert_eq!((first.missed, numbers(&first.events)), (Some(0), vec![1, 2, 3]));
        let id = &first.events[2].id;
        let rest = events.since(events.place_of(id).expect("an id"), 100);
        assert_eq!((rest.missed, numbers(&rest.events), rest.upto), (Some(0), vec![4, 5], 5));
        assert_eq!(events.since(From::Number(5), 100).events, []);
    }

    #[test]
    fn a_gap_is_told_with_its_length() {
        let events = Events::default();
        let bound = EVENTS_MAX as u64;
        say(&events, bound + 10);
        let since = events.since(From::Number(3), 1);
        assert_eq!((since.missed, numbers(&since.events)), (Some(7), vec![11]));
        assert_eq!(events.since(From::Number(10), 1).missed, Some(0));
    }

    #[test]
    fn scans_push_out_nothing_that_matters_and_are_no_gap() {
        let events = Events::default();
        let scan = |kind, folder| events.say(Said::that(kind).folder(folder));
        let is_at = |state: FolderState, folder| {
            events.say(Said::that(EventKind::FolderState).folder(folder).text(state.name()));
        };
        events.say(Said::that(EventKind::Halted).folder("a"));
        let failed = Said::that(EventKind::ScanEnded).folder("a").text("it cannot be read");
        events.say(failed);
        for _ in 0..EVENTS_MAX {
            for folder in ["a", "b"] {
                scan(EventKind::ScanStarted, folder);
                is_at(FolderState::Scanning, folder);
                scan(EventKind::ScanEnded, folder);
                is_at(FolderState::InSync, folder);
            }
        }
        let last = EVENTS_MAX as u64 * 8 + 2;
        let all = events.since(From::Number(0), 99);
        // The first time that each was in sync, and the last scans.
        let mut expected = vec![1, 2, 6, 10];
        expected.extend(last - 7..=last);
        assert_eq!((all.missed, numbers(&all.events), all.upto), (Some(0), expected, last));
        // Who goes on from one that is forgotten misses nothing either.
        let rest = events.since(From::Number(last - 9), 2);
        let expected = vec![last - 7, last - 6];
        assert_eq!((rest.missed, numbers(&rest.events), rest.upto), (Some(0), expected, last - 6));
        assert_eq!(events.since(From::Number(last), 9).upto, last);
    }

    #[test]
    fn ids_of_another_run_are_told_from_what_is_no_id() {
        let events = Events::default();
        say(&events, 2);
        assert_eq!(events.place_of("0-1"), Some(From::OtherRun));
        let ahead = events.since(From::Number(2), 1).upto + 1;
        let run = events.since(From::Number(0), 1).events[0].id.replace("-1", "");
        assert_eq!(events.place_of(&format!("{run}-{ahead}")), Some(From::OtherRun));
        for nonsense in ["", "5", "-5", "x-5", "0-", "0-x"] {
            assert_eq!(events.place_of(nonsense), None, "{nonsense}");
        }
        assert_eq!(events.since(From::OtherRun, 9).missed, None);
    }

    #[test]
    fn what_is_said_is_cut_between_characters() {
        let said = Said::that(EventKind::Failed).text("é".repeat(TEXT_MAX));
        assert_eq!(said.text.map(|text| text.len()), Some(TEXT_MAX));
    }
}
