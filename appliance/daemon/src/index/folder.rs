//! The index as the brain sees it: [`farhaul_sync::folder::Index`] within one transaction.

use super::key::Key;
use super::{IndexError, Run, RunId, Seq, Signature, Transaction};
use farhaul_proto::path_name::RelPath;
use farhaul_proto::ranges::RangeSet;
use farhaul_sync::folder::{
    Admitted, Arrival, Aside, Brake, CopyOf, Index, Item, KeptRun, Look, Placed, RunRef, Tombstone,
};
use farhaul_sync::message::SealedRun;
use farhaul_sync::seal::Proof;
use farhaul_sync::version::{Author, Dot, ManifestId, Serial};

fn name_of(id: RunId) -> RunRef {
    RunRef(id.0.unsigned_abs())
}

fn id_of(run: RunRef) -> Result<RunId, IndexError> {
    i64::try_from(run.0).map(RunId).map_err(|_| IndexError::damaged("the name of a run"))
}

impl Transaction<'_> {
    fn key(&self, author: Author) -> Result<[u8; 32], IndexError> {
        let key = self.read().key_of(author.site)?;
        key.ok_or_else(|| IndexError::damaged("the key of an author is missing"))
    }
}

impl Index for Transaction<'_> {
    type Error = IndexError;

    fn item(&self, path: &RelPath) -> Result<Item, IndexError> {
        let key = Key::of(path);
        if let Some(item) = self.held.get(&key) {
            return Ok(item);
        }
        let (item, is_copys) = self.read().item_at(path, &key)?;
        if !is_copys {
            self.held.hold(key, &item);
        }
        Ok(item)
    }

    fn placed(&self, path: &RelPath) -> Result<Option<Placed>, IndexError> {
        match self.held.get(&Key::of(path)) {
            Some(item) => Ok(item.placed),
            None => self.read().placed(path),
        }
    }

    fn standing(&self, limit: u64) -> Result<u64, IndexError> {
        self.read().standing_count(limit)
    }

    fn standing_with(
        &self,
        manifest: ManifestId,
        limit: usize,
    ) -> Result<Vec<RelPath>, IndexError> {
        self.read().standing_with(manifest, limit)
    }

    fn has_children(&self, path: &RelPath) -> Result<bool, IndexError> {
        self.read().has_children(path)
    }

    fn beneath(&self, path: &RelPath, limit: usize) -> Result<Vec<RelPath>, IndexError> {
        self.read().live_beneath(path, limit)
    }

    fn set_placed(&mut self, path: &RelPath, placed: Option<&Placed>) -> Result<(), IndexError> {
        self.place(path, placed)
    }

    fn admit(&mut self, path: &RelPath, admitted: Admitted<'_>) -> Result<(), IndexError> {
        let Admitted { version, record, run, number } = admitted;
        let live = version.is_live();
        self.put(&Key::of(path), live, record, (id_of(run)?, number))?;
        Ok(())
    }

    fn drop_version(&mut self, path: &RelPath, dot: Dot) -> Result<(), IndexError> {
        self.drop_versions(path, &[dot])
    }

    fn drop_versions(&mut self, path: &RelPath, dots: &[Dot]) -> Result<(), IndexError> {
        let key = Key::of(path);
        let (_, rows) = self.read().set_of(path, &key)?;
        let mut left = dots.to_vec();
        left.sort_unstable();
        for (version, stored) in rows {
            // Once for each time that it is named: whoever lies may give a name twice.
            if let Ok(at) = left.binary_search(&version.dot) {
                left.remove(at);
                self.remove_covered(&key, &version, &stored)?;
            }
        }
        Ok(())
    }

    fn next_run(&mut self) -> Result<RunRef, IndexError> {
        self.name_run().map(name_of)
    }

    fn add_run(&mut self, run: RunRef, kept: &KeptRun) -> Result<(), IndexError> {
        let KeptRun { key, statement, signature, leaves, proof } = kept.clone();
        self.set_key(statement.author.site, key)?;
        let signature = Signature(signature);
        if leaves.is_empty() {
            // A word without records: its name goes unused when the transaction ends.
            return self.note_head(&statement, &signature);
        }
        self.add_named_run(id_of(run)?, &Run { statement, signature, leaves, proof })
    }

    fn head(&self, author: Author) -> Result<Option<Serial>, IndexError> {
        Ok(self.read().head(&author)?.map(|(statement, _)| statement.head))
    }

    fn statement(&self, author: Author) -> Result<Option<SealedRun>, IndexError> {
        let Some((statement, signature)) = self.read().head(&author)? else { return Ok(None) };
        let (key, signature) = (self.key(author)?, signature.0);
        let (records, proof) = (Vec::new(), Proof::default());
        Ok(Some(SealedRun { key, statement, signature, records, proof }))
    }

    fn run(&self, run: RunRef) -> Result<KeptRun, IndexError> {
        let Run { statement, signature, leaves, proof } = self.read().run(id_of(run)?)?;
        let key = self.key(statement.author)?;
        Ok(KeptRun { key, statement, signature: signature.0, leaves, proof })
    }

    fn arrivals(&self, after: u64, limit: usize) -> Result<Vec<Arrival>, IndexError> {
        let stored = self.read_durable().versions_since(Seq::new(after), limit)?;
        let arrival = stored.into_iter().map(|stored| Arrival {
            seq: stored.seq.get(),
            run: name_of(stored.run),
            number: stored.position,
            record: stored.bytes,
        });
        Ok(arrival.collect())
    }

    fn last_arrival(&self) -> Result<u64, IndexError> {
        Ok(self.durable_seq().get())
    }

    fn set_next(&mut self, next: Option<Serial>) -> Result<(), IndexError> {
        self.set_next_serial(next)
    }

    fn set_unsettled(&mut self, path: &RelPath, unsettled: bool) -> Result<(), IndexError> {
        Transaction::set_unsettled(self, path, unsettled)
    }

    fn unsettled_from(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<RelPath>, IndexError> {
        self.read().unsettled(after, limit)
    }

    fn brake(&self) -> Result<Brake, IndexError> {
        self.read().brake()
    }

    fn set_brake(&mut self, brake: &Brake) -> Result<(), IndexError> {
        Transaction::set_brake(self, brake)
    }

    fn copies_of(&self, origin: &RelPath) -> Result<Vec<(RelPath, Dot)>, IndexError> {
        self.read().copies_of(origin)
    }

    fn taken(&self, path: &RelPath) -> Result<(bool, Option<CopyOf>), IndexError> {
        self.read().taken(path)
    }

    fn set_copy(&mut self, at: &RelPath, copy: Option<&CopyOf>) -> Result<(), IndexError> {
        Transaction::set_copy(self, at, copy)
    }

    fn copies_beginning(&self, stem: &RelPath) -> Result<Vec<CopyOf>, IndexError> {
        self.read().copies_beginning(stem)
    }

    fn look(&self, path: &RelPath) -> Result<Option<Look>, IndexError> {
        self.read().look(path)
    }

    fn looks(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<(RelPath, Look)>, IndexError> {
        self.read().looks(after, limit)
    }

    fn set_look(&mut self, path: &RelPath, look: Option<&Look>) -> Result<(), IndexError> {
        Transaction::set_look(self, path, look)
    }

    fn asides(&self, after: Option<Dot>, limit: usize) -> Result<Vec<Aside>, IndexError> {
        self.read().asides(after, limit)
    }

    fn aside_count(&self) -> Result<usize, IndexError> {
        self.read().aside_count()
    }

    fn set_aside(&mut self, dot: Dot, aside: Option<&Aside>) -> Result<(), IndexError> {
        Transaction::set_aside(self, dot, aside)
    }

    fn tombstones(
        &self,
        after: Option<&RelPath>,
        limit: usize,
    ) -> Result<Vec<Tombstone>, IndexError> {
        self.read().tombstones(after, limit)
    }

    fn floor(&self) -> Result<u64, IndexError> {
        self.read().floor()
    }

    fn raise_floor(&mut self, seq: u64) -> Result<(), IndexError> {
        Transaction::raise_floor(self, seq)
    }

    fn dropped(&self) -> Result<RangeSet, IndexError> {
        self.read().dropped()
    }

    fn set_dropped(&mut self, dropped: &RangeSet) -> Result<(), IndexError> {
        Transaction::set_dropped(self, dropped)
    }
}

#[cfg(test)]
mod tests;
