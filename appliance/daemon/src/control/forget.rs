//! Versions whose content nobody has any more are given up, if somebody says so.

use super::ask::{AskError, Asker};
use super::folder::{Folder, FolderError, seal, wall_millis};
use crate::index::Durability;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Want;
use farhaul_sync::version::{Content, Dot};

impl Asker {
    /// Gives up versions that are still wanted at these paths and whose content is not here. How many.
    /// That no member has them is the caller's to know (spec: S-067).
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn forget(&self, name: &str, lost: Vec<(RelPath, Dot)>) -> Result<u64, AskError> {
        self.ask_folder(name, move |folder| folder.forget(lost)).await
    }
}

impl Folder {
    fn forget(&mut self, mut lost: Vec<(RelPath, Dot)>) -> Result<u64, AskError> {
        if self.is_paused {
            return Err(AskError::Paused);
        }
        // It may have come, or been written over, since it was asked for.
        let mut known = Ok(());
        lost.retain(|(path, dot)| match self.index.read().item(path) {
            Ok(item) => match item.want() {
                Want::Place(version) if version.dot == *dot => {
                    matches!(version.content, Content::File { manifest, .. } if self.find(manifest).is_none())
                }
                _ => false,
            },
            Err(error) => {
                known = Err(FolderError::Index(error));
                false
            }
        });
        known?;
        let (identity, public) = (self.identity.clone(), self.public);
        let forgotten = self.change(Durability::Now, |state| {
            let mut forgotten = 0;
            for (path, dot) in lost {
                forgotten += u64::from(state.forget(&path, dot, wall_millis())?);
                if state.is_run_full() {
                    seal(state, &identity, public)?;
                }
            }
            Ok(forgotten)
        })?;
        Ok(forgotten)
    }
}
