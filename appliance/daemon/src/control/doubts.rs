//! What this site has reason to doubt of its peers: that a key is on one machine only, and that clocks
//! are right. Both are shown, and change nothing of what is done: incarnations keep what two machines
//! with one key publish apart (spec: S-147), and clocks decide next to nothing (spec: S-005, S-148).

use super::folder::Folder;
use crate::moment::now_millis;
use crate::site::{COUNTS_FOR, Twice};
use farhaul_proto::ids::SiteId;
use farhaul_sync::record::Record;
use farhaul_sync::version::Dot;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What clocks may differ by, with the time that a record takes.
const AHEAD_MIN: Duration = Duration::from_mins(5);
/// How long it is shown that one differed by more.
const SHOWN_FOR: Duration = Duration::from_hours(1);
/// Sites of which that is remembered: a folder has no more members (S-003).
const SITES_MAX: usize = 1024;

const TWICE_US: &str = "another machine may have the key of this site";
const TWICE_THEM: &str = "a peer is there twice";
const CLOCKS: &str = "clocks differ";

/// What was seen lately.
#[derive(Debug, Default)]
pub(super) struct Doubts {
    us: Option<(SiteId, Instant)>,
    them: Option<(SiteId, Twice, Instant)>,
    /// By how much authors were ahead of this site's clock when they last published, and what.
    ahead: BTreeMap<SiteId, (Dot, Duration, Instant)>,
}

impl Doubts {
    /// Takes in what was told just now. A stamp that counts from another version's says nothing of
    /// its author's clock; who dates a version later than it is here has a clock that is ahead of
    /// this one, however long the record was under way.
    fn learned(&mut self, record: &Record, now_millis: u64, now: Instant) {
        let (dot, stamp) = (record.version.dot, record.version.stamp);
        let author = dot.author.site;
        let is_late = |known: Dot| known.author == dot.author && known.serial > dot.serial;
        if stamp.count > 0 || self.ahead.get(&author).is_some_and(|(known, ..)| is_late(*known)) {
            return;
        }
        let ahead = Duration::from_millis(stamp.millis.saturating_sub(now_millis));
        if ahead < AHEAD_MIN {
            self.ahead.remove(&author);
        } else if self.ahead.len() < SITES_MAX || self.ahead.contains_key(&author) {
            self.ahead.insert(author, (dot, ahead, now));
        }
    }

    /// Of what is seen no more nothing is said.
    fn forget(&mut self, now: Instant) {
        let over = |at: Instant, after| now.saturating_duration_since(at) >= after;
        self.us = self.us.filter(|(_, at)| !over(*at, COUNTS_FOR));
        self.them = self.them.filter(|(.., at)| !over(*at, COUNTS_FOR));
        self.ahead.retain(|_, (.., at)| !over(*at, SHOWN_FOR));
    }

    fn said_of_us(&self) -> Option<String> {
        let (peer, _) = self.us?;
        Some(format!(
            "{peer} says that it replaced this site's sessions by others that this site called, and this \
             process called none: stop the other machine, or give one of both a key of its own; if there \
             is no other machine, that peer is wrong"
        ))
    }

    fn said_of_them(&self) -> Option<String> {
        let (peer, who, _) = self.them?;
        let Twice::Them(from, to) = who else { return None };
        Some(format!(
            "{peer} calls from {from} and from {to} in turn: two machines have its key; stop one of \
             them, or give it a key of its own"
        ))
    }

    fn said_of_clocks(&self) -> Option<String> {
        let said: Vec<String> = self
            .ahead
            .iter()
            .take(3)
            .map(|(author, (_, ahead, _))| {
                let minutes = ahead.as_secs() / 60;
                let (hours, minutes) = (minutes / 60, minutes % 60);
                format!("the clock of {author} was {hours} h {minutes} min ahead of this site's")
            })
            .collect();
        let advice = "when it last published: one of both is wrong";
        (!said.is_empty()).then(|| format!("{} {advice}", said.join(", ")))
    }
}

impl Folder {
    /// A session saw that somebody is there twice.
    pub(super) fn seen_twice(&mut self, peer: SiteId, who: Twice) {
        if !self.setup.peers.contains(&peer) {
            return;
        }
        let now = Instant::now();
        match who {
            Twice::Us => self.doubts.us = Some((peer, now)),
            Twice::Them(..) => self.doubts.them = Some((peer, who, now)),
        }
        self.say_doubts();
    }

    /// Records that were told are weighed by their stamps.
    pub(super) fn doubt_clocks<'a>(&mut self, told: impl Iterator<Item = &'a Record>) {
        let (wall, now) = (now_millis(), Instant::now());
        told.for_each(|record| self.doubts.learned(record, wall, now));
        self.say_doubts();
    }

    /// Says what there is to doubt, and no more what there was.
    pub(super) fn say_doubts(&mut self) {
        self.doubts.forget(Instant::now());
        self.health.went(TWICE_US, self.doubts.said_of_us());
        self.health.went(TWICE_THEM, self.doubts.said_of_them());
        self.health.went(CLOCKS, self.doubts.said_of_clocks());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{dot, file, path, version};

    const NOW: u64 = 1_700_000_000_000;
    const MINUTE: u64 = 60_000;

    fn record(serial: u64, millis: u64, count: u32) -> Record {
        let mut version = version(dot(2, serial), &[], file(b"x"));
        (version.stamp.millis, version.stamp.count) = (millis, count);
        Record { path: path("a"), version }
    }

    #[test]
    fn who_dates_what_it_publishes_later_than_it_is_has_another_clock() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        // What was under way for long, or counts on from somebody else's stamp, says nothing.
        for (serial, millis, count) in [(1, NOW - 900 * MINUTE, 0), (2, NOW + 900 * MINUTE, 1)] {
            doubts.learned(&record(serial, millis, count), NOW, now);
            assert_eq!(doubts.said_of_clocks(), None);
        }
        doubts.learned(&record(3, NOW + 4 * MINUTE, 0), NOW, now);
        assert_eq!(doubts.said_of_clocks(), None);
        doubts.learned(&record(4, NOW + 135 * MINUTE, 0), NOW, now);
        let said = doubts.said_of_clocks().expect("it is hours ahead");
        assert!(said.contains("2 h 15 min ahead"), "{said}");
        // An older one that comes late changes nothing, a newer one with the right time does.
        doubts.learned(&record(1, NOW, 0), NOW, now);
        assert!(doubts.said_of_clocks().is_some());
        doubts.learned(&record(5, NOW, 0), NOW, now);
        assert_eq!(doubts.said_of_clocks(), None);
    }

    #[test]
    fn what_is_seen_no_more_is_not_said_for_ever() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        let peer = SiteId([7; 32]);
        let place = |n| std::net::SocketAddr::from(([10, 0, 0, n], 7411));
        doubts.learned(&record(1, NOW + 900 * MINUTE, 0), NOW, now);
        doubts.us = Some((peer, now));
        doubts.them = Some((peer, Twice::Them(place(1), place(2)), now));
        doubts.forget(now + COUNTS_FOR - Duration::from_secs(1));
        assert!(doubts.said_of_us().is_some() && doubts.said_of_them().is_some());
        doubts.forget(now + COUNTS_FOR);
        assert!(doubts.said_of_us().is_none() && doubts.said_of_them().is_none());
        assert!(doubts.said_of_clocks().is_some());
        doubts.forget(now + SHOWN_FOR);
        assert_eq!(doubts.said_of_clocks(), None);
    }
}
