//! Where the peer is: its address may change, but it is not followed on anybody's word.
//!
//! ```text
//! newest packet from elsewhere --> candidate --challenge, answered from there--> active
//! newest packet from the address left lately ------------------------------------> active again
//! ```
//! Pure: it names addresses and counts bytes; packets were authenticated before they come here.
//! spec: W-100, W-101, W-102, W-103

use crate::ids::PacketNumber;
use crate::units::{Bytes, Timestamp};
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// Size at IP level of a challenge, and of its answer.
pub const CHALLENGE_BYTES: Bytes =
    Bytes::new(crate::wire::header::PATH_DATAGRAM_MIN as u64 + crate::limits::UDP_IP_OVERHEAD);
/// Times as much as came from an address may go there before it is validated. spec: W-102
const AMPLIFICATION_MAX: u64 = 3;
/// Round trips (as long as one may take) for which an address that was left can be returned to, and
/// after which a challenge without answer is given up.
const KEPT_ROUNDS: u32 = 3;
/// Both are at least this.
const KEPT_MIN: Duration = Duration::from_secs(1);
/// Shortest time between two challenges to one address.
const SPACING_MIN: Duration = Duration::from_millis(10);

/// How much of the path a new address shares with the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nearness {
    /// The same host, or at least its network (/24 or /64): another mapping of the same translator.
    SameNetwork,
    /// Another network: nothing that was measured holds.
    Elsewhere,
}

/// The peer is at another address from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// Where it was.
    pub from: SocketAddr,
    /// Where it is.
    pub to: SocketAddr,
    /// What the two have in common.
    pub nearness: Nearness,
    /// It came back to an address that had been left just before.
    pub returned: bool,
}

/// The times that decisions about addresses depend on.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The smoothed round trip.
    pub rtt: Duration,
    /// A round trip that is exceeded only when something is wrong.
    pub pessimistic: Duration,
}

impl Pace {
    fn kept(self) -> Duration {
        (self.pessimistic * KEPT_ROUNDS).max(KEPT_MIN)
    }
}

/// An address that the peer seems to have, not validated.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    at: SocketAddr,
    token: u64,
    since: Timestamp,
    received: Bytes,
    sent: Bytes,
    challenges: u32,
    next_challenge: Timestamp,
}

impl Candidate {
    fn has_room(&self, bytes: Bytes) -> bool {
        self.sent + bytes <= self.received.saturating_mul(AMPLIFICATION_MAX)
    }
}

/// An address, until some time.
#[derive(Clone, Copy, Debug)]
struct Kept {
    at: SocketAddr,
    until: Timestamp,
}

impl Kept {
    fn holds(kept: Option<Self>, at: SocketAddr, now: Timestamp) -> bool {
        kept.is_some_and(|kept| kept.at == at && now < kept.until)
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub struct PeerAddress {
    /// Where the session began.
    first: SocketAddr,
    active: SocketAddr,
    largest: Option<PacketNumber>,
    candidate: Option<Candidate>,
    /// Left lately; it was validated.
    left: Option<Kept>,
    /// Returned from lately: the packets from there had been carried by somebody else.
    shunned: Option<Kept>,
    seed: u64,
    tokens: u64,
}

impl PeerAddress {
    /// A peer that the handshake found at `first`; challenges are drawn from `seed`.
    pub const fn new(first: SocketAddr, seed: u64) -> Self {
        Self {
            first,
            active: first,
            largest: None,
            candidate: None,
            left: None,
            shunned: None,
            seed,
            tokens: 0,
        }
    }

    /// Where everything goes that is not about addresses.
    pub const fn active(&self) -> SocketAddr {
        self.active
    }

    /// Since when another address is being validated.
    pub fn validating_since(&self) -> Option<Timestamp> {
        self.candidate.map(|candidate| candidate.since)
    }

    /// An authentic packet of `bytes` (IP level) came from `from`; `probing` if it is a challenge or
    /// an answer, which do not say that the peer moved.
    pub fn on_packet(
        &mut self,
        from: SocketAddr,
        number: PacketNumber,
        probing: bool,
        bytes: Bytes,
        pace: Pace,
        now: Timestamp,
    ) -> Option<Moved> {
        let newest = self.largest.is_none_or(|largest| number > largest);
        self.largest = self.largest.max(Some(number));
        let telling = newest && !probing;
        if from == self.active {
            if telling {
                // It still speaks from where it was, and said so after all that came from elsewhere.
                self.candidate = None;
            }
            return None;
        }
        if let Some(candidate) = self.candidate.as_mut().filter(|candidate| candidate.at == from) {
            candidate.received += bytes;
            return None;
        }
        if !telling || !self.may_be(from) {
            return None;
        }
        if Kept::holds(self.left, from, now) {
            // Validated before, so at once: bulk that somebody led astray comes home.
            let until = now + pace.kept();
            self.shunned = Some(Kept { at: self.active, until });
            return Some(self.move_to(from, true, pace, now));
        }
        if !Kept::holds(self.shunned, from, now) {
            self.begin(from, bytes, now);
        }
        None
    }

    fn begin(&mut self, at: SocketAddr, received: Bytes, now: Timestamp) {
        self.tokens += 1;
        self.candidate = Some(Candidate {
            at,
            token: token(self.seed, self.tokens),
            since: now,
            received,
            sent: Bytes::ZERO,
            challenges: 0,
            next_challenge: now,
        });
    }

    /// Nobody but a site that was there from the start is at an address of our own host, of our own
    /// wire or of no host at all. spec: W-103
    fn may_be(&self, at: SocketAddr) -> bool {
        let kind = scope(at.ip());
        at.port() != 0
            && kind != Scope::Nobody
            && (kind == Scope::Any || kind == scope(self.first.ip()))
    }

    fn move_to(&mut self, to: SocketAddr, returned: bool, pace: Pace, now: Timestamp) -> Moved {
        let from = core::mem::replace(&mut self.active, to);
        self.candidate = None;
        // What led astray is not returned to.
        let until = now + pace.kept();
        self.left = (!returned).then_some(Kept { at: from, until });
        Moved { from, to, nearness: nearness(from, to), returned }
    }

    /// The challenge to send now, if one is due and may be sent.
    pub fn take_challenge(&mut self, pace: Pace, now: Timestamp) -> Option<(SocketAddr, u64)> {
        let candidate = self.candidate.as_mut()?;
        if now.since(candidate.since) > pace.kept() {
            // The next packet from there begins anew.
            self.candidate = None;
            return None;
        }
        if now < candidate.next_challenge || !candidate.has_room(CHALLENGE_BYTES) {
            return None;
        }
        candidate.sent += CHALLENGE_BYTES;
        candidate.challenges += 1;
        candidate.next_challenge = now + (pace.rtt / 4).max(SPACING_MIN);
        Some((candidate.at, candidate.token))
    }

    /// When [`Self::take_challenge`] has something to do, unless a packet comes before.
    pub fn next_challenge(&self) -> Option<Timestamp> {
        let candidate = self.candidate.filter(|c| c.has_room(CHALLENGE_BYTES))?;
        Some(candidate.next_challenge)
    }

    /// Where else a report of `bytes` goes, because the peer may be there; it counts as sent.
    pub fn also(&mut self, bytes: Bytes) -> Option<SocketAddr> {
        let candidate = self.candidate.as_mut()?;
        // Reports must not use up what the question is made from.
        let asked = candidate.challenges > 0;
        let room = asked && candidate.has_room(bytes);
        if room {
            candidate.sent += bytes;
        }
        room.then_some(candidate.at)
    }

    /// An authentic answer with `token` came from `from`.
    pub fn on_response(
        &mut self,
        from: SocketAddr,
        token: u64,
        pace: Pace,
        now: Timestamp,
    ) -> Option<Moved> {
        let proven = self.candidate.is_some_and(|c| c.at == from && c.token == token);
        proven.then(|| self.move_to(from, false, pace, now))
    }
}

/// 64 bits that the peer cannot guess: of it, nobody learns the seed.
fn token(seed: u64, count: u64) -> u64 {
    let mut input = [0; 16];
    input[..8].copy_from_slice(&seed.to_le_bytes());
    input[8..].copy_from_slice(&count.to_le_bytes());
    let key = blake3::derive_key("farhaul 2026 path challenge v1", &input);
    key.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Any,
    Loopback,
    LinkLocal,
    Nobody,
}

fn scope(ip: IpAddr) -> Scope {
    let link_local = match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
    if ip.is_unspecified() || ip.is_multicast() || broadcast {
        Scope::Nobody
    } else if ip.is_loopback() {
        Scope::Loopback
    } else if link_local {
        Scope::LinkLocal
    } else {
        Scope::Any
    }
}

fn nearness(a: SocketAddr, b: SocketAddr) -> Nearness {
    let same = match (a.ip(), b.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.octets()[..8] == b.octets()[..8],
        _ => false,
    };
    if same { Nearness::SameNetwork } else { Nearness::Elsewhere }
}

#[cfg(test)]
mod tests;
