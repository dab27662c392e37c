//! Contents for whoever writes them elsewhere than into the folder: from a file that is here, or from
//! members, by the list of its chunks and without its zeros. Whoever takes it verifies the whole:
//! nothing of it is put into the tree. Each piece is verified, so that who gives something else is not
//! asked in vain again and again.

use super::ask::{AskError, Asker};
use super::contents::WHOLE_MAX;
use super::folder::Folder;
use super::givers::STALL;
use super::patience::Miss;
use super::question::{Len, MemoryIntake, Parts};
use crate::site::{Opens, Outgoing, Question};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{
    Chunk, ContentKeys, Entry, Leaf, Manifest, ManifestReader, PageError, PageId,
};
use farhaul_sync::limits::PAGE_MAX;
use farhaul_sync::message::{ByteRange, Wanted};
use farhaul_sync::version::ManifestId;
use futures_util::StreamExt;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

/// Who gives nothing at all for so long is not waited for: how long a piece takes is the link's matter.
const SILENCE_MAX: Duration = STALL;
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
    keys: Arc<ContentKeys>,
    sites: Vec<SiteId>,
    /// Who gave something else than was asked for, and is asked after all others.
    wrong: Mutex<BTreeSet<SiteId>>,
}

/// A piece that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    range: ByteRange,
    /// What it is by its hash: these chunks, or, where there are none, the whole content.
    chunks: Vec<Chunk>,
}

impl Part {
    /// Whether that is what was asked for.
    fn is(&self, manifest: ManifestId, keys: &ContentKeys, mut bytes: &[u8]) -> bool {
        if self.chunks.is_empty() {
            return Manifest::of(keys, bytes).id(keys) == manifest;
        }
        let all = self.chunks.iter().all(|chunk| {
            let Some((own, behind)) = bytes.split_at_checked(chunk.len as usize) else {
                return false;
            };
            bytes = behind;
            keys.chunk_id(own) == chunk.id
        });
        all && bytes.is_empty()
    }
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
        let keys = self.ask_folder(name, |folder| Ok(Arc::clone(&folder.keys))).await;
        let given = match keys {
            Ok(keys) => {
                let (folder, wrong) = (name.to_owned(), Mutex::default());
                let lent = Lent { asker: self, folder, manifest, keys, sites, wrong };
                lent.give(size, &pieces).await
            }
            Err(error) => Err(io::Error::other(error)),
        };
        if let Err(error) = given {
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
            let range = ByteRange { offset: 0, len: size.get() };
            let whole = (size > Bytes::ZERO).then_some(Part { range, chunks: Vec::new() });
            return self.give_all(whole.into_iter().collect(), pieces).await;
        }
        let mut reader = ManifestReader::new(&self.keys, self.manifest, size);
        while !reader.is_complete() {
            let Some(page) = reader.wanted().next() else { break };
            if let Some(leaf) = self.take_page(&mut reader, page).await? {
                self.give_all(parts_of(&leaf), pieces).await?;
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
        for site in self.in_turn() {
            let asked = (Wanted::Page { page }, Len::UpTo(PAGE_MAX as u64));
            let Some(bytes) = self.ask(site, asked).await? else { continue };
            match reader.take(&bytes) {
                Ok(leaf) => return Ok(leaf),
                // Another member may have it.
                Err(PageError::OtherPage) => self.gave_else(site),
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Err(gone())
    }

    async fn give_all(&self, parts: Vec<Part>, pieces: &Pieces) -> io::Result<()> {
        let asked = futures_util::stream::iter(parts).map(|part| self.piece(part));
        let mut asked = std::pin::pin!(asked.buffered(PIECES_MAX));
        while let Some(piece) = asked.next().await {
            let taken = pieces.send(Ok(piece?)).await;
            taken.map_err(|_| io::Error::other("nobody takes it any more"))?;
        }
        Ok(())
    }

    async fn piece(&self, part: Part) -> io::Result<Piece> {
        let (manifest, range) = (self.manifest, part.range);
        for site in self.in_turn() {
            let wanted = Wanted::Ranges { manifest, ranges: vec![range] };
            match self.ask(site, (wanted, Len::Is(range.len))).await? {
                Some(bytes) if part.is(manifest, &self.keys, &bytes) => {
                    return Ok((range.offset, bytes));
                }
                // Another member may have it as it was.
                Some(_) => self.gave_else(site),
                None => {}
            }
        }
        Err(gone())
    }

    /// Whom to ask, one after the other.
    fn in_turn(&self) -> Vec<SiteId> {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sites = self.sites.clone();
        sites.sort_by_key(|site| wrong.contains(site));
        sites
    }

    fn gave_else(&self, site: SiteId) {
        let is_first = self.wrong.lock().unwrap_or_else(PoisonError::into_inner).insert(site);
        if is_first {
            let folder = &self.folder;
            tracing::warn!(folder, %site, "a peer gives something else than it was asked for");
        }
    }

    /// What a member answers; `None` where it does not.
    async fn ask(&self, site: SiteId, (wanted, len): (Wanted, Len)) -> io::Result<Option<Vec<u8>>> {
        let ask = move |folder: &mut Folder| Ok(folder.ask_one(site, wanted, len));
        let asked = self.asker.ask_folder(&self.folder, ask).await.map_err(io::Error::other)?;
        let Some((heard, came)) = asked else { return Ok(None) };
        let answer = unless_silent(heard, || came.load(Ordering::Relaxed), SILENCE_MAX).await;
        let Some(Ok(parts)) = answer else { return Ok(None) };
        Ok(parts.into_iter().next().flatten())
    }
}

/// What is heard; `None` where `came` does not grow for so long, or nothing will be.
async fn unless_silent<T>(
    mut heard: oneshot::Receiver<T>,
    mut came: impl FnMut() -> u64,
    silence: Duration,
) -> Option<T> {
    loop {
        let before = came();
        match tokio::time::timeout(silence, &mut heard).await {
            Ok(answer) => return answer.ok(),
            Err(_) if came() == before => return None,
            Err(_) => {}
        }
    }
}

fn gone() -> io::Error {
    io::Error::other("no peer that had it gives it any more: try again")
}

/// Chunks that lie one behind the other, some at a time.
fn parts_of(leaf: &Leaf) -> Vec<Part> {
    let (mut parts, mut at): (Vec<Part>, u64) = (Vec::new(), leaf.offset.get());
    for entry in &leaf.entries {
        let len = entry.len().get();
        if let Entry::Chunk(chunk) = entry {
            let last = parts.last_mut();
            match last
                .filter(|Part { range, .. }| range.offset + range.len == at && range.len < PIECE)
            {
                Some(last) => {
                    last.range.len += len;
                    last.chunks.push(*chunk);
                }
                None => {
                    let range = ByteRange { offset: at, len };
                    parts.push(Part { range, chunks: vec![*chunk] });
                }
            }
        }
        at += len;
    }
    parts
}

impl Folder {
    /// Where the answer comes, and what grows with whatever comes from there.
    fn ask_one(
        &self,
        from: SiteId,
        wanted: Wanted,
        len: Len,
    ) -> Option<(oneshot::Receiver<Answer>, Arc<AtomicU64>)> {
        let neighbour = self.neighbours.get(&from)?;
        let (said, heard) = oneshot::channel();
        let then = Box::new(move |answer| drop(said.send(answer)));
        let came = Arc::clone(neighbour.outbox.came());
        let intake = MemoryIntake::new(vec![len], Arc::clone(&came), then);
        let question = Question::new(Box::new(intake));
        let (folder, wanted) = (self.setup.key, vec![wanted]);
        // If it is refused it is dropped, and its end comes like any other answer.
        let _ = neighbour.outbox.send(Outgoing::Ask { folder, wanted, question });
        Some((heard, came))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_sync::chunk::ChunkId;
    use farhaul_sync::seal::FolderKey;

    #[test]
    fn chunks_that_adjoin_are_asked_for_together_and_zeros_not_at_all() {
        let chunk = |len| Entry::Chunk(Chunk { id: ChunkId([1; 32]), len });
        let zeros = Entry::Zeros { len: Bytes::mib(1) };
        let entries = vec![chunk(10), chunk(20), zeros, chunk(1 << 20), chunk(5)];
        let parts = parts_of(&Leaf { first: 0, offset: Bytes::new(7), entries });
        let mib = 1 << 20;
        let expected = [(7, 30, 2), (37 + mib, mib, 1), (37 + 2 * mib, 5, 1)];
        let found: Vec<(u64, u64, usize)> = parts
            .iter()
            .map(|part| (part.range.offset, part.range.len, part.chunks.len()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn what_has_the_length_asked_for_and_is_something_else_is_not_taken() {
        let keys = ContentKeys::of(&FolderKey([5; 32]));
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short");
        let chunk = |bytes: &[u8]| Chunk { id: keys.chunk_id(bytes), len: len(bytes) };
        let range = ByteRange { offset: 9, len: 7 };
        let chunks = Part { range, chunks: vec![chunk(b"one"), chunk(b"some")] };
        let none = ManifestId([0; 32]);
        assert!(chunks.is(none, &keys, b"onesome"));
        for wrong in [&b"onesomE"[..], b"oNesome", b"onesome!", b"one", b""] {
            assert!(!chunks.is(none, &keys, wrong), "{wrong:?}");
        }
        let whole = Part { range, chunks: Vec::new() };
        let manifest = Manifest::of(&keys, b"onesome").id(&keys);
        assert!(whole.is(manifest, &keys, b"onesome"));
        assert!(!whole.is(manifest, &keys, b"onesomE"));
    }

    #[tokio::test]
    async fn who_gives_something_is_waited_for_and_who_is_silent_is_not() {
        const SILENCE: Duration = Duration::from_millis(1);
        let (said, heard) = oneshot::channel();
        let (mut came, mut said) = (0, Some(said));
        let grows = || {
            came += 1;
            if let Some(said) = said.take_if(|_| came > 20) {
                let _ = said.send(7);
            }
            came
        };
        assert_eq!(unless_silent(heard, grows, SILENCE).await, Some(7));
        let (_said, heard) = oneshot::channel::<u8>();
        assert_eq!(unless_silent(heard, || 1, SILENCE).await, None);
    }
}
