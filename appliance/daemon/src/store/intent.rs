//! Intents: what is about to be done to the tree, durable before it is done.
//!
//! After a kill they tell our half-done work from what a user did: only what has an intent is ever
//! looked at by `recover`, and everything else is scanned as usual.

use crate::store::StoreError;
use farhaul_engine::files::confine::ShownPath;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Placed;
use farhaul_sync::version::Version;

/// What is to be done at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Something staged takes the place of what stands there, or of nothing.
    Put {
        /// Its name where files come in.
        staged: String,
        /// Its inode.
        inode: u64,
    },
    /// What stands there gets other metadata.
    Describe,
    /// What stands there goes.
    Remove,
    /// What stands there is called otherwise from now on; nothing is replaced.
    Move {
        /// Its new path.
        to: RelPath,
    },
}

/// What is about to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Where.
    pub path: RelPath,
    /// What.
    pub action: Action,
    /// What stands there before; `None`: nothing.
    pub old: Option<Placed>,
    /// The version that stands there afterwards, or at [`Action::Move::to`]; `None`: nothing, or with
    /// [`Action::Put`] a directory that no version describes.
    pub new: Option<Version>,
    /// The name in the version store for what is displaced. Random: it also tells this intent from
    /// all others.
    pub kept: String,
}

/// The row of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntentId(pub(crate) i64);

/// The index's word that an intent is durable. Only the index gives it
/// ([`crate::index::Index::record`]), and nothing in the tree is changed without.
#[derive(Debug, PartialEq, Eq)]
pub struct Recorded {
    id: IntentId,
    kept: String,
}

impl Recorded {
    pub(crate) fn new(id: IntentId, intent: &Intent) -> Self {
        Self { id, kept: intent.kept.clone() }
    }

    /// Which intent.
    pub fn id(&self) -> IntentId {
        self.id
    }

    pub(super) fn check(&self, intent: &Intent) -> Result<(), StoreError> {
        if self.kept == intent.kept {
            Ok(())
        } else {
            Err(StoreError::NotRecorded { path: ShownPath::from(&intent.path) })
        }
    }
}
