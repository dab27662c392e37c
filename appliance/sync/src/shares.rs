//! Who gets how much of a link: shares, caps, and what follows from them for plans.
//!
//! One direction of a link is a [`Tree`] that is divided from the top ([`Tree::allocate`]); flows
//! that cross several links are divided by [`Network::allocate`]. Both ends of a flow hold to what
//! they tell each other ([`Granted`]), several appliances behind one link to what they lend each
//! other ([`Lease`]), and what is sent to a [`Bucket`]. Everything is a function of what it is
//! given: integers, no clock, the same result whatever order things were added in.

mod bucket;
mod deadline;
mod fill;
mod filling;
mod grant;
mod lease;
mod limit;
mod network;
mod predict;
mod tree;

pub use bucket::{BURST, Bucket, WINDOW};
pub use deadline::{Deadline, deadline};
pub use grant::{Grant, GrantNumber, Granted, Granting};
pub use lease::{Announcement, Heard, LEASE_MAX, Lease, LeaseConfig, Life};
pub use limit::{Limit, Shared};
pub use network::{Crossing, Flow, Network};
pub use predict::{Change, Prediction, predict};
pub use tree::{Part, Tree};

use core::num::NonZeroU32;
use farhaul_proto::units::BitRate;

/// Why something cannot be shared as it was said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// A weight of zero.
    #[error("a weight of 0 would give nothing: use at least 1, or pause the job")]
    NoWeight,
    /// A floor of a class beyond what leaves the classes in order.
    #[error("a floor of {permille} permille for each class is more than {most}: set at most that")]
    FloorTooHigh {
        /// What was asked for.
        permille: u16,
        /// What is possible.
        most: u16,
    },
    /// Two parts of a tree, or two flows, have one name.
    #[error("there is one of that name already: name each of them once")]
    Twice,
    /// A part is to stand below one that there is not.
    #[error("there is nothing of that name to stand below: add what is above first")]
    NoParent,
    /// A part is to stand below one of its own level, or of one beneath it.
    #[error("{child:?} cannot stand below {parent:?}: levels go down from link to peer")]
    WrongLevel {
        /// What it was to stand below.
        parent: Level,
        /// What it is.
        child: Level,
    },
    /// A part is to stand below one that sends itself.
    #[error("what has a demand of its own has no parts: give the demand to the parts")]
    BelowLeaf,
    /// A flow crosses a link that there is not.
    #[error("a flow crosses a link that is not known: add the link first")]
    NoLink,
    /// Members of a lease have no room for themselves.
    #[error("this site is not among those that share the link: name it in the list too")]
    NotMember,
    /// A lease that lasts no time, or longer than one may.
    #[error("a lease lasts {millis} ms: set 1 to {most} ms")]
    LeaseSpan {
        /// What was asked for.
        millis: u128,
        /// What is possible.
        most: u128,
    },
}

/// How much of what is shared somebody gets beside others: 3 gets three times what 1 gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(NonZeroU32);

impl Weight {
    /// The weight of what nobody weighed.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// A weight of at least 1.
    pub const fn new(weight: u32) -> Result<Self, ShareError> {
        match NonZeroU32::new(weight) {
            Some(weight) => Ok(Self(weight)),
            None => Err(ShareError::NoWeight),
        }
    }

    /// The plain number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::ONE
    }
}

/// Who comes first. What is of a higher class gets all it can use; a lower one gets what is left,
/// and never less than its [`ClassFloor`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What takes only what others leave.
    Background,
    /// What nobody classed.
    #[default]
    Normal,
    /// What goes before everything else.
    Urgent,
}

impl Class {
    /// All of them, the one that comes first at the front.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Background];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Urgent => "urgent",
            Self::Normal => "normal",
            Self::Background => "background",
        }
    }
}

/// What a class that has something to send gets at least of what classes share, in thousandths
/// (spec: S-186).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClassFloor(u16);

impl ClassFloor {
    /// A fifth: three floors leave two fifths to the highest class.
    const MOST: u16 = 200;

    /// So many thousandths: 0 to 200.
    pub const fn permille(permille: u16) -> Result<Self, ShareError> {
        if permille > Self::MOST {
            return Err(ShareError::FloorTooHigh { permille, most: Self::MOST });
        }
        Ok(Self(permille))
    }

    /// The floor within `rate`; rounds down.
    fn of(self, rate: u64) -> u64 {
        let floor = u128::from(rate) * u128::from(self.0) / 1000;
        u64::try_from(floor).unwrap_or(rate)
    }
}

impl Default for ClassFloor {
    /// 2 percent.
    fn default() -> Self {
        Self(20)
    }
}

/// Where in a tree a part stands. Levels may be left out, and never go up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// One direction of a link.
    Link,
    /// A site behind it.
    Site,
    /// What is of one class there.
    Class,
    /// A job.
    Job,
    /// A peer of a job.
    Peer,
}

/// What somebody could send or take at this moment, in wire bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Demand {
    /// So much, and no more.
    Rate(BitRate),
    /// As much as there is.
    All,
}

impl Demand {
    /// As a number that is above each rate where there is no bound.
    fn wanted(self) -> u128 {
        match self {
            Self::Rate(rate) => u128::from(rate.get()),
            Self::All => 1 << 64,
        }
    }
}

/// The part of a number that a rate can be.
fn clamp(n: u128) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
