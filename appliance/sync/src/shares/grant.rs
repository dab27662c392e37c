//! What one end of a flow grants the other, as soft state.
//!
//! The taker divides its own link and grants each giver a rate; the giver divides its own and sends
//! at the smaller of both. Each end tells the other what it would give the flow if that could use
//! everything ([`super::Tree::offer`]), and counts what it is told as the demand of the flow: so
//! what one end cannot use its link lends to others, and the rates of all come to rest where a
//! division of all links at once would have them. Were each told what it gets instead, two ends
//! could hold each other down for ever (spec: S-190).

use core::time::Duration;
use farhaul_proto::units::{BitRate, Timestamp};

/// Counts the grants of one end within a session, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrantNumber(u64);

impl GrantNumber {
    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// A number as it was read.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }
}

/// What one end of a flow offers the other. It holds without anything else that was said, for as
/// long as it says, from when it is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Above that of each earlier one of the session.
    pub number: GrantNumber,
    /// For how long.
    pub valid: Duration,
    /// In wire bytes.
    pub rate: BitRate,
}

/// Numbers what is granted in a session.
#[derive(Clone, Copy, Debug, Default)]
pub struct Granting {
    last: GrantNumber,
}

impl Granting {
    /// The next grant.
    pub fn grant(&mut self, rate: BitRate, valid: Duration) -> Grant {
        self.last = GrantNumber(self.last.0.saturating_add(1));
        Grant { number: self.last, valid, rate }
    }
}

/// What the other end grants a flow. It is of one session, and forgotten with it.
#[derive(Clone, Copy, Debug)]
pub struct Granted {
    without: BitRate,
    last: Option<(Grant, Timestamp)>,
}

impl Granted {
    /// Nothing heard yet; `without` is what counts while no grant holds.
    pub const fn new(without: BitRate) -> Self {
        Self { without, last: None }
    }

    /// Takes a grant in. False if a later one was heard already: it changes nothing then.
    pub fn hear(&mut self, grant: Grant, now: Timestamp) -> bool {
        let is_new = self.last.is_none_or(|(last, _)| grant.number > last.number);
        if is_new {
            self.last = Some((grant, now + grant.valid));
        }
        is_new
    }

    /// What the other end grants at this moment.
    pub fn rate(&self, now: Timestamp) -> BitRate {
        let holding = self.last.filter(|&(_, until)| now < until);
        holding.map_or(self.without, |(grant, _)| grant.rate)
    }

    /// What is sent if this end's own link has `own` for it: the smaller of both.
    pub fn limit(&self, own: BitRate, now: Timestamp) -> BitRate {
        own.min(self.rate(now))
    }

    /// When the grant that holds runs out.
    pub fn holds_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.last.map(|(_, until)| until).filter(|&until| now < until)
    }
}
