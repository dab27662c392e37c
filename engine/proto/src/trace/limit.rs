//! What limits a transfer: now, in the end, and for most of any span.

use crate::units::Timestamp;
use core::time::Duration;

/// What keeps a transfer from going faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// The rate that the controller found on the path.
    Link,
    /// The rate that the user asked for.
    Policy,
    /// Reading the source.
    SourceDisk,
    /// Writing at the destination.
    DestinationDisk,
    /// The receiver's buffers.
    Receiver,
    /// The sender's buffers.
    Sender,
    /// This host's processor.
    Cpu,
    /// The peer does not answer.
    Peer,
    /// The rate is still being looked for.
    StartUp,
    /// Everything is sent; the last round trips.
    Tail,
    /// The TCP connection that carries the packets.
    Carrier,
}

impl Limit {
    const ALL: [Self; 11] = [
        Self::Link,
        Self::Policy,
        Self::SourceDisk,
        Self::DestinationDisk,
        Self::Receiver,
        Self::Sender,
        Self::Cpu,
        Self::Peer,
        Self::StartUp,
        Self::Tail,
        Self::Carrier,
    ];

    /// Its number on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The limit of that number, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// The name in output that users script against.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Policy => "policy",
            Self::SourceDisk => "source disk",
            Self::DestinationDisk => "destination disk",
            Self::Receiver => "receiver",
            Self::Sender => "sender buffers",
            Self::Cpu => "cpu",
            Self::Peer => "peer",
            Self::StartUp => "start-up",
            Self::Tail => "tail",
            Self::Carrier => "carrier",
        }
    }
}

/// Adds up how long each limit applied.
#[derive(Clone, Debug, Default)]
pub struct LimitClock {
    spent: [Duration; Limit::ALL.len()],
    current: Option<Limit>,
    since: Timestamp,
    /// `spent` at the last [`Self::take_dominant`], and when that was.
    looked: ([Duration; Limit::ALL.len()], Timestamp),
}

impl LimitClock {
    /// From now on `limit` applies (`None`: nothing to do).
    pub fn set(&mut self, limit: Option<Limit>, now: Timestamp) {
        if let Some(current) = self.current {
            self.spent[current as usize] += now.since(self.since);
        }
        self.current = limit;
        self.since = now;
    }

    /// What applies now.
    pub const fn current(&self) -> Option<Limit> {
        self.current
    }

    /// What applied for the longest time since this was last asked (`None`: most of it nothing
    /// did), up to the last [`Self::set`].
    pub fn take_dominant(&mut self) -> Option<Limit> {
        let (before, from) = core::mem::replace(&mut self.looked, (self.spent, self.since));
        let spent = |limit: Limit| self.spent[limit as usize] - before[limit as usize];
        let idle = self.since.since(from).saturating_sub(Limit::ALL.into_iter().map(spent).sum());
        let longest = Limit::ALL.into_iter().max_by_key(|&limit| spent(limit))?;
        (spent(longest) > idle).then_some(longest)
    }

    /// What applied for the longest time.
    pub fn dominant(&self) -> Option<Limit> {
        let longest = Limit::ALL.into_iter().max_by_key(|&limit| self.spent[limit as usize])?;
        (self.spent[longest as usize] > Duration::ZERO).then_some(longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_the_wire_and_unknown_ones_mean_nothing() {
        for limit in Limit::ALL {
            assert_eq!(Limit::from_code(limit.code()), Some(limit));
        }
        assert_eq!(Limit::from_code(200), None);
    }

    #[test]
    fn the_longest_limit_dominates() {
        let mut clock = LimitClock::default();
        clock.set(Some(Limit::StartUp), Timestamp::from_millis(0));
        clock.set(Some(Limit::Link), Timestamp::from_millis(300));
        clock.set(None, Timestamp::from_millis(900));
        clock.set(Some(Limit::Tail), Timestamp::from_millis(5000));
        clock.set(None, Timestamp::from_millis(5100));
        assert_eq!(clock.dominant(), Some(Limit::Link));
    }

    #[test]
    fn an_interval_has_its_own_longest_limit() {
        let mut clock = LimitClock::default();
        clock.set(Some(Limit::Link), Timestamp::from_millis(0));
        clock.set(Some(Limit::SourceDisk), Timestamp::from_millis(80));
        clock.set(Some(Limit::Link), Timestamp::from_millis(100));
        assert_eq!(clock.take_dominant(), Some(Limit::Link));
        clock.set(Some(Limit::SourceDisk), Timestamp::from_millis(110));
        clock.set(None, Timestamp::from_millis(150));
        assert_eq!(clock.take_dominant(), Some(Limit::SourceDisk));
        clock.set(Some(Limit::Link), Timestamp::from_millis(900));
        clock.set(Some(Limit::Link), Timestamp::from_millis(950));
        assert_eq!(clock.take_dominant(), None);
    }

    #[test]
    fn nothing_limits_a_session_that_did_nothing() {
        assert_eq!(LimitClock::default().dominant(), None);
    }
}
