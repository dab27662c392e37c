//! Manifests page by page, with the names that whoever publishes one would give its pages.

use super::FOLDER;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{ContentKeys, Entry, ManifestReader};
use farhaul_sync::limits::PAGE_LEVEL_MAX;
use farhaul_sync::version::ManifestId;
use std::sync::LazyLock;

/// Bytes before the entries of a page, and of an entry of a higher level: length, name.
const HEAD: usize = 5;
const CHILD: usize = 40;
/// Pages of one input.
const PAGES_MAX: usize = 64;

static KEYS: LazyLock<ContentKeys> = LazyLock::new(|| ContentKeys::of(&FOLDER));

/// A manifest that is taken to its end lists every byte of the file once, in order; one that is not
/// leaves its reader as it was.
///
/// Eight bytes of size, then pages in the order in which they are read, each behind its length in two
/// bytes. Names of pages in pages are made to fit.
pub fn list(input: &[u8]) {
    let Some((size, rest)) = input.split_first_chunk() else { return };
    let size = Bytes::new(u64::from_be_bytes(*size));
    let mut pages = pages(rest);
    let Some(top) = give_names(&mut pages) else { return };
    let mut reader = ManifestReader::new(&KEYS, ManifestId(top), size);
    let (mut offset, mut entries) = (Bytes::ZERO, 0);
    for page in &pages {
        let before = reader.wanted().next();
        match reader.take(page) {
            Ok(Some(leaf)) => {
                assert_eq!((leaf.offset, leaf.first), (offset, entries));
                offset += leaf.entries.iter().map(Entry::len).sum::<Bytes>();
                entries += leaf.entries.len() as u64;
                assert!(offset <= size);
            }
            Ok(None) => assert!(!reader.is_complete()),
            Err(_) => {
                assert_eq!(reader.wanted().next(), before);
                return;
            }
        }
    }
    assert!(!reader.is_complete() || offset == size);
}

/// The pages of an input.
fn pages(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut pages = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk()
        && let Some((page, behind)) = behind.split_at_checked(u16::from_be_bytes(*len).into())
        && pages.len() < PAGES_MAX
    {
        pages.push(page.to_vec());
        rest = behind;
    }
    pages
}

/// Writes the names of pages into those that list them, from the last page to the first. The name of
/// the first; `None` where there is none.
fn give_names(pages: &mut [Vec<u8>]) -> Option<[u8; 32]> {
    let mut open: Vec<[u8; 32]> = Vec::new();
    for page in pages.iter_mut().rev() {
        if page.get(1).is_some_and(|level| (1..=PAGE_LEVEL_MAX).contains(level)) {
            for child in page.get_mut(HEAD..).unwrap_or_default().chunks_exact_mut(CHILD) {
                let Some(id) = open.pop() else { break };
                child[8..].copy_from_slice(&id);
            }
        }
        open.push(KEYS.page_id(page).0);
    }
    open.pop()
}
