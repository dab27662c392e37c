//! Names of things on the wire and in the tables: packets, blocks, symbols, objects.
//!
//! Packet numbers and data identity are two separate spaces: a packet number is used once, a
//! symbol may travel in any number of packets (`PROTOCOL.md` W-010, W-011).

use core::fmt;

pub use crate::site_id::{SiteId, SiteIdError};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the plain number.
            pub const fn new(n: $inner) -> Self {
                Self(n)
            }

            /// The plain number.
            pub const fn get(self) -> $inner {
                self.0
            }

            /// The id that follows; saturates at the end of the space.
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id! {
    /// Counts the packets of one lane from 0; never reused under one key; the AEAD nonce.
    PacketNumber(u64)
}
id! {
    /// A block within a session: every object owns a contiguous range of block indices.
    BlockIndex(u32)
}
impl BlockIndex {
    /// The index of a member of a set of blocks; beyond the space, its end.
    pub fn clamped(n: u64) -> Self {
        Self(u32::try_from(n).unwrap_or(u32::MAX))
    }
}

id! {
    /// Encoding symbol id (RFC 6330): below K a source symbol, from K on a repair symbol; 24 bits.
    SymbolId(u32)
}
id! {
    /// An object within a session, in the order in which objects were declared.
    ObjectId(u32)
}
id! {
    /// What objects of a session have in common that share its path with others: see
    /// [`crate::shares`]. Local to one side; 0 is where objects are that nobody put elsewhere.
    FlowId(u32)
}
id! {
    /// How many times claimed blocks of an object were reopened: tells what is said about the
    /// object before a reopening from what is said after it.
    Generation(u32)
}
id! {
    /// A transfer within a session.
    TransferId(u32)
}
id! {
    /// A leased buffer of the body; opaque to the brain.
    BufferId(u32)
}
id! {
    /// What a receiver uses to find the lane (and so the session and key) of a packet; random.
    LaneTag(u64)
}
id! {
    /// The group of packets that were sent at one dither factor of the rate controller.
    RateEpoch(u32)
}
