//! What the sessions over a link send together: one cap over them, shared by weight.
//!
//! The driver is one thread and serves sessions one after the other, so a plain token bucket does: the
//! session that had least for its weight is asked first and may take all that is there. What it leaves is
//! there for the next one in the same round. spec: W-148, W-149

use super::Driver;
use super::command::SessionKey;
use farhaul_proto::limits::SYMBOL_SIZE;
use farhaul_proto::path::mtu::packet_bytes;
use farhaul_proto::shares::{Bucket, Weight};
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use std::collections::BTreeMap;

/// A byte at weight one, in the unit of tags.
const SCALE: u64 = 1 << 16;

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
    /// Where the session began that sent last: who had nothing to send begins there.
    now: u128,
}

/// A session's part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Part {
    over: LinkNumber,
    weight: Weight,
    tag: u128,
}

impl Part {
    pub(super) const fn weigh(&mut self, weight: Weight) {
        self.weight = weight;
    }
}

impl Driver {
    /// From now on no more than this leaves of all sessions over that link together.
    pub(super) fn shape_link(&mut self, link: LinkNumber, cap: Option<BitRate>, now: Timestamp) {
        match (self.links.get_mut(&link), cap) {
            (Some(link), Some(cap)) => link.bucket.set_rate(cap, now),
            (None, Some(cap)) => {
                self.links.insert(link, LinkCap { bucket: Bucket::new(cap, now), now: 0 });
            }
            (_, None) => _ = self.links.remove(&link),
        }
        if cap.is_none() {
            for session in self.sessions.values_mut().filter(|it| it.part.over == link) {
                session.core.allow(None);
                session.part.tag = 0;
            }
        }
    }

    /// From now on a session goes over that link, beside others with no claim to what they used.
    pub(super) fn put_over(&mut self, key: SessionKey, link: LinkNumber) {
        let Some(session) = self.sessions.get_mut(&key).filter(|it| it.part.over != link) else {
            return;
        };
        (session.part.over, session.part.tag) = (link, 0);
        session.core.allow(None);
    }

    /// The sessions in the order in which they are served.
    pub(super) fn turns(&self) -> Vec<SessionKey> {
        let mut keys: Vec<SessionKey> = self.sessions.keys().copied().collect();
        if !self.links.is_empty() {
            // Of two that are over different links it is all the same which is first.
            keys.sort_by_key(|key| {
                let part = self.sessions.get(key)?.part;
                Some(part.tag.max(self.links.get(&part.over)?.now))
            });
        }
        keys
    }

    /// Says what a session may send now; answers what it sent before.
    pub(super) fn allow(&mut self, key: SessionKey, now: Timestamp) -> Bytes {
        let Some(session) = self.sessions.get_mut(&key) else { return Bytes::ZERO };
        if let Some(link) = self.links.get(&session.part.over) {
            let left = link.bucket.allowance(packet_bytes(SYMBOL_SIZE), now);
            let more_at = link.bucket.opens_at().unwrap_or(now + super::SLEEP_MAX);
            session.core.allow(Some((left, more_at)));
        }
        session.core.counters().wire_sent
    }

    /// Counts what a session sent since [`Self::allow`].
    pub(super) fn charge(&mut self, key: SessionKey, before: Bytes, now: Timestamp) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        let Some(link) = self.links.get_mut(&session.part.over) else { return };
        let bytes = session.core.counters().wire_sent.saturating_sub(before);
        if bytes == Bytes::ZERO {
            return;
        }
        let start = session.part.tag.max(link.now);
        link.now = start;
        let price = bytes.get().saturating_mul(SCALE) / u64::from(session.part.weight.get());
        session.part.tag = start + u128::from(price);
        link.bucket.take_many(bytes, packet_bytes(SYMBOL_SIZE), now);
    }
}
