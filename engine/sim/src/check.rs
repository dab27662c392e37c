//! What must always hold, and the ledger of truth that it is held against.
//!
//! The ledger is filled from the wire and the disks, never from what a core says. A broken rule
//! is a [`Violation`]; the world stops at the first.

mod contents;
mod truth;

pub(crate) use truth::{End, Truth};

use crate::scenario::Side;
use core::time::Duration;
use farhaul_proto::fec::BlockShape;
use farhaul_proto::ids::{BlockIndex, ObjectId, PacketNumber, SymbolId};
use farhaul_proto::objects::{ObjectError, Placed};
use farhaul_proto::recv::Placement;
use farhaul_proto::session::SessionError;
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::feedback::FeedbackError;
use thiserror::Error;

/// A rule that did not hold: a fault of the core, or of the world that tests it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Violation {
    /// A session was closed because of what its peer said.
    #[error("side {side:?} closed the session: {error}")]
    Closed {
        /// Who closed.
        side: Side,
        /// Why.
        error: SessionError,
    },
    /// A core wrote a report that cannot be read.
    #[error("side {side:?} cannot read a report: {error}")]
    Report {
        /// Who reads.
        side: Side,
        /// What is wrong.
        error: FeedbackError,
    },
    /// A core refused a declaration of the scenario.
    #[error("an object was refused: {0}")]
    Object(#[from] ObjectError),
    /// The two sides numbered reopened blocks differently.
    #[error("object {object} was reopened as block {source_index} and as block {target_index}")]
    Reopened {
        /// Which object.
        object: ObjectId,
        /// First index at the source.
        source_index: BlockIndex,
        /// First index at the target.
        target_index: BlockIndex,
    },
    /// Objects were numbered differently.
    #[error("object {expected} of the scenario was declared as object {got}")]
    Numbered {
        /// By the scenario.
        expected: ObjectId,
        /// By the core.
        got: ObjectId,
    },
    /// A packet number was used twice or went back.
    #[error("side {side:?} sent packet {number} after packet {before}")]
    Number {
        /// Who sent.
        side: Side,
        /// Which.
        number: PacketNumber,
        /// The one before.
        before: PacketNumber,
    },
    /// A symbol was planned that is not in memory.
    #[error("side {side:?} sends symbol {symbol} of block {block}, which it does not have")]
    Unavailable {
        /// Who sends.
        side: Side,
        /// Which block.
        block: BlockIndex,
        /// Which symbol.
        symbol: SymbolId,
    },
    /// A symbol was accepted that was never sent.
    #[error("symbol {symbol} of block {block} was accepted and never sent")]
    Invented {
        /// Which block.
        block: BlockIndex,
        /// Which symbol.
        symbol: SymbolId,
    },
    /// A core asked for something about a block that it does not hold.
    #[error("side {side:?}: {what} for block {block}, which has no buffer")]
    NoBuffer {
        /// Who.
        side: Side,
        /// Which block.
        block: BlockIndex,
        /// What was asked.
        what: &'static str,
    },
    /// A buffer was leased twice.
    #[error("side {side:?} leases a second buffer for block {block}")]
    SecondBuffer {
        /// Who.
        side: Side,
        /// Which block.
        block: BlockIndex,
    },
    /// A block went to the decoder with too few symbols.
    #[error("block {block} is to be verified with {have} symbols of {need}")]
    TooEarly {
        /// Which block.
        block: BlockIndex,
        /// Distinct symbols there.
        have: u32,
        /// Symbols needed.
        need: u32,
    },
    /// A block is read from outside its object.
    #[error("block {block} is read at {placed:?} of an object of {len}")]
    OutOfBounds {
        /// Which block.
        block: BlockIndex,
        /// Where.
        placed: Placed,
        /// Length of the object.
        len: Bytes,
    },
    /// A symbol goes to the wrong place.
    #[error("symbol {symbol} of block {block} goes to {placement:?}")]
    WrongPlace {
        /// Which block.
        block: BlockIndex,
        /// Which symbol.
        symbol: SymbolId,
        /// Where it goes.
        placement: Placement,
    },
    /// A block belongs elsewhere, or is cut in another way.
    #[error("block {block} was read at {read:?} and belongs to {placed:?}")]
    Misplaced {
        /// Which block.
        block: BlockIndex,
        /// Where the source read it.
        read: Option<Placed>,
        /// Where the other core says that it belongs.
        placed: Placed,
    },
    /// A block consists of other symbols than its source cut it into.
    #[error("block {block} was sent as {loaded:?} and is taken for {shape:?}")]
    WrongShape {
        /// Which block.
        block: BlockIndex,
        /// What the source sends.
        loaded: Option<BlockShape>,
        /// What the other core takes it for.
        shape: BlockShape,
    },
    /// A block is to be written without a good digest.
    #[error("block {block} is to be written and was not found right")]
    Unverified {
        /// Which block.
        block: BlockIndex,
    },
    /// An honest sender opened more blocks than it was granted.
    #[error("block {block} was refused for want of credit")]
    OverCredit {
        /// Which block.
        block: BlockIndex,
    },
    /// A block is called written and is not on the disk.
    #[error("block {block} is not written in full")]
    Unwritten {
        /// Which block.
        block: BlockIndex,
    },
    /// A byte was written again.
    #[error("a byte of block {position} of object {object} was written twice")]
    WrittenTwice {
        /// Which object.
        object: ObjectId,
        /// Which block of it.
        position: u32,
    },
    /// An object was called complete too early.
    #[error("{side:?} calls object {object} complete with {have} of {need} blocks written")]
    CompleteTooEarly {
        /// Who.
        side: Side,
        /// Which object.
        object: ObjectId,
        /// Blocks written.
        have: u32,
        /// Blocks that had to be.
        need: u32,
    },
    /// An object ended twice, or in a way that excludes its first end.
    #[error("{side:?} ended object {object} again, as {end}")]
    EndedTwice {
        /// Who.
        side: Side,
        /// Which object.
        object: ObjectId,
        /// How.
        end: &'static str,
    },
    /// A bound was broken.
    #[error("side {side:?}: {what} is {value}, the bound is {bound}")]
    Bound {
        /// Who.
        side: Side,
        /// Of what.
        what: &'static str,
        /// What it is.
        value: u64,
        /// What it may be.
        bound: u64,
    },
    /// Two counts that must agree do not.
    #[error("side {side:?}: {what} counted as {core}, really {truth}")]
    Count {
        /// Who.
        side: Side,
        /// What.
        what: &'static str,
        /// By the core.
        core: u64,
        /// By the world.
        truth: u64,
    },
    /// The session asks to be called again and again, and does nothing.
    #[error("side {side:?} wants to be called again at once, without end")]
    Spins {
        /// Who.
        side: Side,
    },
    /// More went to an address that was not validated than three times what came from there.
    #[error("side {side:?} sent {sent} where only {received} came from, to an unvalidated address")]
    Amplified {
        /// Who sent.
        side: Side,
        /// How much went there.
        sent: Bytes,
        /// How much came from there.
        received: Bytes,
    },
    /// Nothing useful happened although the link works.
    #[error("no progress for {idle:?}; {missing} of {total} were not delivered")]
    Stalled {
        /// For how long.
        idle: Duration,
        /// Bytes missing.
        missing: Bytes,
        /// Bytes of all objects.
        total: Bytes,
    },
    /// The run took too long.
    #[error("not complete after {0:?}")]
    TooSlow(Duration),
    /// Everything is done, and a side goes on sending.
    #[error("side {side:?} sent {packets} packets in the second minute after the end")]
    NotSilent {
        /// Who.
        side: Side,
        /// How many packets.
        packets: u64,
    },
    /// Everything is done, and something is still held.
    #[error("side {side:?} still holds {count} {what} at the end")]
    Held {
        /// Who.
        side: Side,
        /// What.
        what: &'static str,
        /// How many.
        count: u64,
    },
    /// The same seed gave two different runs.
    #[error("two runs of one seed differ")]
    NotRepeatable,
}

/// `Ok` when the bound holds.
pub(crate) fn bound(
    side: Side,
    what: &'static str,
    value: u64,
    bound: u64,
) -> Result<(), Violation> {
    if value <= bound { Ok(()) } else { Err(Violation::Bound { side, what, value, bound }) }
}

/// `Ok` when both counts agree.
pub(crate) fn same(side: Side, what: &'static str, core: u64, truth: u64) -> Result<(), Violation> {
    if core == truth { Ok(()) } else { Err(Violation::Count { side, what, core, truth }) }
}

/// `Ok` when nothing is held any more.
pub(crate) fn none_left(side: Side, what: &'static str, count: usize) -> Result<(), Violation> {
    let count = count as u64;
    if count == 0 { Ok(()) } else { Err(Violation::Held { side, what, count }) }
}
