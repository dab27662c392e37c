//! What a power cut can leave on a disk: everything before the last flush, and of what was written
//! after it any part, each write whole, torn between sectors, or not at all.

use crate::disk::{Entry, Pages};

/// What a disk writes at once, or not at all.
const SECTOR: usize = 512;

/// Where a cut is follows from another sequence than what it leaves.
const WHERE: u64 = 0x5eed_0000_0000_0000;
/// How many entries behind a mark a cut near it is.
const BEHIND: usize = 3;

/// Numbers that follow from a seed (splitmix64).
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// A sequence of its own for each pair.
    pub const fn new(seed: u64, stream: u64) -> Self {
        Self(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95))
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 where there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let below = self.draw().checked_rem(end as u64).unwrap_or(0);
        usize::try_from(below).unwrap_or(0)
    }
}

/// A point at which the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Names it in a recording: the image follows from it and the seed.
    pub number: u64,
    /// How many entries of the log came before.
    pub at: usize,
    /// How many of those came before the last flush.
    pub settled: usize,
}

/// The cuts `numbers` of a log from the entry `from` on, by what is settled: so that one walk through
/// the log makes them all. One in four is just behind one of `marks`, where something was said: what
/// is said too early is missing there. A disk that `lies` settles nothing by a flush.
pub fn cuts(
    (log, marks): (&[Entry], &[usize]),
    from: usize,
    seed: u64,
    numbers: &[u64],
    lies: bool,
) -> Vec<Cut> {
    let marks: Vec<usize> = marks.iter().copied().filter(|mark| *mark >= from).collect();
    let mut cuts: Vec<Cut> = numbers
        .iter()
        .map(|&number| {
            let mut seeded = Seeded::new(seed ^ WHERE, number);
            let mark = marks.get(seeded.below(4 * marks.len()));
            let at = match mark {
                Some(&mark) => mark + seeded.below(BEHIND),
                None => from + seeded.below(log.len() - from + 1),
            };
            let at = at.min(log.len());
            let flush = log[..at].iter().rposition(|entry| *entry == Entry::Flush);
            let settled = if lies { from.min(at) } else { flush.map_or(0, |at| at + 1) };
            Cut { number, at, settled }
        })
        .collect();
    cuts.sort_by_key(|cut| (cut.settled, cut.at, cut.number));
    cuts
}

/// Makes `entries` part of what is on the disk.
pub fn settle(pages: &mut Pages, entries: &[Entry]) {
    for entry in entries {
        if let Entry::Write { offset, bytes } = entry {
            pages.write(*offset, bytes);
        }
    }
}

/// What the cut leaves, on top of what was settled.
pub fn cut(settled: &Pages, later: &[Entry], seed: u64, number: u64) -> Pages {
    let mut seeded = Seeded::new(seed, number);
    let writes: Vec<_> = later
        .iter()
        .filter_map(|entry| match entry {
            Entry::Write { offset, bytes } => Some((*offset, bytes)),
            Entry::Flush => None,
        })
        .collect();
    let mode = seeded.below(8);
    let chosen = seeded.below(writes.len());
    let mut pages = settled.clone();
    for (nth, (offset, bytes)) in writes.into_iter().enumerate() {
        let is_there = match mode {
            0 => false,
            1 => true,
            2 => nth <= chosen,
            3 => nth == chosen,
            4 => nth != chosen,
            _ => seeded.below(2) == 0,
        };
        if is_there {
            write_torn(&mut pages, offset, bytes, &mut seeded);
        }
    }
    pages
}

/// Writes all of it, or in one of four cases some of its sectors.
fn write_torn(pages: &mut Pages, offset: u64, bytes: &[u8], seeded: &mut Seeded) {
    let sectors = bytes.len().div_ceil(SECTOR);
    if sectors < 2 || seeded.below(4) != 0 {
        return pages.write(offset, bytes);
    }
    let (mode, at) = (seeded.below(3), seeded.below(sectors));
    for (nth, sector) in bytes.chunks(SECTOR).enumerate() {
        let is_there = match mode {
            0 => nth < at,
            1 => nth >= at,
            _ => seeded.below(2) == 0,
        };
        if is_there {
            pages.write(offset + (nth * SECTOR) as u64, sector);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::PAGE;
    use std::collections::BTreeSet;

    fn write(page: u64, byte: u8) -> Entry {
        Entry::Write { offset: page * PAGE as u64, bytes: vec![byte; PAGE].into() }
    }

    fn first_bytes(pages: &Pages) -> Vec<u8> {
        (0..pages.len() / PAGE as u64)
            .map(|page| {
                let mut byte = [0];
                pages.read(page * PAGE as u64, &mut byte);
                byte[0]
            })
            .collect()
    }

    #[test]
    fn what_was_flushed_is_there_and_what_was_not_may_be() {
        let log = [write(0, 1), Entry::Flush, write(1, 2), write(2, 3)];
        let numbers: Vec<u64> = (0..400).collect();
        let mut left = BTreeSet::new();
        for at in cuts((&log, &[]), 2, 7, &numbers, false) {
            assert_eq!(at.settled, 2);
            let mut pages = Pages::new(3 * PAGE as u64);
            settle(&mut pages, &log[..at.settled]);
            let image = cut(&pages, &log[at.settled..at.at], 7, at.number);
            left.insert(first_bytes(&image));
        }
        let both = [0, 2].into_iter().flat_map(|b| [0, 3].map(|c| vec![1, b, c]));
        assert_eq!(left, both.collect());
    }

    #[test]
    fn some_cuts_are_just_behind_a_mark_and_none_before_the_beginning() {
        let log: Vec<Entry> = (0..200).map(|page| write(page, 1)).collect();
        let numbers: Vec<u64> = (0..400).collect();
        let cuts = cuts((&log, &[10, 100]), 50, 7, &numbers, false);
        let near = cuts.iter().filter(|cut| (100..103).contains(&cut.at)).count();
        assert!((80..135).contains(&near), "{near} of 400");
        assert!(cuts.iter().all(|cut| (50..=200).contains(&cut.at)));
    }

    #[test]
    fn writes_are_torn_between_sectors() {
        let mut is_torn = false;
        for number in 0..200 {
            let image = cut(&Pages::new(PAGE as u64), &[write(0, 5)], 3, number);
            let mut bytes = vec![0; PAGE];
            image.read(0, &mut bytes);
            for sector in bytes.chunks(SECTOR) {
                assert!(sector.iter().all(|&byte| byte == sector[0]));
            }
            is_torn |= bytes[..SECTOR] != bytes[PAGE - SECTOR..];
        }
        assert!(is_torn);
    }

    #[test]
    fn a_cut_is_the_same_each_time() {
        let log = [write(0, 1), write(1, 2), Entry::Flush, write(2, 3), write(0, 4)];
        let cuts = |numbers: &[u64]| cuts((&log, &[2, 3]), 0, 9, numbers, false);
        assert_eq!(
            cuts(&[5]),
            cuts(&[1, 5, 9]).into_iter().filter(|c| c.number == 5).collect::<Vec<_>>()
        );
        let image = || first_bytes(&cut(&Pages::new(3 * PAGE as u64), &log, 9, 5));
        assert_eq!(image(), image());
    }
}
