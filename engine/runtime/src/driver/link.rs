//! What the sessions over a link send together: one cap over them, shared by weight.
//!
//! The driver is one thread and serves sessions one after the other, so a plain token bucket does: the
//! session whose turn it is ([`lanes`]) is asked first and may take all that is there. What it leaves is
//! there for the next one in the same round. spec: W-148, W-149, W-151

mod lanes;

use super::Driver;
use super::command::SessionKey;
use farhaul_proto::limits::SYMBOL_SIZE;
use farhaul_proto::path::mtu::packet_bytes;
use farhaul_proto::shares::{Bucket, Class, Weight};
use farhaul_proto::trace::Counters;
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use lanes::{Lanes, Left, Tags, Turn};
use std::collections::BTreeMap;

/// One of the links of a site, by a number of its own choice. Sessions are over the first one until
/// somebody says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkNumber(pub u8);

/// The links that have a cap.
pub(super) type Links = BTreeMap<LinkNumber, LinkCap>;

/// The cap of one.
#[derive(Debug)]
pub(super) struct LinkCap {
    bucket: Bucket,
    lanes: Lanes,
}

/// A session's part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    over: LinkNumber,
    weight: Weight,
    tags: Tags,
    /// What it is in this round; `None`: it has nothing to send but reports.
    turn: Option<Turn>,
}

impl Driver {
    /// From now on no more than this leaves of all sessions over that link together.
    pub(super) fn shape_link(&mut self, link: LinkNumber, cap: Option<BitRate>, now: Timestamp) {
        match (self.links.get_mut(&link), cap) {
            (Some(link), Some(cap)) => link.bucket.set_rate(cap, now),
            (None, Some(cap)) => {
                self.links.insert(
                    link,
                    LinkCap { bucket: Bucket::new(cap, now), lanes: Lanes::default() },
                );
            }
            (_, None) => _ = self.links.remove(&link),
        }
        if cap.is_none() {
            for session in self.sessions.values_mut().filter(|it| it.part.over == link) {
                session.core.allow(None);
                session.part.tags = Tags::default();
            }
        }
    }

    /// From now on a session goes over that link, beside others with no claim to what they used.
    pub(super) fn put_over(&mut self, key: SessionKey, link: LinkNumber) {
        let Some(session) = self.sessions.get_mut(&key).filter(|it| it.part.over != link) else {
            return;
        };
        (session.part.over, session.part.tags) = (link, Tags::default());
        session.core.allow(None);
    }

    /// From now on a session has another weight.
    pub(super) fn weigh(&mut self, key: SessionKey, weight: Weight) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Part { over, weight: before, .. } = session.part;
        if let Some(link) = self.links.get(&over) {
            link.lanes.weigh(&mut session.part.tags, (before, weight));
        }
        session.part.weight = weight;
    }

    /// The sessions in the order in which they are served.
    pub(super) fn turns(&mut self) -> Vec<SessionKey> {
        let mut keys: Vec<SessionKey> = self.sessions.keys().copied().collect();
        if self.links.is_empty() {
            return keys;
        }
        self.links.values_mut().for_each(|link| link.lanes.begin());
        let mut classes: BTreeMap<SessionKey, Class> = BTreeMap::new();
        for (key, session) in &self.sessions {
            let class = session.core.sender().top_class();
            if let (Some(link), Some(class)) = (self.links.get_mut(&session.part.over), class) {
                link.lanes.note(class);
                classes.insert(*key, class);
            }
        }
        for (key, session) in &mut self.sessions {
            let link = self.links.get(&session.part.over);
            let class = classes.get(key);
            session.part.turn = link.zip(class).map(|(link, class)| link.lanes.turn(*class));
        }
        // Of two that are over different links it is all the same which is first.
        keys.sort_by_cached_key(|key| {
            let part = self.sessions.get(key)?.part;
            let rank = self.links.get(&part.over)?.lanes.rank(part.turn?, &part.tags);
            Some(rank)
        });
        keys
    }

    /// Says what a session may send now; answers what it sent before.
    pub(super) fn allow(&mut self, key: SessionKey, now: Timestamp) -> Counters {
        let Some(session) = self.sessions.get_mut(&key) else { return Counters::default() };
        if let Some(link) = self.links.get(&session.part.over) {
            let mut left = link.bucket.allowance(packet_bytes(SYMBOL_SIZE), now);
            if session.part.turn.is_some_and(|turn| turn.is_floor) {
                left = left.min(Bytes::new(1));
            }
            let more_at = link.bucket.opens_at().unwrap_or(now + super::SLEEP_MAX);
            session.core.allow(Some((left, more_at)));
        }
        session.core.counters()
    }

    /// Counts what a session sent since [`Self::allow`].
    pub(super) fn charge(&mut self, key: SessionKey, before: Counters, now: Timestamp) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Some(link) = self.links.get_mut(&session.part.over) else { return };
        let after = session.core.counters();
        let bytes = after.wire_sent.saturating_sub(before.wire_sent);
        if bytes == Bytes::ZERO {
            return;
        }
        let reports = after.reports_sent - before.reports_sent;
        let has_data = after.packets_sent - before.packets_sent > reports;
        // Who only reports competes with nobody. What was read within its turn goes by the usual class.
        let turn = session.part.turn.or_else(|| has_data.then(|| link.lanes.turn(Class::Normal)));
        if let Some(turn) = turn {
            let part = &mut session.part;
            link.lanes.charge(turn, &mut part.tags, part.weight, Left { bytes, has_data });
        }
        link.bucket.take_many(bytes, packet_bytes(SYMBOL_SIZE), now);
    }
}
