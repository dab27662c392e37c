//! What a tree is, as its index has it: one hash over all of it, how many files, how many bytes.

use crate::index::{IndexError, Reading};
use farhaul_engine::files::confine::Root;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::job::Frozen;
use farhaul_sync::version::{Content, Version};

/// Files from this length on are asked how much of them is stored.
const SPARSE_MIN: u64 = 1 << 20;
/// Paths that are read at a time.
const PAGE: usize = 512;

/// Why nothing was counted.
#[derive(Debug, thiserror::Error)]
pub(super) enum CountError {
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Two sites said something of one path: only the source may.
    #[error("{0}: somebody else than the source has published something")]
    Disputed(RelPath),
    #[error("nobody waits for it any more")]
    Stopped,
}

/// All that is known of a tree (spec: S-232). `file`: it is this single one. `root`: where it stands;
/// without it all of its files count as stored in full.
pub(super) fn freeze(
    reading: Reading<'_>,
    file: bool,
    root: Option<&Root>,
    stop: &Stop,
) -> Result<Frozen, CountError> {
    let mut hasher = blake3::Hasher::new_derive_key("farhaul frozen tree v1");
    hasher.update(&[u8::from(file)]);
    let (mut files, mut bytes, mut stored) = (0_u64, 0_u64, 0_u64);
    let mut after: Option<RelPath> = None;
    loop {
        let page = reading.known(None, after.as_ref(), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.path.clone());
        for known in &page {
            let [only] = &known.versions[..] else {
                return Err(CountError::Disputed(known.path.clone()));
            };
            let version = only.record()?.version;
            if let Content::File { size, .. } = version.content {
                files += 1;
                bytes = bytes.saturating_add(size.get());
                stored = stored.saturating_add(stored_of(root, &known.path, size.get()));
            }
            add(&mut hasher, &known.path, &version);
        }
        if stop.is_set() {
            return Err(CountError::Stopped);
        }
    }
    let (root, is_file) = (*hasher.finalize().as_bytes(), file);
    Ok(Frozen { root, files, bytes: Bytes::new(bytes), stored: Bytes::new(stored), is_file })
}

/// What a file takes on disk, as far as that is looked at: holes of small ones do not matter, and one
/// that is gone or has changed is somebody else's matter.
fn stored_of(root: Option<&Root>, path: &RelPath, size: u64) -> u64 {
    let looked_at = root.filter(|_| size >= SPARSE_MIN).and_then(|root| root.stat(path).ok());
    looked_at.map_or(size, |meta| meta.allocated.min(size))
}

/// A path that stands: its name, what is there and how it is. Names of owners count, numbers do not.
fn add(hasher: &mut blake3::Hasher, path: &RelPath, version: &Version) {
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    let content: (u8, Vec<u8>) = match &version.content {
        Content::Gone => return,
        Content::Dir => (1, Vec::new()),
        Content::Symlink { target } => (2, target.to_vec()),
        Content::File { manifest, size } => {
            (3, [&manifest.0[..], &size.get().to_be_bytes()].concat())
        }
    };
    field(path.as_bytes());
    field(&[content.0]);
    field(&content.1);
    let meta = &version.meta;
    field(&meta.mode.to_be_bytes());
    field(&meta.mtime.secs.to_be_bytes());
    field(&meta.mtime.nanos.to_be_bytes());
    field(meta.owner.as_deref().unwrap_or_default());
    field(meta.group.as_deref().unwrap_or_default());
}
