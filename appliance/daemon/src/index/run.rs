//! Runs: what an author signed, with as much of its tree as this site was sent.
//!
//! A site that made a run, or was sent all of it, has every leaf; one that was sent part of it has
//! the leaves of that part and the hashes that stand for the rest. From either, the proof for any
//! smaller part follows, so whatever is not covered yet can be passed on.

use super::IndexError;
use super::codec::{Reader, Table, Writer, open};
use farhaul_proto::ids::SiteId;
use farhaul_sync::seal::{
    FolderKey, Hash, Proof, RUN_MAX, SealError, Statement, reduce, root_of_part,
};
use farhaul_sync::version::{Author, Incarnation, Serial};

/// An Ed25519 signature over [`Statement::to_bytes`]. The index does not verify it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(pub [u8; 64]);

/// A signed run and what is known of its tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What was signed.
    pub statement: Statement,
    /// By its author.
    pub signature: Signature,
    /// The leaves that are known, by position, ascending.
    pub leaves: Vec<(u16, Hash)>,
    /// What stands for the others.
    pub proof: Proof,
}

impl Run {
    /// That leaves and proof make the root that was signed.
    ///
    /// # Errors
    /// [`SealError`] where they make no tree, [`IndexError::NotOfRun`] where they make another.
    pub fn check(&self) -> Result<(), IndexError> {
        let found = root_of_part(self.statement.count, &self.leaves, &self.proof)?;
        if found == self.statement.root { Ok(()) } else { Err(IndexError::NotOfRun) }
    }

    /// The leaf at `position`, if it is known.
    pub fn leaf(&self, position: u16) -> Option<Hash> {
        let at = self.leaves.binary_search_by_key(&position, |&(at, _)| at).ok()?;
        Some(self.leaves[at].1)
    }

    /// What has to go with the records at `positions` (ascending, each known), so that their reader
    /// can compute the root.
    ///
    /// # Errors
    /// [`SealError`] where a position is not known or they do not ascend.
    pub fn prove(&self, positions: &[u16]) -> Result<Proof, SealError> {
        reduce(self.statement.count, &self.leaves, &self.proof, positions)
    }

    pub(super) fn encode(&self, id: RunId) -> Result<Vec<u8>, IndexError> {
        self.check()?;
        let mut writer = Writer::new();
        write_statement(&mut writer, &self.statement, &self.signature);
        writer.u64(self.leaves.len() as u64);
        for (position, leaf) in &self.leaves {
            writer.u64((*position).into()).raw(&leaf.0);
        }
        for hash in &self.proof.0 {
            writer.raw(&hash.0);
        }
        Ok(writer.seal(Table::Runs, &id.0.to_be_bytes()))
    }

    pub(super) fn decode(id: RunId, value: &[u8], folder: FolderKey) -> Result<Self, IndexError> {
        let read = || {
            let mut reader = Reader::new(open(Table::Runs, &id.0.to_be_bytes(), value)?);
            let (statement, signature) = read_statement(&mut reader, folder)?;
            let count = usize::try_from(reader.u64()?).ok().filter(|&count| count <= RUN_MAX)?;
            let leaves = (0..count).map(|_| Some((reader.u16()?, Hash(reader.array()?))));
            let leaves = leaves.collect::<Option<Vec<_>>>()?;
            let (hashes, []) = reader.rest().as_chunks() else { return None };
            let proof = Proof(hashes.iter().copied().map(Hash).collect());
            Some(Self { statement, signature, leaves, proof })
        };
        read().ok_or_else(|| IndexError::damaged("a run"))
    }
}

/// The row of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub(super) i64);

/// The folder is the index's own and not written.
pub(super) fn write_statement(writer: &mut Writer, statement: &Statement, signature: &Signature) {
    let Statement { folder: _, author, head, count, root } = statement;
    writer.raw(author.site.as_bytes()).u64(author.incarnation.get());
    writer.u64(head.get()).u64((*count).into()).raw(&root.0).raw(&signature.0);
}

pub(super) fn read_statement(
    reader: &mut Reader<'_>,
    folder: FolderKey,
) -> Option<(Statement, Signature)> {
    let site = SiteId(reader.array()?);
    let author = Author { site, incarnation: Incarnation::new(reader.u64()?) };
    let head = Serial::new(reader.u64()?)?;
    let (count, root) = (reader.u16()?, Hash(reader.array()?));
    Some((Statement { folder, author, head, count, root }, Signature(reader.array()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_sync::seal::{leaf, prove};
    use proptest::prelude::*;

    /// A run of `count` records of which this site was sent those at `present`.
    fn run(count: u16, present: &[u16]) -> (Vec<Hash>, Run) {
        let leaves: Vec<Hash> = (0..count).map(|n| leaf(&n.to_be_bytes())).collect();
        let author = Author { site: SiteId([1; 32]), incarnation: Incarnation::new(2) };
        let root = farhaul_sync::seal::root(&leaves).expect("1 to 256");
        let folder = FolderKey([3; 32]);
        let statement = Statement { folder, author, head: Serial::FIRST, count, root };
        let proof = prove(&leaves, present).expect("of the run");
        let known = present.iter().map(|&n| (n, leaves[usize::from(n)])).collect();
        (leaves, Run { statement, signature: Signature([4; 64]), leaves: known, proof })
    }

    fn part(count: u16, picks: &[bool]) -> Vec<u16> {
        (0..count).filter(|&n| picks[usize::from(n)]).collect()
    }

    proptest! {
        #[test]
        fn any_part_of_what_was_sent_can_be_passed_on(
            count in 1_u16..=256,
            sent in proptest::collection::vec(any::<bool>(), 256),
            picks in proptest::collection::vec(any::<bool>(), 256),
        ) {
            let sent = part(count, &sent);
            let (leaves, run) = run(count, &sent);
            prop_assert!(run.check().is_ok());
            let wanted: Vec<u16> =
                part(count, &picks).into_iter().filter(|n| sent.contains(n)).collect();
            prop_assert_eq!(run.prove(&wanted), prove(&leaves, &wanted));
            let id = RunId(7);
            let value = run.encode(id).expect("a run");
            let read = Run::decode(id, &value, run.statement.folder).expect("as written");
            prop_assert_eq!(read, run);
        }
    }

    #[test]
    fn what_was_not_sent_cannot_be_proved() {
        let (_, run) = run(9, &[2, 5]);
        for positions in [&[3][..], &[5, 2], &[2, 2], &[9]] {
            assert_eq!(run.prove(positions), Err(SealError::Order));
        }
    }

    #[test]
    fn a_run_that_was_not_signed_is_not_stored() {
        let (_, mut run) = run(9, &[2, 5]);
        run.proof.0[0].0[0] ^= 1;
        assert!(matches!(run.encode(RunId(1)), Err(IndexError::NotOfRun)));
        run.proof.0.pop();
        assert!(matches!(run.encode(RunId(1)), Err(IndexError::Run(_))));
    }
}
