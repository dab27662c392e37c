//! Seals: one signature for many records, of which any part can be passed on.
//!
//! An author signs the root of a hash tree over up to [`RUN_MAX`] of its records. Who passes on
//! some of them adds the hashes that stand for the others ([`Proof`]), at most eight for one record
//! alone, so a site can hold and relay just what is not covered yet. The tree is that of RFC 9162
//! section 2.1.1 (leaves and nodes hashed in different domains), with BLAKE3.
//!
//! Signing and verifying are the body's business: this room makes the [`Statement`] to sign.

use crate::version::{Author, Serial};
use core::ops::Range;

/// Records under one signature. A single one costs a signature of 64 bytes and the verification of
/// it, some 50 us; a run of 256 costs a 256th of that, and eight hashes for whatever is left of it.
pub const RUN_MAX: usize = 256;

/// A node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash(pub [u8; 32]);

/// The name of a folder on the wire: everything that is signed is signed for one folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FolderKey(pub [u8; 32]);

impl FolderKey {
    /// That of the folder with this id (spec: S-058).
    pub fn of_id(id: &str) -> Self {
        Self(blake3::derive_key("farhaul folder key v1", id.as_bytes()))
    }
}

/// What an author signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Of which folder.
    pub folder: FolderKey,
    /// Who.
    pub author: Author,
    /// The highest number that the author has given in this folder so far: who names a higher one
    /// in a context lies.
    pub head: Serial,
    /// Number of records, 1 to [`RUN_MAX`].
    pub count: u16,
    /// The root of their tree.
    pub root: Hash,
}

impl Statement {
    /// What it is signed for: that and a zero byte stand before its bytes in what is signed.
    pub const PURPOSE: &str = "farhaul sealed records v1";

    /// The bytes to sign, behind the purpose: a fixed form, so that no two statements have the same
    /// (spec: S-022).
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(32 + 32 + 8 + 8 + 2 + 32);
        bytes.extend_from_slice(&self.folder.0);
        bytes.extend_from_slice(self.author.site.as_bytes());
        bytes.extend_from_slice(&self.author.incarnation.get().to_be_bytes());
        bytes.extend_from_slice(&self.head.get().to_be_bytes());
        bytes.extend_from_slice(&self.count.to_be_bytes());
        bytes.extend_from_slice(&self.root.0);
        bytes
    }
}

/// The hashes that stand for the records of a run which are not passed on, in tree order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof(pub Vec<Hash>);

/// Why records and a proof make no tree; who sent them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// No record, or more than [`RUN_MAX`].
    #[error("a run of {count} records is refused")]
    Count {
        /// How many it claims.
        count: usize,
    },
    /// The numbers of the records do not ascend, or go beyond the run.
    #[error("records of a run are out of order")]
    Order,
    /// Hashes are missing, or left over.
    #[error("the proof has {found} hashes, not what its records need")]
    Proof {
        /// How many it has.
        found: usize,
    },
}

/// The leaf of an encoded record.
pub fn leaf(record: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("farhaul record leaf v1");
    hasher.update(record);
    Hash(*hasher.finalize().as_bytes())
}

fn node(left: Hash, right: Hash) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("farhaul record node v1");
    hasher.update(&left.0);
    hasher.update(&right.0);
    Hash(*hasher.finalize().as_bytes())
}

/// The root over all leaves of a run (spec: S-021).
///
/// # Errors
/// [`SealError::Count`].
pub fn root(leaves: &[Hash]) -> Result<Hash, SealError> {
    check_count(leaves.len())?;
    Ok(subroot(leaves))
}

fn subroot(leaves: &[Hash]) -> Hash {
    match leaves {
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(subroot(left), subroot(right))
        }
    }
}

/// What has to go with the records numbered `present` (ascending) so that their reader can compute
/// the root without the others.
///
/// # Errors
/// [`SealError::Count`] and [`SealError::Order`].
pub fn prove(leaves: &[Hash], present: &[u16]) -> Result<Proof, SealError> {
    check_count(leaves.len())?;
    check_order(present.iter().copied(), leaves.len())?;
    let mut hashes = Vec::new();
    prove_part(leaves, 0..leaves.len(), present, &mut hashes);
    Ok(Proof(hashes))
}

fn prove_part(leaves: &[Hash], part: Range<usize>, present: &[u16], hashes: &mut Vec<Hash>) {
    if present.is_empty() {
        hashes.push(subroot(&leaves[part]));
    } else if part.len() > 1 {
        let middle = part.start + split(part.len());
        let (left, right) = present.split_at(present.partition_point(|&n| usize::from(n) < middle));
        prove_part(leaves, part.start..middle, left, hashes);
        prove_part(leaves, middle..part.end, right, hashes);
    }
}

/// The root of a run of `count` records of which `present` are here, with their numbers ascending.
///
/// # Errors
/// [`SealError`] if they are no part of any run of that length.
pub fn root_of_part(count: u16, present: &[(u16, Hash)], proof: &Proof) -> Result<Hash, SealError> {
    let count = usize::from(count);
    check_count(count)?;
    check_order(present.iter().map(|&(n, _)| n), count)?;
    let wrong = SealError::Proof { found: proof.0.len() };
    let mut hashes = proof.0.iter().copied();
    let root = rebuild(0..count, present, &mut hashes).ok_or(wrong)?;
    if hashes.next().is_some() { Err(wrong) } else { Ok(root) }
}

fn rebuild(
    part: Range<usize>,
    present: &[(u16, Hash)],
    hashes: &mut impl Iterator<Item = Hash>,
) -> Option<Hash> {
    match present {
        [] => hashes.next(),
        [(_, leaf)] if part.len() == 1 => Some(*leaf),
        _ => {
            let middle = part.start + split(part.len());
            let at = present.partition_point(|&(n, _)| usize::from(n) < middle);
            let (left, right) = present.split_at(at);
            let left = rebuild(part.start..middle, left, hashes)?;
            Some(node(left, rebuild(middle..part.end, right, hashes)?))
        }
    }
}

/// What has to go with the records numbered `kept` (ascending, all of them among `present`) of a run
/// that is itself held in part only.
///
/// # Errors
/// [`SealError`] if what is held is no part of any run, or does not hold what is to be kept.
pub fn reduce(
    count: u16,
    present: &[(u16, Hash)],
    proof: &Proof,
    kept: &[u16],
) -> Result<Proof, SealError> {
    root_of_part(count, present, proof)?;
    check_order(kept.iter().copied(), usize::from(count))?;
    let holds = |number: &u16| present.binary_search_by_key(number, |&(held, _)| held).is_ok();
    if !kept.iter().all(holds) {
        return Err(SealError::Order);
    }
    let mut hashes = proof.0.iter().copied();
    let mut reduced = Vec::new();
    let done = reduce_part(0..usize::from(count), present, &mut hashes, kept, &mut reduced);
    done.map(|()| Proof(reduced)).ok_or(SealError::Proof { found: proof.0.len() })
}

fn reduce_part(
    part: Range<usize>,
    present: &[(u16, Hash)],
    hashes: &mut impl Iterator<Item = Hash>,
    kept: &[u16],
    reduced: &mut Vec<Hash>,
) -> Option<()> {
    if kept.is_empty() {
        reduced.push(rebuild(part, present, hashes)?);
    } else if part.len() > 1 {
        let middle = part.start + split(part.len());
        let below = |&(n, _): &(u16, Hash)| usize::from(n) < middle;
        let (left, right) = present.split_at(present.partition_point(below));
        let (kept_left, kept_right) =
            kept.split_at(kept.partition_point(|&n| usize::from(n) < middle));
        reduce_part(part.start..middle, left, hashes, kept_left, reduced)?;
        reduce_part(middle..part.end, right, hashes, kept_right, reduced)?;
    }
    Some(())
}

/// Where a tree of `len` leaves (two or more) divides: after the largest power of two below.
fn split(len: usize) -> usize {
    1 << (len - 1).ilog2()
}

fn check_count(count: usize) -> Result<(), SealError> {
    if (1..=RUN_MAX).contains(&count) { Ok(()) } else { Err(SealError::Count { count }) }
}

fn check_order(numbers: impl Iterator<Item = u16>, count: usize) -> Result<(), SealError> {
    let mut next = 0;
    for number in numbers.map(usize::from) {
        if number < next || number >= count {
            return Err(SealError::Order);
        }
        next = number + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|n| leaf(&n.to_be_bytes())).collect()
    }

    #[test]
    fn an_empty_or_too_long_run_is_refused() {
        assert_eq!(root(&[]), Err(SealError::Count { count: 0 }));
        assert_eq!(root(&leaves(257)), Err(SealError::Count { count: 257 }));
        assert_eq!(root_of_part(0, &[], &Proof::default()), Err(SealError::Count { count: 0 }));
    }

    #[test]
    fn one_record_of_a_full_run_needs_eight_hashes() {
        let leaves = leaves(RUN_MAX);
        assert_eq!(prove(&leaves, &[77]).map(|proof| proof.0.len()), Ok(8));
    }

    #[test]
    fn records_twice_out_of_order_or_beyond_the_run_are_refused() {
        let leaves = leaves(4);
        let part = |numbers: [u16; 2]| {
            let present = numbers.map(|n| (n, leaves[0]));
            root_of_part(4, &present, &Proof::default())
        };
        for numbers in [[1, 1], [2, 1], [3, 4]] {
            assert_eq!(part(numbers), Err(SealError::Order));
        }
    }

    #[test]
    fn a_node_is_not_taken_for_a_record() {
        let two = leaves(2);
        let whole = root(&two).expect("two leaves");
        assert_ne!(leaf(&[two[0].0, two[1].0].concat()), whole);
    }

    #[test]
    fn statements_differ_in_every_field() {
        let author = Author {
            site: farhaul_proto::ids::SiteId([1; 32]),
            incarnation: crate::version::Incarnation::new(2),
        };
        let base = Statement {
            folder: FolderKey([3; 32]),
            author,
            head: Serial::FIRST,
            count: 5,
            root: Hash([6; 32]),
        };
        let mut others = vec![base.clone(); 5];
        others[0].folder.0[31] ^= 1;
        others[1].author.incarnation = crate::version::Incarnation::new(3);
        others[2].head = Serial::new(2).expect("not 0");
        others[3].count = 6;
        others[4].root.0[0] ^= 1;
        for other in others {
            assert_ne!(other.to_bytes(), base.to_bytes());
            assert_eq!(other.to_bytes().len(), base.to_bytes().len());
        }
    }

    proptest! {
        #[test]
        fn any_part_of_a_run_proves_itself_and_nothing_else(
            is_present in proptest::collection::vec(any::<bool>(), 1..=RUN_MAX),
            forged in any::<prop::sample::Index>(),
        ) {
            let leaves = leaves(is_present.len());
            let count = u16::try_from(leaves.len()).expect("a run");
            let numbers: Vec<u16> =
                (0..count).filter(|&n| is_present[usize::from(n)]).collect();
            let mut present: Vec<(u16, Hash)> =
                numbers.iter().map(|&n| (n, leaves[usize::from(n)])).collect();
            let proof = prove(&leaves, &numbers).expect("ascending");
            let whole = root(&leaves).expect("a run");
            prop_assert_eq!(root_of_part(count, &present, &proof), Ok(whole));
            let cut = Proof(proof.0.iter().skip(1).copied().collect());
            if !proof.0.is_empty() {
                prop_assert!(root_of_part(count, &present, &cut).is_err());
            }
            if !present.is_empty() {
                let at = forged.index(present.len());
                present[at].1 = leaf(b"forged");
                prop_assert_ne!(root_of_part(count, &present, &proof), Ok(whole));
            }
        }

        #[test]
        fn no_proof_makes_it_panic(
            count in any::<u16>(),
            numbers in proptest::collection::vec(any::<u16>(), 0..20),
            hashes in 0_usize..20,
        ) {
            let present: Vec<_> = numbers.iter().map(|&n| (n, leaf(b"x"))).collect();
            let _ = root_of_part(count, &present, &Proof(vec![leaf(b"y"); hashes]));
        }
    }

    proptest! {
        #[test]
        fn a_part_of_a_part_proves_the_same_root(
            count in 1..=RUN_MAX,
            held in proptest::collection::btree_set(0..256_u16, 1..40),
            kept in any::<u64>(),
        ) {
            let leaves = leaves(count);
            let small = u16::try_from(count).expect("a run");
            let held: Vec<u16> = held.into_iter().filter(|&n| n < small).collect();
            prop_assume!(!held.is_empty());
            let proof = prove(&leaves, &held).expect("part");
            let present: Vec<_> = held.iter().map(|&n| (n, leaves[usize::from(n)])).collect();
            let bit = |n: usize| kept >> (n % 64) & 1 == 1;
            let kept: Vec<u16> =
                held.iter().enumerate().filter(|&(at, _)| bit(at)).map(|(_, &n)| n).collect();
            let reduced = reduce(small, &present, &proof, &kept).expect("part of it");
            prop_assert_eq!(prove(&leaves, &kept).expect("part"), reduced);
        }
    }
}
