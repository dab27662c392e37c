//! A site that takes in whatever a member with a right signature says.

use super::{FOLDER, sealed};
use core::convert::Infallible;
use farhaul_proto::ids::SiteId;
use farhaul_sync::folder::{FolderState, Index, MemoryIndex, Publisher, Teller};
use farhaul_sync::limits::CONCURRENT_MAX;
use farhaul_sync::message::Records;
use farhaul_sync::version::{Author, Incarnation, Serial, view};

/// Parts of one input.
const PARTS_MAX: usize = 32;

/// Who takes it in.
pub const ME: Author = Author { site: SiteId([1; 32]), incarnation: Incarnation::new(5) };

/// Whatever is told: it is taken in, set aside or refused, no number of ours is used up, nobody's
/// versions but the signer's are added, and it is known for each path what is to be done.
///
/// Records as they travel, each part behind its length in two bytes; the first byte of a part says
/// whether who tells it is stale. Roots are made to fit.
pub fn learn(input: &[u8]) {
    let mut index = MemoryIndex::new();
    let mut rest = input;
    for _ in 0..PARTS_MAX {
        let Some((len, behind)) = rest.split_first_chunk() else { return };
        let len = usize::from(u16::from_be_bytes(*len));
        let Some((part, behind)) = behind.split_at_checked(len) else { return };
        rest = behind;
        let Some((&stale, bytes)) = part.split_first() else { continue };
        let teller = if stale & 1 == 0 { Teller::Current } else { Teller::Stale };
        // As a transaction: what cannot be taken in leaves nothing behind.
        if let Some(learned) = told(index.clone(), bytes, teller) {
            index = learned;
        }
    }
}

/// The index with what was told, if all of it can be taken in.
fn told(index: MemoryIndex, bytes: &[u8], teller: Teller) -> Option<MemoryIndex> {
    let records = Records::decode(bytes, FOLDER).ok()?;
    let publisher = Publisher::new(ME, Serial::FIRST);
    let mut state = FolderState::new(index, FOLDER, publisher.clone());
    for run in records.runs {
        let run = sealed(run);
        let opened = run.open().ok()?;
        let learned = state.learn_from(&run, &opened, teller).ok()?;
        assert!(learned.changed.len() + learned.aside.len() <= opened.len());
        assert!(run.statement.author != ME || learned.changed.is_empty());
        for path in &learned.changed {
            let item = held(state.index().item(path));
            assert!(!item.versions.is_empty() && item.versions.len() <= CONCURRENT_MAX);
            assert!(item.versions.iter().all(|version| version.dot.author != ME));
            let shown = view(&item.versions, false);
            assert!(shown.copies.len() < item.versions.len().max(1));
            let task = state.task(path);
            assert!(task.is_ok(), "{task:?}");
        }
    }
    let (index, after) = state.into_parts();
    assert_eq!(after.next(), publisher.next());
    Some(index)
}

fn held<T>(read: Result<T, Infallible>) -> T {
    let Ok(read) = read;
    read
}
