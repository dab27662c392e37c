//! Reports, honest and otherwise (W-040 to W-043, W-047).

use crate::lane::Heard;
use std::collections::BTreeMap;

/// Appends an integer in its shortest form (RFC 9000 section 16).
pub fn varint(out: &mut Vec<u8>, value: u64) {
    let len: u8 = match value {
        0..0x40 => 0,
        0x40..0x4000 => 1,
        0x4000..0x4000_0000 => 2,
        _ => 3,
    };
    let bytes = value.to_be_bytes();
    let start = out.len();
    out.extend(&bytes[8 - (1 << len)..]);
    out[start] |= len << 6;
}

/// Takes an integer off the front.
pub fn take_varint(input: &mut &[u8]) -> Option<u64> {
    let first = *input.first()?;
    let (bytes, rest) = input.split_at_checked(1 << (first >> 6))?;
    *input = rest;
    let value = u64::from(first & 0x3f);
    Some(bytes[1..].iter().fold(value, |value, &byte| value << 8 | u64::from(byte)))
}

/// A report; every field may be nonsense.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// 0 nothing, 1 ranges; 2 would be a bitmap.
    pub form: u8,
    /// The xor of the proofs.
    pub receipt: u16,
    /// The highest number.
    pub largest: u64,
    /// Its age, in microseconds.
    pub age: u64,
    /// Packets and bytes received, duplicates, invalid, dropped.
    pub counters: [u64; 5],
    /// Blocks below this are complete.
    pub complete_below: u64,
    /// Open blocks that are granted.
    pub limit: u64,
    /// Bytes before the disk.
    pub backlog: u64,
    /// Microseconds that the decoder is behind.
    pub decoding: u64,
    /// When it was sent, in microseconds by its own clock.
    pub clock: u64,
    /// Delays, as written: largest - number, age in microseconds.
    pub delays: Vec<(u64, u64)>,
    /// Single complete blocks, as written: first - floor, last - first.
    pub complete: Vec<(u64, u64)>,
    /// Deficits, as written: block - floor, missing symbols.
    pub deficits: Vec<(u64, u64)>,
    /// Numbers spoken about.
    pub span: u64,
    /// What arrived, newest first.
    pub ranges: Vec<(u64, u64)>,
}

impl Report {
    /// The payload of a packet.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![self.form];
        out.extend(self.receipt.to_be_bytes());
        varint(&mut out, self.largest);
        varint(&mut out, self.age);
        self.counters.iter().for_each(|&counter| varint(&mut out, counter));
        for field in [self.complete_below, self.limit, self.backlog, self.decoding, self.clock] {
            varint(&mut out, field);
        }
        list(&mut out, &self.delays);
        // Trains.
        varint(&mut out, 0);
        list(&mut out, &self.complete);
        list(&mut out, &self.deficits);
        if self.form == 0 {
            return out;
        }
        varint(&mut out, self.span);
        varint(&mut out, (self.ranges.len() as u64).saturating_sub(1));
        let mut above = None;
        for &(first, last) in &self.ranges {
            if let Some(above) = above.replace(first) {
                varint(&mut out, u64::wrapping_sub(above, last + 2) & (u64::MAX >> 2));
            }
            varint(&mut out, last - first);
        }
        out
    }
}

fn list(out: &mut Vec<u8>, pairs: &[(u64, u64)]) {
    varint(out, pairs.len() as u64);
    for &(a, b) in pairs {
        varint(out, a);
        varint(out, b);
    }
}

/// What the victim says about our packets: its largest number and how many it received.
pub fn read(payload: &[u8]) -> Option<(u64, u64)> {
    let mut input = payload.get(3..)?;
    let largest = take_varint(&mut input)?;
    let _age = take_varint(&mut input)?;
    Some((largest, take_varint(&mut input)?))
}

/// Everything that arrived, to be told truly.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// Proofs by number.
    pub arrived: BTreeMap<u64, u16>,
    bytes: u64,
}

impl Notes {
    /// A packet came.
    pub fn note(&mut self, heard: &Heard) {
        if self.arrived.insert(heard.number, heard.proof).is_none() {
            self.bytes += heard.bytes;
        }
    }

    /// The truth, about the last thousand numbers or so.
    pub fn report(&self) -> Report {
        let Some((&largest, _)) = self.arrived.last_key_value() else {
            return Report { limit: 64, ..Report::default() };
        };
        let from = (largest.saturating_sub(1024)) / 64 * 64;
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        let mut receipt = 0;
        for (&number, proof) in self.arrived.range(from..).rev() {
            receipt ^= proof;
            match ranges.last_mut() {
                Some((first, _)) if *first == number + 1 => *first = number,
                _ => ranges.push((number, number)),
            }
        }
        let counters = [self.arrived.len() as u64, self.bytes, 0, 0, 0];
        let span = largest - from;
        Report { form: 1, receipt, largest, counters, limit: 64, span, ranges, ..Report::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_as_in_rfc_9000() {
        let mut out = Vec::new();
        [37, 15_293, 494_878_333].into_iter().for_each(|value| varint(&mut out, value));
        assert_eq!(out, [0x25, 0x7b, 0xbd, 0x9d, 0x7f, 0x3e, 0x7d]);
        let mut input = &out[..];
        assert_eq!(take_varint(&mut input), Some(37));
        assert_eq!(take_varint(&mut input), Some(15_293));
        assert_eq!(take_varint(&mut input), Some(494_878_333));
    }

    /// The example of `PROTOCOL.md`, without its bitmap of blocks.
    #[test]
    fn a_report_has_the_documented_bytes() {
        let report = Report {
            form: 1,
            receipt: 0xbeef,
            largest: 1000,
            counters: [998, 0, 0, 0, 0],
            complete_below: 3,
            limit: 64,
            clock: 77,
            complete: vec![(1, 1), (0, 0)],
            deficits: vec![(0, 2), (3, 1)],
            span: 1000,
            ranges: vec![(500, 1000), (0, 497)],
            ..Report::default()
        };
        let expected = [
            1, 0xbe, 0xef, 0x43, 0xe8, 0, 0x43, 0xe6, 0, 0, 0, 0, 3, 0x40, 0x40, 0, 0, 0x40, 77, 0,
            0, 2, 1, 1, 0, 0, 2, 0, 2, 3, 1, 0x43, 0xe8, 1, 0x41, 0xf4, 1, 0x41, 0xf1,
        ];
        assert_eq!(report.encode(), expected);
    }
}
