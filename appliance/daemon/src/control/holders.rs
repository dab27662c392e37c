//! Who has a content: every member that shares the folder at this moment is asked for its first byte.
//! And what users of this site wrote over or deleted, which only others can have.

use super::ask::{AskError, Asker};
use super::folder::{Folder, FolderError, wall_millis};
use super::patience::Miss;
use super::question::{Len, MemoryIntake, Parts};
use crate::index::{Elsewhere, Transaction};
use crate::site::{Outgoing, Question};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::folder::{FolderState, Found};
use farhaul_sync::message::{ByteRange, RANGED_MAX, Wanted};
use farhaul_sync::version::{Dot, ManifestId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Who has not answered by then is not waited for.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Who has contents, as they said a moment ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    here: BTreeSet<ManifestId>,
    sites: BTreeMap<ManifestId, BTreeSet<SiteId>>,
    silent: BTreeSet<SiteId>,
}

impl Holders {
    /// Whether its bytes are at this site, at any path or kept.
    pub fn is_here(&self, content: ManifestId) -> bool {
        self.here.contains(&content)
    }

    /// Members that have it.
    pub fn sites(&self, content: ManifestId) -> impl Iterator<Item = SiteId> + '_ {
        self.sites.get(&content).into_iter().flatten().copied()
    }

    /// Members that could not be asked: they may have any of it.
    pub const fn silent(&self) -> &BTreeSet<SiteId> {
        &self.silent
    }
}

type Answer = Result<Parts, Miss>;

/// Questions under way, to whom.
struct Asked {
    here: Vec<ManifestId>,
    wanted: Vec<ManifestId>,
    open: Vec<(SiteId, oneshot::Receiver<Answer>)>,
    silent: Vec<SiteId>,
}

impl Asker {
    /// Asks who has contents of these lengths. A member whose folder halts could not be asked.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn who_has(
        &self,
        name: &str,
        contents: &[(ManifestId, Bytes)],
    ) -> Result<Holders, AskError> {
        let mut holders = Holders::default();
        let until = Instant::now() + ANSWER_MAX;
        for part in contents.chunks(RANGED_MAX) {
            let part = part.to_vec();
            let asked = self.ask_folder(name, move |folder| Ok(folder.ask_who_has(part))).await?;
            holders.here.extend(asked.here);
            holders.silent.extend(asked.silent);
            for (site, heard) in asked.open {
                let answer = tokio::time::timeout_at(until, heard).await;
                let Ok(Ok(Ok(parts))) = answer else {
                    holders.silent.insert(site);
                    continue;
                };
                let had = asked.wanted.iter().zip(parts).filter(|(_, part)| part.is_some());
                for (content, _) in had {
                    holders.sites.entry(*content).or_default().insert(site);
                }
            }
        }
        Ok(holders)
    }
}

impl Folder {
    fn ask_who_has(&self, contents: Vec<(ManifestId, Bytes)>) -> Asked {
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            contents.into_iter().partition(|(content, _)| self.find(*content).is_some());
        let here = here.into_iter().map(|(content, _)| content).collect();
        let rights = &self.setup.policy.rights;
        let answers =
            |peer: &SiteId| self.neighbours.contains_key(peer) && rights.of(*peer).gives();
        let silent = self.setup.peers.iter().filter(|peer| !answers(peer)).copied().collect();
        let mut open = Vec::new();
        // By its role a member may give nothing of what it has.
        for (site, neighbour) in self.neighbours.iter().filter(|(site, _)| answers(site)) {
            if elsewhere.is_empty() {
                break;
            }
            let (said, heard) = oneshot::channel();
            let then = Box::new(move |answer| drop(said.send(answer)));
            let lens = elsewhere.iter().map(|(_, size)| Len::Is(size.get().min(1))).collect();
            let came = Arc::clone(neighbour.outbox.came());
            let question = Question::new(Box::new(MemoryIntake::new(lens, came, then)));
            let wanted = elsewhere.iter().map(|(content, size)| first_byte(*content, *size));
            let (folder, wanted) = (self.setup.key, wanted.collect());
            // If it is refused it is dropped, and its end comes like any other answer.
            let _ = neighbour.outbox.send(Outgoing::Ask { folder, wanted, question });
            open.push((*site, heard));
        }
        let wanted = elsewhere.into_iter().map(|(content, _)| content).collect();
        Asked { here, wanted, open, silent }
    }
}

/// What shows that somebody has all of a content: it opens a file for it.
fn first_byte(manifest: ManifestId, size: Bytes) -> Wanted {
    if size == Bytes::ZERO {
        return Wanted::Whole { manifest };
    }
    Wanted::Ranges { manifest, ranges: vec![ByteRange { offset: 0, len: 1 }] }
}

/// Takes in what was found at a path. What a user wrote over or deleted by that is remembered: no
/// site but others that had it can bring it back.
pub(super) fn observe(
    state: &mut FolderState<Transaction<'_>>,
    path: &RelPath,
    found: Option<Found>,
) -> Result<(), FolderError> {
    let stood = state.index().read().placed(path)?.map(|placed| placed.version);
    let content = found.as_ref().map(|found| found.content.clone());
    let is_published = state.observe(path, found, wall_millis())?;
    let gone = stood.filter(|stood| content.as_ref() != Some(&stood.content));
    if let Some(version) = gone.filter(|gone| is_published && gone.dot != Dot::NOBODY) {
        let at_secs = wall_millis() / 1000;
        let gone = Elsewhere { path: path.clone(), version, at_secs };
        state.index_mut().add_elsewhere(&gone)?;
    }
    Ok(())
}
