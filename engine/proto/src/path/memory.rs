//! What paths carried: a rate and a round trip for each site and network, to start from next time.
//!
//! A hint, never a proof: the law holds it against its first train. It is kept as text between
//! runs, by whoever has files and a clock.
//!
//! ```text
//! farhaul-paths 1
//! SITE NETWORK RATE RTT TIME      64 hex digits, address, bit/s, microseconds, seconds since 1970
//! ```
//! One line a path, in ascending order of site and network, each ended by a newline; numbers and
//! addresses in their shortest form. A network is an IPv4 /24 or an IPv6 /64, named by its first
//! address. What is written otherwise is refused as a whole.

use crate::units::BitRate;
use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;
use core::time::Duration;
use std::collections::BTreeMap;

/// Paths remembered at most; of more, those that were seen last.
pub const PATHS_MAX: usize = 256;
/// No file of paths is longer, in bytes: the first line, and for each path a site, the longest
/// address, three numbers, four spaces and a newline.
pub const PATHS_LEN_MAX: usize = HEADER.len() + PATHS_MAX * (64 + 39 + 3 * 20 + 5);

const HEADER: &str = "farhaul-paths 1\n";
/// After this long a path may be another one.
const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// A round trip that differs by more than this share is that of another path.
const RTT_FITS: f64 = 0.25;
/// Slower paths need no hint, and faster ones are not believed.
const RATE_MIN: BitRate = BitRate::kbps(10);
const RATE_MAX: BitRate = BitRate::mbps(1_000_000);
/// No path that carries anything takes longer.
const RTT_MAX: Duration = Duration::from_secs(10);

/// A site somewhere: the network, because its address may be another tomorrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    site: [u8; 32],
    network: IpAddr,
}

impl Place {
    /// The place of `site`, which is reached at `addr`.
    pub fn new(site: [u8; 32], addr: IpAddr) -> Self {
        let network = match addr.to_canonical() {
            IpAddr::V4(addr) => Ipv4Addr::from_bits(addr.to_bits() & !0xff).into(),
            IpAddr::V6(addr) => Ipv6Addr::from_bits(addr.to_bits() & !u128::from(u64::MAX)).into(),
        };
        Self { site, network }
    }

    /// The same place, as seen from `addr`.
    #[must_use]
    pub fn at(self, addr: IpAddr) -> Self {
        Self::new(self.site, addr)
    }
}

/// What a path carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// The rate of the sender, at IP level.
    pub rate: BitRate,
    /// The round trip without a queue.
    pub rtt: Duration,
    /// When, since 1970.
    pub at: Duration,
}

impl Carried {
    /// To the precision that is kept; `None` for what no path does.
    fn plausible(self) -> Option<Self> {
        let rtt = Duration::from_micros(u64::try_from(self.rtt.as_micros()).ok()?);
        let at = Duration::from_secs(self.at.as_secs());
        let fits = (RATE_MIN..=RATE_MAX).contains(&self.rate) && !rtt.is_zero() && rtt <= RTT_MAX;
        fits.then_some(Self { rate: self.rate, rtt, at })
    }
}

/// Why bytes are no memory of paths; whoever wrote them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// Longer than [`PATHS_LEN_MAX`].
    #[error("it is too long")]
    TooLong,
    /// The first line is another.
    #[error("it does not begin as one")]
    Header,
    /// A line that is none, or not in its place.
    #[error("line {0} is malformed")]
    Line(usize),
}

/// What paths carried, at most [`PATHS_MAX`] of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathMemory {
    paths: BTreeMap<Place, Carried>,
}

impl PathMemory {
    /// The rate to start from at `place`, of which the handshake took `rtt`, at the time `now`
    /// since 1970. What is old, from the future, or of another round trip is no hint.
    pub fn hint(&self, place: Place, rtt: Duration, now: Duration) -> Option<BitRate> {
        let known = self.paths.get(&place)?;
        let fresh = now.checked_sub(known.at).is_some_and(|age| age <= AGE_MAX);
        let fits = known.rtt.abs_diff(rtt) <= known.rtt.mul_f64(RTT_FITS);
        (fresh && fits).then_some(known.rate)
    }

    /// Remembers what the path to `place` carried, instead of what it did before.
    pub fn note(&mut self, place: Place, carried: Carried) {
        let Some(carried) = carried.plausible() else { return };
        self.paths.insert(place, carried);
        while self.paths.len() > PATHS_MAX {
            let oldest = self.paths.iter().min_by_key(|(_, carried)| carried.at);
            let Some(oldest) = oldest.map(|(&place, _)| place) else { return };
            self.paths.remove(&oldest);
        }
    }

    /// Forgets the path to `place`.
    pub fn forget(&mut self, place: Place) {
        self.paths.remove(&place);
    }

    /// As text; see the module.
    pub fn encode(&self) -> String {
        let mut text = HEADER.to_owned();
        for (Place { site, network }, Carried { rate, rtt, at }) in &self.paths {
            for byte in site {
                let _ = write!(text, "{byte:02x}");
            }
            let (rate, rtt, at) = (rate.get(), rtt.as_micros(), at.as_secs());
            let _ = writeln!(text, " {network} {rate} {rtt} {at}");
        }
        text
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`MemoryError`] for everything else.
    pub fn decode(bytes: &[u8]) -> Result<Self, MemoryError> {
        if bytes.len() > PATHS_LEN_MAX {
            return Err(MemoryError::TooLong);
        }
        let text = core::str::from_utf8(bytes).ok().and_then(|text| text.strip_prefix(HEADER));
        let text = text.ok_or(MemoryError::Header)?;
        let mut memory = Self::default();
        for (index, line) in text.split_inclusive('\n').enumerate() {
            let malformed = MemoryError::Line(index + 2);
            let (place, carried) = decode_line(line).ok_or(malformed)?;
            let last = memory.paths.last_key_value();
            if last.is_some_and(|(&last, _)| last >= place) || memory.paths.len() == PATHS_MAX {
                return Err(malformed);
            }
            memory.paths.insert(place, carried);
        }
        Ok(memory)
    }
}

fn decode_line(line: &str) -> Option<(Place, Carried)> {
    let mut words = line.strip_suffix('\n')?.split(' ');
    let (site, network) = (site(words.next()?)?, shortest::<IpAddr>(words.next()?)?);
    let rate = BitRate::bps(shortest(words.next()?)?);
    let rtt = Duration::from_micros(shortest(words.next()?)?);
    let at = Duration::from_secs(shortest(words.next()?)?);
    let place = Place::new(site, network);
    if words.next().is_some() || place.network != network {
        return None;
    }
    Some((place, Carried { rate, rtt, at }.plausible()?))
}

/// A value that is written as it would be written again.
fn shortest<T: FromStr + ToString>(word: &str) -> Option<T> {
    word.parse().ok().filter(|value: &T| value.to_string() == word)
}

fn site(word: &str) -> Option<[u8; 32]> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut site = [0; 32];
    let (pairs, rest) = word.as_bytes().as_chunks::<2>();
    if pairs.len() != site.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in site.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(site)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RTT: Duration = Duration::from_millis(200);
    const NOON: Duration = Duration::from_secs(1_800_000_000);

    fn addr(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn place(text: &str) -> Place {
        Place::new([7; 32], addr(text))
    }

    fn carried(at: Duration) -> Carried {
        Carried { rate: BitRate::mbps(500), rtt: RTT, at }
    }

    fn knows(text: &str) -> PathMemory {
        let mut memory = PathMemory::default();
        memory.note(place(text), carried(NOON));
        memory
    }

    #[test]
    fn a_path_is_that_of_a_site_and_its_network() {
        let memory = knows("192.0.2.7");
        let hint = |place| memory.hint(place, RTT, NOON);
        assert_eq!(hint(place("192.0.2.99")), Some(BitRate::mbps(500)));
        assert_eq!(hint(place("::ffff:192.0.2.99")), Some(BitRate::mbps(500)));
        assert_eq!(hint(place("192.0.3.7")), None);
        assert_eq!(hint(Place::new([8; 32], addr("192.0.2.7"))), None);
        let memory = knows("2001:db8:1:2:3::4");
        assert!(memory.hint(place("2001:db8:1:2::"), RTT, NOON).is_some());
        assert!(memory.hint(place("2001:db8:1:3::"), RTT, NOON).is_none());
    }

    #[test]
    fn what_is_old_or_of_another_round_trip_is_no_hint() {
        let (memory, there) = (knows("192.0.2.7"), place("192.0.2.7"));
        let rtt = |millis| memory.hint(there, Duration::from_millis(millis), NOON).is_some();
        assert_eq!([149, 150, 250, 251].map(rtt), [false, true, true, false]);
        let second = Duration::from_secs(1);
        let at = |now| memory.hint(there, RTT, now).is_some();
        assert!(at(NOON + AGE_MAX) && !at(NOON + AGE_MAX + second) && !at(NOON - second));
    }

    #[test]
    fn what_was_seen_last_stays() {
        let mut memory = PathMemory::default();
        let nth = |n: u16| {
            Place::new([7; 32], Ipv4Addr::new(10, n.to_be_bytes()[0], n.to_be_bytes()[1], 1).into())
        };
        for n in 0..300 {
            memory.note(nth(n), carried(NOON + Duration::from_secs(n.into())));
        }
        let known = |n| memory.hint(nth(n), RTT, NOON + Duration::from_secs(300)).is_some();
        assert!(!known(43) && known(44) && known(299));
        assert!(memory.encode().len() <= PATHS_LEN_MAX);
    }

    #[test]
    fn what_no_path_does_is_not_remembered() {
        let (mut memory, there) = (PathMemory::default(), place("192.0.2.7"));
        memory.note(there, Carried { rate: BitRate::ZERO, ..carried(NOON) });
        memory.note(there, Carried { rtt: Duration::ZERO, ..carried(NOON) });
        memory.note(there, Carried { rtt: Duration::MAX, ..carried(NOON) });
        assert_eq!(memory, PathMemory::default());
    }

    #[test]
    fn a_path_that_is_forgotten_gives_no_hint() {
        let mut memory = knows("192.0.2.7");
        memory.forget(place("192.0.2.8"));
        assert_eq!(memory, PathMemory::default());
    }

    #[test]
    fn a_file_that_is_not_exactly_one_is_refused() {
        let good = knows("192.0.2.7").encode();
        let line = &good[HEADER.len()..];
        let refused = |text: String| PathMemory::decode(text.as_bytes()).unwrap_err();
        assert_eq!(refused(String::new()), MemoryError::Header);
        assert_eq!(refused(good.replace("paths 1", "paths 2")), MemoryError::Header);
        assert_eq!(refused(" ".repeat(PATHS_LEN_MAX + 1)), MemoryError::TooLong);
        assert_eq!(refused(format!("{good}{line}")), MemoryError::Line(3));
        for (from, to) in [
            ("\n", ""),
            (" 500000000", "  500000000"),
            ("500000000", "+500000000"),
            ("500000000", "0500000000"),
            ("500000000", "1"),
            ("192.0.2.0", "192.0.2.1"),
            ("192.0.2.0", "::ffff:192.0.2.0"),
            ("0707", "07G7"),
            ("0707", "7"),
            ("1800000000", "1800000000 1"),
        ] {
            let spoilt = format!("{HEADER}{}", line.replacen(from, to, 1));
            assert_eq!(refused(spoilt), MemoryError::Line(2), "{from:?} as {to:?}");
        }
    }

    proptest! {
        #[test]
        fn a_memory_survives_the_round_trip_as_text(
            paths in prop::collection::vec(
                (any::<[u8; 32]>(), any::<IpAddr>(), 10_000..=1_000_000_000_000_u64, 1..=10_000_000_u64, any::<u64>()),
                0..300,
            )
        ) {
            let mut memory = PathMemory::default();
            for (site, addr, rate, rtt, at) in paths {
                let (rtt, at) = (Duration::from_micros(rtt), Duration::from_secs(at));
                memory.note(Place::new(site, addr), Carried { rate: BitRate::bps(rate), rtt, at });
            }
            let text = memory.encode();
            prop_assert!(text.len() <= PATHS_LEN_MAX);
            prop_assert_eq!(PathMemory::decode(text.as_bytes()), Ok(memory));
        }

        #[test]
        fn what_decodes_is_written_the_same_again(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = [HEADER.as_bytes(), &bytes].concat();
            if let Ok(memory) = PathMemory::decode(&text) {
                prop_assert_eq!(memory.encode().into_bytes(), text);
            }
        }
    }
}
