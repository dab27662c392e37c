//! The order in which records are compared, and ranges of it.

use crate::seal::Hash;
use farhaul_proto::path_name::RelPath;
use minicbor::{Decode, Encode};

/// Bits of a place that name its bucket.
pub(super) const BUCKET_BITS: u8 = 16;
/// Bits of a place that ranges can tell apart.
pub(super) const BITS_MAX: u8 = 64;

/// Where a record stands: two bytes of a hash of its directory, then its leaf. So what is in one
/// directory lies together, on disk and in what differs, and many directories are spread evenly
/// (spec: S-121).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub [u8; 32]);

impl Place {
    /// The place of a record in the directory `parent` (its path's bytes; none for the top).
    pub fn new(parent: &[u8], leaf: Hash) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("farhaul reconcile directory v1");
        hasher.update(parent);
        let mut place = [0; 32];
        place[..2].copy_from_slice(&hasher.finalize().as_bytes()[..2]);
        place[2..].copy_from_slice(&leaf.0[..30]);
        Self(place)
    }

    /// The place of a record of a path.
    pub fn of(path: &RelPath, leaf: Hash) -> Self {
        let parent = path.parent();
        Self::new(parent.as_ref().map_or(b"", |parent| parent.as_bytes()), leaf)
    }

    /// What is summed up and kept together.
    pub const fn bucket(self) -> u16 {
        u16::from_be_bytes([self.0[0], self.0[1]])
    }

    /// Its first 64 bits.
    pub(super) fn position(self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

/// All places that begin with certain bits (spec: S-121).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Range {
    /// How many.
    #[n(0)]
    bits: u8,
    /// Their value.
    #[n(1)]
    at: u64,
}

impl Range {
    /// Everything.
    pub const ALL: Self = Self { bits: 0, at: 0 };

    /// The bucket of that number.
    pub fn bucket(bucket: u16) -> Self {
        Self { bits: BUCKET_BITS, at: bucket.into() }
    }

    /// Whether its fields fit each other.
    pub(super) const fn is_valid(self) -> bool {
        self.bits <= BITS_MAX
            && self.bits.is_multiple_of(4)
            && (self.bits == 64 || self.at >> self.bits == 0)
    }

    /// How many bits all of its places begin with.
    pub(super) const fn bits(self) -> u8 {
        self.bits
    }

    /// Where it begins.
    pub(super) const fn first(self) -> u64 {
        if self.bits == 0 { 0 } else { self.at << (BITS_MAX - self.bits) }
    }

    /// Where it ends.
    pub(super) const fn last(self) -> u64 {
        if self.bits == BITS_MAX { self.at } else { self.first() | (u64::MAX >> self.bits) }
    }

    /// The first and the last place that it may have.
    pub fn bounds(self) -> (Place, Place) {
        let (mut first, mut last) = ([0; 32], [0xff; 32]);
        first[..8].copy_from_slice(&self.first().to_be_bytes());
        last[..8].copy_from_slice(&self.last().to_be_bytes());
        (Place(first), Place(last))
    }

    /// The first and the last bucket that it touches.
    pub(super) fn buckets(self) -> (u16, u16) {
        let (first, last) = self.bounds();
        (first.bucket(), last.bucket())
    }

    /// Whether it can be divided into 2^`step` children: none of them both holds buckets and lies
    /// in one.
    pub(super) const fn divides_by(self, step: u8) -> bool {
        let end = self.bits + step;
        end <= BITS_MAX && (self.bits >= BUCKET_BITS || end <= BUCKET_BITS)
    }

    /// The `n`th of its 2^`step` children.
    pub(super) const fn child(self, step: u8, n: u64) -> Self {
        Self { bits: self.bits + step, at: self.at << step | n }
    }

    /// Which of its 2^`step` children (256 at most) holds a position.
    pub(super) fn child_of(self, step: u8, position: u64) -> usize {
        let bits = position >> (BITS_MAX - self.bits - step) & ((1 << step) - 1);
        let [.., low] = bits.to_be_bytes();
        low.into()
    }

    /// Whether it is one of the 2^`step` children of `parent`.
    pub(super) fn is_child_of(self, parent: Self, step: u8) -> bool {
        self.bits == parent.bits + step && self.at >> step == parent.at
    }
}
