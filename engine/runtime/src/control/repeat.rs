//! Which datagrams of QUIC are sent again unasked, so that a lossy link does not stall a
//! conversation (`spec: W-007`).
//!
//! QUIC learns of a loss from later datagrams. Where none follow, as in a handshake or between two
//! messages, it waits for a timer of a second or more that doubles each time. Two copies a moment
//! later cost less than one such wait, and a receiver drops what it has already (RFC 9000 section
//! 12.3). Pure: it counts and decides; the socket sends.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use farhaul_proto::units::{BitRate, Bytes};

use super::HANDSHAKE_DEADLINE;
use super::endpoint::canonical;

/// When the copies leave, after the original. Apart, so that one burst of losses does not take all.
/// They leave whatever arrives meanwhile: only at short distances could an answer come first, and
/// nothing tells whether a packet that comes answers this one.
pub(super) const AFTER: [Duration; 2] = [Duration::from_millis(15), Duration::from_millis(50)];

/// What may be repeated at once, in bytes of originals: a handshake and some messages.
const BURST: Bytes = Bytes::kib(32);
/// What may be repeated in the long run: 16 KiB/s, so that the copies stay below 264 kbit/s. Where
/// more is said, later datagrams tell of a loss, and no copies are wanted.
const REFILL: BitRate = BitRate::bps(16 * 1024 * 8);
/// The part of both that all unproven addresses together may take: forged ones must not use up
/// what the copies of sites are made from.
const STRANGERS_PART: u64 = 4;
/// Times as much as came from an unproven address may go there (RFC 9000 section 8.1).
const AMPLIFICATION_MAX: u64 = 3;
/// Unproven addresses remembered (18 KiB).
const STRANGERS_MAX: usize = 256;
/// How long one is remembered at least: as long as a handshake may take. Were it forgotten sooner,
/// QUIC, which does not know of the copies, could lead beyond the limit.
const STRANGER_KEPT: Duration = HANDSHAKE_DEADLINE;
/// How long an address counts as proven after its last connection, so that the end of that is
/// repeated too.
const LINGER: Duration = Duration::from_secs(1);

/// What is known of addresses, and how much may still be repeated.
#[derive(Debug)]
pub(super) struct Repeats {
    allowance: Allowance,
    allowance_of_strangers: Allowance,
    /// Addresses that we chose or that a handshake has validated; one for each connection at most.
    proven: HashMap<SocketAddr, Proof>,
    strangers: Strangers,
}

/// How long an address is proven.
#[derive(Clone, Copy, Debug)]
enum Proof {
    /// While so many connections use it.
    Used(usize),
    /// Until then.
    Until(Instant),
}

impl Repeats {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            allowance: Allowance::new(1, now),
            allowance_of_strangers: Allowance::new(STRANGERS_PART, now),
            proven: HashMap::new(),
            strangers: Strangers::default(),
        }
    }

    /// Something came from `from`, or claims to. True if that is proven.
    pub(super) fn heard(&mut self, now: Instant, from: SocketAddr, len: Bytes) -> bool {
        let from = canonical(from);
        let proven = self.is_proven(now, from);
        if !proven && let Some(known) = self.strangers.find_or_add(now, from) {
            known.received += len;
        }
        proven
    }

    /// Whether QUIC may send an original; if so, it counts as sent. QUIC keeps to the limit of an
    /// unproven address by itself, but does not know of the copies: once there was one, both
    /// together must keep to it.
    pub(super) fn admits(&mut self, now: Instant, to: SocketAddr, len: Bytes) -> bool {
        let to = canonical(to);
        if self.is_proven(now, to) {
            return true;
        }
        let Some(known) = self.strangers.find(to) else { return true };
        let admitted = !known.was_copied || len <= known.room();
        if admitted {
            known.sent += len;
        }
        admitted
    }

    /// An original that was admitted did not leave.
    pub(super) fn take_back(&mut self, now: Instant, to: SocketAddr, len: Bytes) {
        let to = canonical(to);
        if !self.is_proven(now, to)
            && let Some(known) = self.strangers.find(to)
        {
            known.sent -= len;
        }
    }

    /// Whether copies of an original that left shall follow.
    pub(super) fn is_copied(&mut self, now: Instant, to: SocketAddr, len: Bytes) -> bool {
        let to = canonical(to);
        if self.is_proven(now, to) {
            return self.allowance.take(now, len);
        }
        self.strangers.find(to).is_some() && self.allowance_of_strangers.take(now, len)
    }

    /// Whether a copy may leave now; if so, it counts as sent.
    pub(super) fn admits_copy(&mut self, now: Instant, to: SocketAddr, len: Bytes) -> bool {
        let to = canonical(to);
        if self.is_proven(now, to) {
            return true;
        }
        match self.strangers.find(to) {
            Some(known) if len <= known.room() => {
                known.sent += len;
                known.was_copied = true;
                true
            }
            _ => false,
        }
    }

    /// A connection or its lanes begin to use `addr`, which is proven until [`Self::leave`].
    pub(super) fn vouch(&mut self, now: Instant, addr: SocketAddr) {
        self.proven.retain(|_, proof| proof.holds(now));
        let proof = self.proven.entry(canonical(addr)).or_insert(Proof::Used(0));
        *proof = match *proof {
            Proof::Used(count) => Proof::Used(count + 1),
            Proof::Until(_) => Proof::Used(1),
        };
    }

    /// One of them has no more use for `addr`.
    pub(super) fn leave(&mut self, now: Instant, addr: SocketAddr) {
        if let Some(proof) = self.proven.get_mut(&canonical(addr)) {
            *proof = match *proof {
                Proof::Used(count) if count > 1 => Proof::Used(count - 1),
                _ => Proof::Until(now + LINGER),
            };
        }
    }

    fn is_proven(&self, now: Instant, addr: SocketAddr) -> bool {
        self.proven.get(&addr).is_some_and(|proof| proof.holds(now))
    }
}

impl Proof {
    fn holds(&self, now: Instant) -> bool {
        match *self {
            Self::Used(_) => true,
            Self::Until(end) => now < end,
        }
    }
}

/// A token bucket of bytes.
#[derive(Debug)]
struct Allowance {
    left: Bytes,
    burst: Bytes,
    refill: BitRate,
    /// Up to when `left` was filled.
    at: Instant,
}

impl Allowance {
    /// One of so many equal parts of what may be repeated.
    fn new(parts: u64, now: Instant) -> Self {
        let (burst, refill) = (Bytes::new(BURST.get() / parts), BitRate::bps(REFILL.get() / parts));
        Self { left: burst, burst, refill, at: now }
    }

    fn take(&mut self, now: Instant, len: Bytes) -> bool {
        let gained = self.refill.bytes_in(now.saturating_duration_since(self.at));
        self.left = self.burst.min(self.left + gained);
        // Only by what was gained, so that fractions of a byte are not lost.
        self.at += gained.time_at(self.refill);
        let is_enough = len <= self.left;
        if is_enough {
            self.left -= len;
        }
        is_enough
    }
}

/// Unproven addresses. When forged ones fill the table, others get no copies for a while.
#[derive(Debug, Default)]
struct Strangers {
    known: Vec<Stranger>,
    /// Index of the oldest, once the table is full.
    oldest: usize,
}

/// What passed between us and an unproven address.
#[derive(Debug)]
struct Stranger {
    addr: SocketAddr,
    since: Instant,
    received: Bytes,
    sent: Bytes,
    was_copied: bool,
}

impl Strangers {
    fn find(&mut self, addr: SocketAddr) -> Option<&mut Stranger> {
        self.known.iter_mut().find(|known| known.addr == addr)
    }

    /// `None` while the table is full of newer ones.
    fn find_or_add(&mut self, now: Instant, addr: SocketAddr) -> Option<&mut Stranger> {
        let index = match self.known.iter().position(|known| known.addr == addr) {
            Some(index) => index,
            None => self.add(now, addr)?,
        };
        self.known.get_mut(index)
    }

    fn add(&mut self, now: Instant, addr: SocketAddr) -> Option<usize> {
        let (received, sent) = (Bytes::ZERO, Bytes::ZERO);
        let new = Stranger { addr, since: now, received, sent, was_copied: false };
        if self.known.len() < STRANGERS_MAX {
            self.known.push(new);
            return Some(self.known.len() - 1);
        }
        let index = self.oldest;
        if now.saturating_duration_since(self.known[index].since) < STRANGER_KEPT {
            return None;
        }
        self.known[index] = new;
        self.oldest = (index + 1) % STRANGERS_MAX;
        Some(index)
    }
}

impl Stranger {
    /// What may still be sent there.
    fn room(&self) -> Bytes {
        self.received.saturating_mul(AMPLIFICATION_MAX) - self.sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DATAGRAM: Bytes = Bytes::new(1200);

    fn addr(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn a_burst_is_repeated_then_only_as_much_as_is_refilled() {
        let now = Instant::now();
        let mut repeats = Repeats::new(now);
        repeats.vouch(now, addr(1));
        let mut repeated =
            |now| (0..100).filter(|_| repeats.is_copied(now, addr(1), DATAGRAM)).count();
        assert_eq!(repeated(now), 27, "32 KiB");
        assert_eq!(repeated(now + Duration::from_millis(999)), 13, "almost 16 KiB");
        assert_eq!(repeated(now + Duration::from_secs(3600)), 27, "never more than a burst");
    }

    #[test]
    fn nothing_is_repeated_to_an_address_that_nothing_is_known_of() {
        let now = Instant::now();
        let mut repeats = Repeats::new(now);
        assert!(repeats.admits(now, addr(1), DATAGRAM), "the original is QUIC's matter");
        assert!(!repeats.is_copied(now, addr(1), DATAGRAM));
        assert!(!repeats.admits_copy(now, addr(1), DATAGRAM));
    }

    #[test]
    fn an_address_is_proven_while_a_connection_uses_it_and_a_moment_longer() {
        let now = Instant::now();
        let mut repeats = Repeats::new(now);
        repeats.vouch(now, addr(1));
        repeats.vouch(now, addr(1));
        repeats.leave(now, addr(1));
        let later = now + Duration::from_secs(3600);
        assert!(repeats.admits_copy(later, addr(1), DATAGRAM));
        repeats.leave(later, addr(1));
        assert!(repeats.admits_copy(later + LINGER / 2, addr(1), DATAGRAM));
        assert!(!repeats.admits_copy(later + LINGER, addr(1), DATAGRAM));
        repeats.vouch(later + LINGER, addr(2));
        assert_eq!(repeats.proven.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn an_ipv4_address_is_one_address_in_both_its_forms() {
        let now = Instant::now();
        let mut repeats = Repeats::new(now);
        repeats.vouch(now, "[::ffff:192.0.2.1]:1".parse().expect("a literal"));
        assert!(repeats.admits_copy(now, addr(1), DATAGRAM));
    }

    #[test]
    fn forged_addresses_take_no_copies_from_anybody_who_is_proven() {
        let now = Instant::now();
        let mut repeats = Repeats::new(now);
        repeats.vouch(now, addr(1));
        for port in 2..2 + 2 * STRANGERS_MAX {
            let forged = addr(u16::try_from(port).expect("small"));
            repeats.heard(now, forged, DATAGRAM);
            repeats.is_copied(now, forged, DATAGRAM);
        }
        assert_eq!(repeats.strangers.known.len(), STRANGERS_MAX);
        assert!(repeats.is_copied(now, addr(1), DATAGRAM));
        assert!(repeats.admits_copy(now, addr(1), DATAGRAM));
    }

    #[test]
    fn what_did_not_leave_uses_up_nothing() {
        let now = Instant::now();
        let mut repeats = Repeats::new(now);
        repeats.heard(now, addr(1), DATAGRAM);
        assert!(repeats.admits_copy(now, addr(1), DATAGRAM));
        for _ in 0..10 {
            assert!(repeats.admits(now, addr(1), DATAGRAM.saturating_mul(2)));
            repeats.take_back(now, addr(1), DATAGRAM.saturating_mul(2));
        }
    }

    #[test]
    fn an_address_is_not_forgotten_while_its_handshake_may_last() {
        let now = Instant::now();
        let mut repeats = Repeats::new(now);
        repeats.heard(now, addr(1), DATAGRAM);
        assert!(repeats.admits_copy(now, addr(1), DATAGRAM.saturating_mul(3)));
        let mut port = 1;
        let mut fill = |repeats: &mut Repeats, now| {
            for _ in 0..STRANGERS_MAX {
                port += 1;
                repeats.heard(now, addr(port), Bytes::new(1));
            }
        };
        fill(&mut repeats, now);
        assert!(!repeats.admits(now, addr(1), DATAGRAM), "three times went there");
        fill(&mut repeats, now + STRANGER_KEPT);
        assert!(repeats.admits(now + STRANGER_KEPT, addr(1), DATAGRAM), "forgotten");
    }

    proptest! {
        /// QUIC itself keeps to three times what came; the copies must not lead beyond.
        #[test]
        fn to_an_unproven_address_goes_at_most_three_times_what_came_from_it(
            steps in proptest::collection::vec((0u8..3, 0u64..1500, 0u64..100), 0..200)
        ) {
            let mut now = Instant::now();
            let mut repeats = Repeats::new(now);
            let (mut received, mut originals, mut all) = (0, 0, 0);
            for (kind, len, pause) in steps {
                now += Duration::from_millis(pause);
                let bytes = Bytes::new(len);
                match kind {
                    0 => {
                        repeats.heard(now, addr(1), bytes);
                        received += len;
                    }
                    1 if originals + len <= 3 * received => {
                        originals += len;
                        if repeats.admits(now, addr(1), bytes) {
                            all += len;
                        }
                    }
                    2 if repeats.admits_copy(now, addr(1), bytes) => all += len,
                    _ => {}
                }
                prop_assert!(all <= 3 * received);
            }
        }
    }
}
