//! Equal bytes have equal names, edits stay where they are, and no other page is taken for one.

mod cutting;
mod manifests;

use super::*;
use crate::seal::FolderKey;
use farhaul_proto::units::Bytes;

fn keys() -> ContentKeys {
    ContentKeys::of(&FolderKey([7; 32]))
}

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// What `bytes` consist of in a class, with as little lookahead as the cutter asks for.
fn entries_of(keys: &ContentKeys, class: SizeClass, bytes: &[u8]) -> Vec<Entry> {
    let mut cutter = Cutter::of_class(keys, class, Bytes::of_len(bytes.len()));
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let at = cutter.offset().as_len();
        let ahead = &bytes[at..at + cutter.lookahead()];
        match cutter.cut(ahead) {
            None => break,
            Some(cut) => push(keys, &mut entries, cut, ahead),
        }
    }
    assert_eq!(cutter.offset(), Bytes::of_len(bytes.len()));
    entries
}

fn push(keys: &ContentKeys, entries: &mut Vec<Entry>, cut: Cut, ahead: &[u8]) {
    match (cut, entries.last_mut()) {
        (Cut::Zeros { len: more }, Some(Entry::Zeros { len })) => *len += more,
        (Cut::Zeros { len }, _) => entries.push(Entry::Zeros { len }),
        (Cut::Chunk { len }, _) => {
            let id = keys.chunk_id(&ahead[..len]);
            let len = u32::try_from(len).expect("at most 16 MiB");
            entries.push(Entry::Chunk(Chunk { id, len }));
        }
    }
}

fn manifest_of(keys: &ContentKeys, bytes: &[u8]) -> Manifest {
    let class = SizeClass::of(Bytes::of_len(bytes.len()));
    Manifest { class, entries: entries_of(keys, class, bytes) }
}
