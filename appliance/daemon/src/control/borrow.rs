//! Contents for whoever writes them elsewhere than into the folder: from a file that is here, or from
//! members, by the list of its chunks and without its zeros. Whoever takes it verifies the whole:
//! nothing of it is put into the tree.

use super::ask::{AskError, Asker};
use super::contents::WHOLE_MAX;
use super::folder::Folder;
use super::patience::Miss;
use super::question::{Len, MemoryIntake, Parts};
use crate::site::{Opens, Outgoing, Question};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{ContentKeys, Entry, Leaf, ManifestReader, PageError, PageId};
use farhaul_sync::limits::PAGE_MAX;
use farhaul_sync::message::{ByteRange, Wanted};
use farhaul_sync::version::ManifestId;
use futures_util::StreamExt;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

/// Who has not given something by then is not waited for.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Pieces that are asked for at a time.
const PIECES_MAX: usize = 4;
/// Bytes of a piece, and the chunk that goes beyond it.
const PIECE: u64 = 1 << 20;

type Answer = Result<Parts, Miss>;

/// A piece of a content, and where it is.
pub type Piece = (u64, Vec<u8>);

/// Where pieces go; an error is the last.
pub type Pieces = mpsc::Sender<io::Result<Piece>>;

/// A content that members have.
struct Lent {
    asker: Asker,
    folder: String,
    manifest: ManifestId,
    sites: Vec<SiteId>,
}

impl Asker {
    /// A file with that content, open: one that stands in the folder or is kept. `None` where there is
    /// none.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn open_content(
        &self,
        name: &str,
        content: ManifestId,
    ) -> Result<Option<File>, AskError> {
        let found = self.ask_folder(name, move |folder| Ok(folder.find(content))).await?;
        let Some(found) = found else { return Ok(None) };
        Ok(spawn_blocking(move || found.open().ok()).await.ok().flatten())
    }

    /// Gives what a content of that size holds besides zeros, in order, as members give it that are said
    /// to have it; ends early when nobody takes it.
    pub async fn lend(
        self,
        name: &str,
        (manifest, size): (ManifestId, Bytes),
        sites: Vec<SiteId>,
        pieces: Pieces,
    ) {
        let lent = Lent { asker: self, folder: name.to_owned(), manifest, sites };
        if let Err(error) = lent.give(size, &pieces).await {
            tracing::warn!(folder = name, %error, "what a peer has does not come");
            // If nobody hears it, nobody waits for it.
            let _ = pieces.send(Err(error)).await;
        }
    }
}

impl Lent {
    async fn give(&self, size: Bytes, pieces: &Pieces) -> io::Result<()> {
        if size <= WHOLE_MAX {
            // Of small files nobody has lists.
            let whole = (size > Bytes::ZERO).then_some(ByteRange { offset: 0, len: size.get() });
            return self.give_all(whole.into_iter().collect(), pieces).await;
        }
        let keys = self.asker.ask_folder(&self.folder, |folder| Ok(Arc::clone(&folder.keys)));
        let keys: Arc<ContentKeys> = keys.await.map_err(io::Error::other)?;
        let mut reader = ManifestReader::new(&keys, self.manifest, size);
        while !reader.is_complete() {
            let Some(page) = reader.wanted().next() else { break };
            if let Some(leaf) = self.take_page(&mut reader, page).await? {
                self.give_all(ranges_of(&leaf), pieces).await?;
            }
        }
        Ok(())
    }

    /// Reads the next page of the list: one that is here still, or a member's.
    async fn take_page(
        &self,
        reader: &mut ManifestReader<'_>,
        page: PageId,
    ) -> io::Result<Option<Leaf>> {
        let here = move |folder: &mut Folder| Ok(folder.contents.page(page));
        let here = self.asker.ask_folder(&self.folder, here).await.map_err(io::Error::other)?;
        if let Some(Ok(leaf)) = here.map(|bytes| reader.take(&bytes)) {
            return Ok(leaf);
        }
        for &site in &self.sites {
            let asked = (Wanted::Page { page }, Len::UpTo(PAGE_MAX as u64));
            let Some(bytes) = self.ask(site, asked).await? else { continue };
            match reader.take(&bytes) {
                Ok(leaf) => return Ok(leaf),
                // Another member may have it.
                Err(PageError::OtherPage) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Err(gone())
    }

    async fn give_all(&self, ranges: Vec<ByteRange>, pieces: &Pieces) -> io::Result<()> {
        let asked = futures_util::stream::iter(ranges).map(|range| self.piece(range));
        let mut asked = std::pin::pin!(asked.buffered(PIECES_MAX));
        while let Some(piece) = asked.next().await {
            let taken = pieces.send(Ok(piece?)).await;
            taken.map_err(|_| io::Error::other("nobody takes it any more"))?;
        }
        Ok(())
    }

    async fn piece(&self, range: ByteRange) -> io::Result<Piece> {
        let manifest = self.manifest;
        for &site in &self.sites {
            let wanted = Wanted::Ranges { manifest, ranges: vec![range] };
            if let Some(bytes) = self.ask(site, (wanted, Len::Is(range.len))).await? {
                return Ok((range.offset, bytes));
            }
        }
        Err(gone())
    }

    /// What a member answers; `None` where it does not.
    async fn ask(&self, site: SiteId, (wanted, len): (Wanted, Len)) -> io::Result<Option<Vec<u8>>> {
        let ask = move |folder: &mut Folder| Ok(folder.ask_one(site, wanted, len));
        let asked = self.asker.ask_folder(&self.folder, ask).await.map_err(io::Error::other)?;
        let Some(heard) = asked else { return Ok(None) };
        let answer = tokio::time::timeout(ANSWER_MAX, heard).await;
        let Ok(Ok(Ok(parts))) = answer else { return Ok(None) };
        Ok(parts.into_iter().next().flatten())
    }
}

fn gone() -> io::Error {
    io::Error::other("no peer that had it gives it any more: try again")
}

/// Chunks that lie one behind the other, some at a time.
fn ranges_of(leaf: &Leaf) -> Vec<ByteRange> {
    let (mut ranges, mut at): (Vec<ByteRange>, u64) = (Vec::new(), leaf.offset.get());
    for entry in &leaf.entries {
        let len = entry.len().get();
        if let Entry::Chunk(_) = entry {
            let last = ranges.last_mut();
            match last.filter(|last| last.offset + last.len == at && last.len < PIECE) {
                Some(last) => last.len += len,
                None => ranges.push(ByteRange { offset: at, len }),
            }
        }
        at += len;
    }
    ranges
}

impl Folder {
    fn ask_one(&self, from: SiteId, wanted: Wanted, len: Len) -> Option<oneshot::Receiver<Answer>> {
        let neighbour = self.neighbours.get(&from)?;
        let (said, heard) = oneshot::channel();
        let then = Box::new(move |answer| drop(said.send(answer)));
        let came = Arc::clone(neighbour.outbox.came());
        let intake = MemoryIntake::new(vec![len], came, then);
        let question = Question::new(Box::new(intake));
        let (folder, wanted) = (self.setup.key, vec![wanted]);
        // If it is refused it is dropped, and its end comes like any other answer.
        let _ = neighbour.outbox.send(Outgoing::Ask { folder, wanted, question });
        Some(heard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_sync::chunk::{Chunk, ChunkId};

    #[test]
    fn chunks_that_adjoin_are_asked_for_together_and_zeros_not_at_all() {
        let chunk = |len| Entry::Chunk(Chunk { id: ChunkId([1; 32]), len });
        let zeros = Entry::Zeros { len: Bytes::mib(1) };
        let entries = vec![chunk(10), chunk(20), zeros, chunk(1 << 20), chunk(5)];
        let ranges = ranges_of(&Leaf { first: 0, offset: Bytes::new(7), entries });
        let mib = 1 << 20;
        let expected = [(7, 30), (37 + mib, mib), (37 + 2 * mib, 5)];
        let found: Vec<(u64, u64)> = ranges.iter().map(|range| (range.offset, range.len)).collect();
        assert_eq!(found, expected);
    }
}
