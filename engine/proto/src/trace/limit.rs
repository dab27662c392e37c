//! What limits a transfer: now, in the end, and for most of any span.

use crate::units::Timestamp;
use core::time::Duration;

/// What keeps a transfer from going faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// The rate that the controller found on the path.
    Link,
    /// The policy: `fixed` holds its rate, `low` gives way to others.
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
    /// The user's limit of the rate (`--rate`), here or at the peer.
    Cap,
    /// Other sessions of this host, which have their share of its buffers.
    Share,
    /// The TCP connection that carries the packets.
    Carrier,
}

impl Limit {
    /// Every limit, in the order of their numbers on the wire.
    pub const ALL: [Self; 13] = [
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
        Self::Cap,
        Self::Share,
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

    /// The limit of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.name() == name)
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
            Self::Cap => "cap",
            Self::Share => "share",
            Self::Carrier => "carrier",
        }
    }
}

/// How long each limit applied, by [`Limit::code`].
pub type Spent = [Duration; Limit::ALL.len()];

/// The limit that applied for the longest time, if any did.
pub fn longest(spent: &Spent) -> Option<Limit> {
    let longest = Limit::ALL.into_iter().max_by_key(|&limit| spent[limit as usize])?;
    (spent[longest as usize] > Duration::ZERO).then_some(longest)
}

/// Adds up how long each limit applied.
#[derive(Clone, Debug, Default)]
pub struct LimitClock {
    spent: Spent,
    current: Option<Limit>,
    since: Timestamp,
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

    /// How long each limit applied, up to the last [`Self::set`].
    pub const fn spent(&self) -> &Spent {
        &self.spent
    }

    /// What applied for the longest time.
    pub fn dominant(&self) -> Option<Limit> {
        longest(&self.spent)
    }
}

/// What limited for most of a span: between one look at a [`LimitClock`] and the next.
#[derive(Clone, Debug, Default)]
pub struct LimitWindow {
    before: Spent,
    from: Timestamp,
}

impl LimitWindow {
    /// What applied for the longest time since the last look (`None`: most of it nothing did), up
    /// to the last [`LimitClock::set`].
    pub fn look(&mut self, clock: &LimitClock) -> Option<Limit> {
        let mut spent = clock.spent;
        for (spent, before) in spent.iter_mut().zip(&self.before) {
            *spent -= *before;
        }
        let idle = clock.since.since(self.from).saturating_sub(spent.iter().sum());
        *self = Self { before: clock.spent, from: clock.since };
        longest(&spent).filter(|&limit| spent[limit as usize] > idle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_survive_wire_and_text_and_unknown_ones_mean_nothing() {
        for limit in Limit::ALL {
            assert_eq!(Limit::from_code(limit.code()), Some(limit));
            assert_eq!(Limit::from_name(limit.name()), Some(limit));
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
        let (mut clock, mut window) = (LimitClock::default(), LimitWindow::default());
        clock.set(Some(Limit::Link), Timestamp::from_millis(0));
        clock.set(Some(Limit::SourceDisk), Timestamp::from_millis(80));
        clock.set(Some(Limit::Link), Timestamp::from_millis(100));
        assert_eq!(window.look(&clock), Some(Limit::Link));
        clock.set(Some(Limit::SourceDisk), Timestamp::from_millis(110));
        clock.set(None, Timestamp::from_millis(150));
        assert_eq!(window.look(&clock), Some(Limit::SourceDisk));
        clock.set(Some(Limit::Link), Timestamp::from_millis(900));
        clock.set(Some(Limit::Link), Timestamp::from_millis(950));
        assert_eq!(window.look(&clock), None);
    }

    #[test]
    fn nothing_limits_a_session_that_did_nothing() {
        assert_eq!(LimitClock::default().dominant(), None);
    }
}
