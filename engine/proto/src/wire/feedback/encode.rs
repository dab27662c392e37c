//! Writing a report so that it fits: what does not fit is left unsaid, oldest first.
//!
//! Nothing said is ever wrong because something else was left out; see `PROTOCOL.md` W-043.

use super::{BlockDeficit, BlockRange, DelayMark, Feedback, TrainReport, ranges};
use crate::ids::{BlockIndex, PacketNumber};
use crate::path::proof::Proof;
use crate::wire::varint;

/// The least room for a report: every single field at its longest, and no list items.
pub const ENCODED_LEN_MIN: usize = 128;

/// Fields that are always written, at their longest: form, receipt and eleven integers.
const HEAD_LEN_MAX: usize = 1 + 2 + 11 * 8;
/// The counts of the four lists, at their longest.
const COUNTS_LEN_MAX: usize = 1 + 1 + 2 + 2;
const _: () = assert!(HEAD_LEN_MAX + COUNTS_LEN_MAX + ranges::LEN_MIN <= ENCODED_LEN_MIN);

impl Feedback {
    /// Appends the report to `out` in at most `max_len` bytes (`spec: W-043`).
    ///
    /// When it does not fit, delays and trains go first into the room, then block lists take at
    /// most half of what is left unless the ranges need less, then as many of the newest ranges
    /// as fit; `covered_from` is raised to what the ranges still cover. Ranges or bitmap is
    /// chosen by length.
    ///
    /// # Panics
    /// When `max_len` is below [`ENCODED_LEN_MIN`], or when the report breaks [`Self::validate`],
    /// which only debug builds check in full.
    pub fn encode_into(&self, out: &mut Vec<u8>, max_len: usize) {
        self.encode_with(out, max_len, |_| self.receipt);
    }

    /// The same with the receipt that belongs to the value of `covered_from` that is written.
    ///
    /// # Panics
    /// As [`Self::encode_into`].
    pub fn encode_with(
        &self,
        out: &mut Vec<u8>,
        max_len: usize,
        receipt: impl FnOnce(PacketNumber) -> Proof,
    ) {
        assert!(max_len >= ENCODED_LEN_MIN, "no room for a report");
        debug_assert_eq!(self.validate(), Ok(()));
        let start = out.len();
        out.extend([0; 3]);
        self.encode_head(out);
        let mut room = Room(max_len - (out.len() - start) - COUNTS_LEN_MAX - ranges::LEN_MIN);
        put_list(out, room.fit(self.delay_steps()));
        put_list(out, room.fit(self.train_steps()));
        let ranges_len = ranges::plan(self.covered_from, &self.ranges, max_len).len;
        let mut block_room = Room((room.0 / 2).max(room.0.saturating_sub(ranges_len)));
        let deficits = block_room.fit(deficit_steps(self.complete_below, &self.deficits));
        put_list(out, block_room.fit(complete_steps(self.complete_below, &self.complete)));
        put_list(out, deficits);
        let left = max_len - (out.len() - start);
        let plan = ranges::plan(self.covered_from, &self.ranges, left);
        let [high, low] = receipt(plan.covered_from()).get().to_be_bytes();
        out[start..start + 3].copy_from_slice(&[plan.form.value(), high, low]);
        ranges::encode(out, &self.ranges, &plan);
    }

    fn encode_head(&self, out: &mut Vec<u8>) {
        let head = [
            self.largest.get(),
            u64::from(self.largest_age.get()),
            self.received_packets,
            self.received_bytes.get(),
            self.duplicates,
            self.invalid,
            self.receiver_drops,
            u64::from(self.complete_below.get()),
            u64::from(self.open_blocks_limit),
            self.backlog.get(),
            u64::from(self.decoding.get()),
        ];
        head.into_iter().for_each(|value| varint::put(out, value));
    }

    fn delay_steps(&self) -> impl Iterator<Item = [u64; 2]> + Clone {
        self.delays.iter().map(|&DelayMark { number, age }| {
            [distance(self.largest, number), u64::from(age.get())]
        })
    }

    fn train_steps(&self) -> impl Iterator<Item = [u64; 4]> + Clone {
        self.trains.iter().map(|&TrainReport { first, last, gap_sum, gaps }| {
            let place = [distance(self.largest, last), distance(last, first)];
            [place[0], place[1], u64::from(gap_sum.get()), u64::from(gaps)]
        })
    }
}

/// How far `lower` lies below `upper`.
const fn distance(upper: PacketNumber, lower: PacketNumber) -> u64 {
    upper.get() - lower.get()
}

fn complete_steps(
    below: BlockIndex,
    complete: &[BlockRange],
) -> impl Iterator<Item = [u64; 2]> + Clone {
    let start = u64::from(below.get()) + 1;
    complete.iter().scan(start, |floor, range| {
        let (first, last) = (u64::from(range.first.get()), u64::from(range.last.get()));
        let steps = [first - *floor, last - first];
        *floor = last + 2;
        Some(steps)
    })
}

fn deficit_steps(
    below: BlockIndex,
    deficits: &[BlockDeficit],
) -> impl Iterator<Item = [u64; 2]> + Clone {
    deficits.iter().scan(u64::from(below.get()), |floor, deficit| {
        let block = u64::from(deficit.block.get());
        let steps = [block - *floor, u64::from(deficit.missing)];
        *floor = block + 1;
        Some(steps)
    })
}

/// Bytes that are still free.
struct Room(usize);

impl Room {
    /// As many items from the front of the list as fit; their room is taken.
    fn fit<const N: usize, T: Iterator<Item = [u64; N]> + Clone>(
        &mut self,
        items: T,
    ) -> (u64, impl Iterator<Item = [u64; N]> + use<N, T>) {
        let mut count = 0;
        for item in items.clone() {
            let len = item.iter().map(|&value| varint::len(value)).sum();
            let Some(left) = self.0.checked_sub(len) else { break };
            self.0 = left;
            count += 1;
        }
        (count as u64, items.take(count))
    }
}

fn put_list<const N: usize>(
    out: &mut Vec<u8>,
    (count, items): (u64, impl Iterator<Item = [u64; N]>),
) {
    varint::put(out, count);
    items.flatten().for_each(|value| varint::put(out, value));
}
