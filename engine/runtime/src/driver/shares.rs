//! Who may take how many buffers.
//!
//! Half is for each direction. Of a half, a part is kept for sessions that hold nothing in it, so
//! that nobody is shut out; the rest goes in equal parts to the sessions that carry something.
//! Buffers that were taken when others were few come back when their blocks are done, and a
//! session that lets them lie while others wait is ended.

use super::Driver;
use super::blocks::RecvBlock;
use super::command::{SessionEvent, Violation};
use super::session::SessionBody;
use farhaul_proto::limits::SESSION_REPAIR_MAX;
use farhaul_proto::units::{Bytes, Timestamp};
use std::time::Duration;

/// Buffers that every session may hold in each direction, whoever else wants them.
const RESERVED: u32 = 1;
/// Longest time for which a session may hold more than its part while nothing of it gets done
/// and others wait.
const HOARDING_MAX: Duration = Duration::from_secs(60);
/// Repair symbols that all sessions together keep (11 MiB).
const REPAIR_MAX: u32 = SESSION_REPAIR_MAX;
/// Repair symbols that every session may keep, whoever else does: a block is solved with them.
const REPAIR_RESERVED: u32 = 256;

/// What a session has of one direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stake {
    /// Buffers.
    pub(super) held: u32,
    /// It carries something.
    pub(super) busy: bool,
}

/// The buffers of one direction, as they were last divided.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Division {
    /// What a session that carries something may have.
    part: u32,
    /// What nobody holds, without what is kept aside.
    spare: u32,
    /// Somebody cannot have its part because of what others hold.
    crowded: bool,
    /// Sessions that carry something.
    busy: u32,
}

/// Both directions.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shares {
    pub(super) out: Division,
    pub(super) incoming: Division,
}

impl Division {
    fn of(buffers: u32, stakes: impl Iterator<Item = Stake>) -> Self {
        let (mut sessions, mut busy, mut common_held) = (0, 0, 0);
        for stake in stakes {
            sessions += 1;
            busy += u32::from(stake.busy);
            common_held += stake.held.saturating_sub(RESERVED);
        }
        // Those that come next must find some too.
        let aside = (RESERVED * sessions + buffers / 8).min(buffers / 2);
        let common = buffers - aside;
        let part = common / busy.max(1) + RESERVED;
        let spare = common.saturating_sub(common_held);
        Self { part, spare, crowded: busy > 1 && spare < part, busy }
    }

    /// How many more a session may take that holds `held`.
    pub(super) const fn room(&self, held: u32) -> u32 {
        self.spare + RESERVED.saturating_sub(held)
    }

    /// A session that held `held` takes one.
    pub(super) const fn take(&mut self, held: u32) {
        if held >= RESERVED {
            self.spare = self.spare.saturating_sub(1);
        }
    }
}

/// When something of one direction last got done, or the session held no more of it than its part.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    done: Bytes,
    since: Timestamp,
    /// When this was last looked at.
    seen: Timestamp,
}

/// What a session has lying in one direction.
#[derive(Clone, Copy, Debug)]
struct Lying {
    blocks: usize,
    /// What got done of it so far.
    done: Bytes,
    /// A cap of this site's own holds it up, and not the peer.
    is_held: bool,
}

impl Progress {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self { done: Bytes::ZERO, since: now, seen: now }
    }

    /// True when buffers beyond the session's part have been lying for too long while others
    /// wait.
    fn is_over(&mut self, division: Division, lying: Lying, now: Timestamp) -> bool {
        let blocks = u32::try_from(lying.blocks).unwrap_or(u32::MAX);
        if lying.done != self.done || !division.crowded || blocks <= division.part {
            (self.done, self.since) = (lying.done, now);
        } else if lying.is_held {
            // That time is nobody's fault; the rest of it counts.
            self.since += now.since(self.seen);
        }
        self.seen = now;
        now.since(self.since) >= HOARDING_MAX
    }
}

impl SessionBody {
    /// Buffers on their way out.
    pub(super) fn sending(&self) -> Stake {
        let sender = self.core.sender();
        let waiting = u32::try_from(self.waiting_reads.len()).unwrap_or(u32::MAX);
        let busy = !sender.is_idle() && !sender.is_resting();
        Stake { held: sender.blocks_open().saturating_sub(waiting), busy }
    }

    fn receiving(&self) -> Stake {
        let receiver = self.core.receiver();
        Stake { held: receiver.blocks_open(), busy: !receiver.is_idle() }
    }

    /// Watches for a session that keeps others from their part and gets nothing done itself.
    /// Blocks in the hands of this host do not count: they are not the peer's fault.
    fn end_hoarding(&mut self, shares: &Shares, now: Timestamp) {
        let waits = |block: &&RecvBlock| block.lease.is_some();
        // Nor is it the peer's fault that what is paused lies.
        let paused = self.core.sender().blocks_paused() as usize;
        let core = &self.core;
        let out = Lying {
            blocks: self.send_blocks.len().saturating_sub(paused),
            done: core.sender().counters().complete,
            is_held: core.is_held_by_cap(),
        };
        let incoming = Lying {
            blocks: self.recv_blocks.values().filter(waits).count(),
            done: core.receiver().counters().written,
            is_held: false,
        };
        let over = self.sent.is_over(shares.out, out, now)
            | self.received.is_over(shares.incoming, incoming, now);
        if over {
            self.die(SessionEvent::Violation(Violation::Hoarding), now);
        }
    }
}

/// How many repair symbols a session may keep that keeps `kept`, before the next division.
fn repair_max(kept: u32, kept_by_all: u32, busy: u32) -> u32 {
    let busy = busy.max(1);
    let room = REPAIR_MAX.saturating_sub(kept_by_all) / busy;
    let more = (REPAIR_MAX / busy).saturating_sub(kept).min(room);
    (kept + more).max(REPAIR_RESERVED)
}

impl Driver {
    /// Divides the buffers anew, tells the cores, and starts reads that waited for them.
    pub(super) fn share_buffers(&mut self, now: Timestamp) {
        let half = u32::try_from(self.pool.slots() / 2).unwrap_or(u32::MAX);
        let free = u32::try_from(self.pool.free_slots()).unwrap_or(u32::MAX);
        let live = || self.sessions.values().filter(|session| !session.is_dead());
        self.shares = Shares {
            out: Division::of(half, live().map(SessionBody::sending)),
            incoming: Division::of(half, live().map(SessionBody::receiving)),
        };
        let Shares { out, incoming } = self.shares;
        let kept_by_all = live().map(|session| session.core.receiver().repair_held()).sum();
        for session in self.sessions.values_mut().filter(|session| !session.is_dead()) {
            let held = session.receiving().held;
            let credit = incoming.part.min(held.saturating_add(incoming.room(held).min(free)));
            session.core.set_shares(out.part, credit.max(RESERVED), now);
            let kept = session.core.receiver().repair_held();
            session.core.set_repair_max(repair_max(kept, kept_by_all, incoming.busy));
            session.end_hoarding(&self.shares, now);
        }
        if self.reads_wait() {
            let keys: Vec<_> = self.sessions.keys().copied().collect();
            keys.into_iter().for_each(|key| self.start_reads(key));
        }
    }

    /// True when blocks could not be read for want of buffers.
    pub(super) fn reads_wait(&self) -> bool {
        self.sessions.values().any(|session| !session.waiting_reads.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn stake(held: u32) -> Stake {
        Stake { held, busy: true }
    }

    #[test]
    fn those_that_come_next_find_a_buffer() {
        let mut held: Vec<Stake> = Vec::new();
        for _ in 0..=59 / 8 {
            held.push(stake(0));
            for at in 0..held.len() {
                let mut division = Division::of(59, held.iter().copied());
                while division.room(held[at].held) > 0 {
                    division.take(held[at].held);
                    held[at].held += 1;
                }
                assert!(held[at].held > 0);
            }
            assert!(held.iter().map(|stake| stake.held).sum::<u32>() <= 59, "{held:?}");
        }
    }

    /// A cap that let less than a block leave in a minute ended the session, as if the peer let it lie.
    #[test]
    fn what_a_cap_of_this_site_holds_up_is_nobody_hoarding() {
        let at = Timestamp::from_millis;
        let division = Division { part: 2, spare: 0, crowded: true, busy: 2 };
        let lying = |is_held| Lying { blocks: 9, done: Bytes::ZERO, is_held };
        let mut progress = Progress::new(at(0));
        for second in 1..=600 {
            assert!(!progress.is_over(division, lying(true), at(1_000 * second)));
        }
        for second in 601..660 {
            assert!(!progress.is_over(division, lying(false), at(1_000 * second)), "{second}");
        }
        assert!(progress.is_over(division, lying(false), at(660_000)));
        // Who is held up now and then only is not spared for ever.
        let mut progress = Progress::new(at(0));
        let mut over = |second: u64| {
            progress.is_over(division, lying(second.is_multiple_of(4)), at(1_000 * second))
        };
        assert_eq!((1..=200).find(|&second| over(second)), Some(79));
    }

    /// Each session had memory for thousands of repair symbols of its own.
    #[test]
    fn repair_symbols_are_bounded_for_all_sessions_together() {
        assert_eq!(repair_max(0, 0, 1), SESSION_REPAIR_MAX);
        let mut kept: Vec<u32> = Vec::new();
        for busy in 1..=16 {
            kept.push(0);
            for _ in 0..100 {
                let all = kept.iter().sum();
                for own in &mut kept {
                    *own = repair_max(*own, all, busy);
                }
            }
        }
        assert!(kept.iter().all(|&own| own >= REPAIR_RESERVED), "{kept:?}");
        assert!(kept.iter().sum::<u32>() <= REPAIR_MAX + 16 * REPAIR_RESERVED, "{kept:?}");
    }
}
