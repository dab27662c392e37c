//! Which attempts to connect are worth a handshake: limits per source and in total.
//!
//! Decides before any key is seen. A source that cannot be checked yet is asked to prove its
//! address (Retry) rather than refused, so that a flood with forged addresses locks nobody out. It
//! does not decide who is allowed; that is the site's key.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use quinn::ConnectionId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Handshakes under way at once.
pub(super) const HALF_OPEN_MAX: usize = 256;
/// From so many half-open handshakes on, every address must prove itself first.
const HALF_OPEN_CALM: usize = 64;
/// Handshakes per second from one /24 (IPv4) or /64 (IPv6).
const PER_SOURCE: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
/// Handshakes at once from one source.
const BURST: NonZeroU32 = NonZeroU32::new(5).expect("not zero");
/// Handshakes per second, and at once, of all addresses that proved nothing.
const UNPROVEN: NonZeroU32 = NonZeroU32::new(20).expect("not zero");
/// Sources remembered (about 1 MiB); beyond, a new source counts as being over its limit.
const SOURCES_MAX: usize = 16_384;
/// Decisions between two clearings of sources that are calm again.
const SWEEP_EVERY: u64 = 1024;
/// The same when no more sources are taken in: a source is calm after a quarter of a second.
const SWEEP_EVERY_FULL: u64 = 32;
/// How long an attempt is remembered: longer than its copies take, shorter than the second after
/// which a client that got no answer asks again.
const ATTEMPT_KEPT: Duration = Duration::from_millis(500);
/// Attempts remembered; in a flood, copies count.
const ATTEMPTS_MAX: usize = 64;

/// What to do with an attempt.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Shake hands; the permit counts as half-open until dropped.
    Admit(OwnedSemaphorePermit),
    /// Ask for proof of the address.
    Retry,
    /// Turn away.
    Refuse,
}

/// Counters of attempts to connect to us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionCounts {
    /// Handshakes begun.
    pub admitted: u64,
    /// Attempts asked for proof of their address.
    pub retried: u64,
    /// Attempts turned away for being too many.
    pub refused: u64,
    /// Handshakes that ended with a site that is not allowed, or proved no key.
    pub unwelcome: u64,
    /// Handshakes that failed otherwise, mostly by running into the deadline.
    pub failed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4([u8; 3]),
    V6([u8; 8]),
}

impl Source {
    fn of(addr: SocketAddr) -> Self {
        match addr.ip().to_canonical() {
            IpAddr::V4(ip) => {
                let [a, b, c, _] = ip.octets();
                Self::V4([a, b, c])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// What an attempt is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) addr: SocketAddr,
    /// The id that the client made up for us in its first packet.
    pub(super) id: ConnectionId,
    pub(super) proven: bool,
}

/// Attempts answered a moment ago. First packets come three times (`spec: W-007`), and while the
/// connection lives, the QUIC library drops the copies; but it forgets what was turned away, and a
/// copy would be judged anew: counted again, or even let in beside the attempt that it belongs to.
#[derive(Debug, Default)]
pub(super) struct RecentAttempts {
    /// Oldest first.
    answered: VecDeque<(Instant, Attempt)>,
}

impl RecentAttempts {
    /// True if `attempt` was here a moment ago; if not, it is remembered.
    pub(super) fn has(&mut self, attempt: Attempt, now: Instant) -> bool {
        let is_recent = |at: Instant| now.saturating_duration_since(at) < ATTEMPT_KEPT;
        let mut recent = self.answered.iter().rev().take_while(|(at, _)| is_recent(*at));
        if recent.any(|(_, known)| *known == attempt) {
            return true;
        }
        if self.answered.len() == ATTEMPTS_MAX {
            self.answered.pop_front();
        }
        self.answered.push_back((now, attempt));
        false
    }
}

/// The limits and their state.
#[derive(Debug)]
pub(crate) struct Admission {
    half_open: Arc<Semaphore>,
    /// Two accounts per source, so that forged packets do not use up what the real one has.
    claimed: Sources,
    proven: Sources,
    unproven: DefaultDirectRateLimiter,
    admitted: AtomicU64,
    retried: AtomicU64,
    refused: AtomicU64,
    unwelcome: AtomicU64,
    failed: AtomicU64,
}

impl Admission {
    pub(super) fn new() -> Self {
        Self {
            half_open: Arc::new(Semaphore::new(HALF_OPEN_MAX)),
            claimed: Sources::new(),
            proven: Sources::new(),
            unproven: RateLimiter::direct(Quota::per_second(UNPROVEN)),
            admitted: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            unwelcome: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Decides on an attempt from `addr`; `proven` says whether it showed that it receives there.
    pub(crate) fn judge(&self, addr: SocketAddr, proven: bool) -> Verdict {
        let verdict = self.decide(addr, proven);
        let counter = match verdict {
            Verdict::Admit(_) => &self.admitted,
            Verdict::Retry => &self.retried,
            Verdict::Refuse => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        verdict
    }

    fn decide(&self, addr: SocketAddr, proven: bool) -> Verdict {
        let half_open = HALF_OPEN_MAX - self.half_open.available_permits();
        if proven {
            if !self.proven.has_room(addr) {
                return Verdict::Refuse;
            }
        } else if half_open >= HALF_OPEN_CALM
            || !self.claimed.has_room(addr)
            || self.unproven.check().is_err()
        {
            return Verdict::Retry;
        }
        match Arc::clone(&self.half_open).try_acquire_owned() {
            Ok(permit) => Verdict::Admit(permit),
            Err(_) => Verdict::Refuse,
        }
    }

    /// Decides on an attempt within a link, whose own attempt was judged before.
    pub(super) fn judge_within_link(&self) -> Verdict {
        match Arc::clone(&self.half_open).try_acquire_owned() {
            Ok(permit) => Verdict::Admit(permit),
            Err(_) => Verdict::Refuse,
        }
    }

    pub(crate) fn note_unwelcome(&self) {
        self.unwelcome.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn note_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> AdmissionCounts {
        AdmissionCounts {
            admitted: self.admitted.load(Ordering::Relaxed),
            retried: self.retried.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            unwelcome: self.unwelcome.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }
}

/// The rates of a bounded number of sources.
#[derive(Debug)]
struct Sources {
    limiter: DefaultKeyedRateLimiter<Source>,
    asked: AtomicU64,
}

impl Sources {
    fn new() -> Self {
        let quota = Quota::per_second(PER_SOURCE).allow_burst(BURST);
        Self { limiter: RateLimiter::keyed(quota), asked: AtomicU64::new(0) }
    }

    fn has_room(&self, addr: SocketAddr) -> bool {
        let full = self.limiter.len() >= SOURCES_MAX;
        let every = if full { SWEEP_EVERY_FULL } else { SWEEP_EVERY };
        if self.asked.fetch_add(1, Ordering::Relaxed) % every == every - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.len() < SOURCES_MAX && self.limiter.check_key(&Source::of(addr)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    fn v4(a: u8, b: u8, c: u8, d: u8) -> SocketAddr {
        SocketAddr::from(([a, b, c, d], 99))
    }

    /// A source per call, so that only the total counts.
    fn many() -> impl Iterator<Item = SocketAddr> {
        (0..=255).flat_map(|b| (0..=255).map(move |c| v4(10, b, c, 1)))
    }

    #[test]
    fn a_burst_from_one_source_must_prove_its_address_and_is_then_refused() {
        let admission = Admission::new();
        let attempts = |proven| (0..6).map(|d| admission.judge(v4(10, 0, 0, d), proven)).collect();
        let claimed: Vec<Verdict> = attempts(false);
        assert!(matches!(claimed[..5], [Verdict::Admit(_), .., Verdict::Admit(_)]));
        assert!(matches!(claimed[5], Verdict::Retry));
        let proven: Vec<Verdict> = attempts(true);
        assert!(matches!(proven[..5], [Verdict::Admit(_), .., Verdict::Admit(_)]));
        assert!(matches!(proven[5], Verdict::Refuse));
        assert!(matches!(admission.judge(v4(10, 0, 1, 0), false), Verdict::Admit(_)));
        let counts = admission.counts();
        assert_eq!((counts.admitted, counts.retried, counts.refused), (11, 1, 1));
    }

    #[test]
    fn an_attempt_is_known_again_for_a_moment_and_the_memory_is_bounded() {
        let mut recent = RecentAttempts::default();
        let (addr, now) = (v4(10, 0, 0, 1), Instant::now());
        let attempt = |id, proven| Attempt { addr, id: ConnectionId::new(&[id; 8]), proven };
        assert!(!recent.has(attempt(1, false), now));
        assert!(recent.has(attempt(1, false), now + Duration::from_millis(100)));
        assert!(!recent.has(attempt(2, false), now), "another attempt");
        assert!(!recent.has(attempt(1, true), now), "the same, with the proof it was asked for");
        assert!(!recent.has(attempt(1, false), now + ATTEMPT_KEPT), "asked again");
        for id in 0..=u8::MAX {
            recent.has(attempt(id, false), now + ATTEMPT_KEPT);
        }
        assert_eq!(recent.answered.len(), ATTEMPTS_MAX);
    }

    #[test]
    fn a_source_is_a_slash_24_or_a_slash_64() {
        assert_eq!(Source::of(v4(10, 1, 2, 3)), Source::of(v4(10, 1, 2, 250)));
        assert_ne!(Source::of(v4(10, 1, 2, 3)), Source::of(v4(10, 1, 3, 3)));
        let v6 = |text: &str| SocketAddr::new(text.parse::<Ipv6Addr>().expect("literal").into(), 9);
        assert_eq!(Source::of(v6("2001:db8::1")), Source::of(v6("2001:db8::ffff:1")));
        assert_ne!(Source::of(v6("2001:db8::1")), Source::of(v6("2001:db8:0:1::1")));
        assert_eq!(Source::of(v6("::ffff:10.1.2.3")), Source::of(v4(10, 1, 2, 3)));
    }

    #[test]
    fn many_half_open_handshakes_call_for_proof_and_the_total_is_capped() {
        let admission = Admission::new();
        let mut sources = many();
        let mut next = || sources.next().expect("65,536 sources");
        let mut held: Vec<Verdict> =
            (0..HALF_OPEN_CALM).map(|_| admission.judge(next(), true)).collect();
        assert!(held.iter().all(|verdict| matches!(verdict, Verdict::Admit(_))));
        assert!(matches!(admission.judge(next(), false), Verdict::Retry));
        held.extend((HALF_OPEN_CALM..HALF_OPEN_MAX).map(|_| admission.judge(next(), true)));
        assert!(held.iter().all(|verdict| matches!(verdict, Verdict::Admit(_))));
        assert!(matches!(admission.judge(next(), true), Verdict::Refuse));
        held.clear();
        assert!(matches!(admission.judge(next(), false), Verdict::Admit(_)));
    }

    /// A thousand addresses of a thousand networks were each let in on their word.
    #[test]
    fn many_addresses_that_proved_nothing_must_prove_themselves_however_few_are_half_open() {
        let admission = Admission::new();
        let mut sources = many();
        let mut next = || sources.next().expect("65,536 sources");
        for _ in 0..UNPROVEN.get() {
            assert!(matches!(admission.judge(next(), false), Verdict::Admit(_)));
        }
        assert!(matches!(admission.judge(next(), false), Verdict::Retry));
        assert!(matches!(admission.judge(next(), true), Verdict::Admit(_)));
    }

    #[test]
    fn the_memory_for_sources_is_bounded() {
        let admission = Admission::new();
        for source in many() {
            drop(admission.judge(source, false));
        }
        assert!(admission.claimed.limiter.len() <= SOURCES_MAX);
    }
}
