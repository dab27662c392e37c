//! Names of files: which paths are known as names of the same inode, and which say that they are of
//! the same group. Both tables only say where to look: what stands there is in the rows of the items.

use super::item::ItemRow;
use super::key::{Key, path_of};
use super::read::blob;
use super::{IndexError, Kind, Reading, Transaction};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::{FileIdentity, Placed};
use farhaul_sync::version::{Content, LinkGroup, Meta};
use rusqlite::params;

/// Names of a file that are looked through, whatever for. Of more than these, some are looked at by
/// scans alone.
pub const INODE_NAMES: usize = 16;
/// Names of a group that are looked through for one to link to.
pub const GROUP_NAMES: usize = 64;

/// A path that is known as a name of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Where.
    pub path: RelPath,
    /// The state in which the file was when it was last looked at by this name.
    pub identity: FileIdentity,
    /// How it stood there then.
    pub meta: Meta,
}

impl Reading<'_> {
    /// The paths that are known as names of the file with this device and inode, in whatever state
    /// they saw it: [`INODE_NAMES`] at most, in the order of a walk.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn names_of_inode(&self, file: &FileIdentity) -> Result<Vec<Name>, IndexError> {
        let sql = "SELECT key FROM inodes WHERE inode = ? ORDER BY key LIMIT ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let limit = super::read::limit_of(INODE_NAMES);
        let mut rows = statement.query(params![file.inode.cast_signed(), limit])?;
        let mut names = Vec::new();
        while let Some(row) = rows.next()? {
            let path = path_of(blob(row, 0)?)?;
            let Some(item) = self.item_row(&Key::of(&path))? else { continue };
            let is_it = (item.identity.device, item.identity.inode) == (file.device, file.inode);
            if item.kind == Kind::File && is_it {
                names.push(Name { path, identity: item.identity, meta: item.meta });
            }
        }
        Ok(names)
    }

    /// What is known to stand at a path, if that is known.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn name_at(&self, path: &RelPath) -> Result<Option<Name>, IndexError> {
        let row = self.item_row(&Key::of(path))?;
        let name =
            |row: ItemRow| Name { path: path.clone(), identity: row.identity, meta: row.meta };
        Ok(row.map(name))
    }

    /// What stands at the paths of a group: [`GROUP_NAMES`] at most, in the order of a walk.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn standing_of_group(
        &self,
        group: LinkGroup,
    ) -> Result<Vec<(RelPath, Placed)>, IndexError> {
        let sql = "SELECT key FROM links WHERE link = ? ORDER BY key LIMIT ?";
        let mut statement = self.db().prepare_cached(sql)?;
        let limit = super::read::limit_of(GROUP_NAMES);
        let mut rows = statement.query(params![&group.0[..], limit])?;
        let mut standing = Vec::new();
        while let Some(row) = rows.next()? {
            let path = path_of(blob(row, 0)?)?;
            if let Some(item) = self.item_row(&Key::of(&path))? {
                let placed = self.placed_of(&path, item)?;
                standing.push((path, placed));
            }
        }
        Ok(standing)
    }

    /// That a path is listed in its group and in no other.
    pub(super) fn check_links(&self) -> Result<(), IndexError> {
        let mut listed = self.db().prepare("SELECT link, key FROM links")?;
        let mut rows = listed.query([])?;
        let mut count = 0_usize;
        while let Some(row) = rows.next()? {
            let (group, key) = (blob(row, 0)?, blob(row, 1)?);
            let item = self.item_row(&Key::of(&path_of(key)?))?;
            let said = item.and_then(|item| item.meta.link);
            if said.is_none_or(|said| said.0[..] != *group) {
                return Err(IndexError::damaged("a path that is listed in a group of names"));
            }
            count += 1;
        }
        drop(rows);
        if count == self.count_linked()? {
            Ok(())
        } else {
            Err(IndexError::damaged("a path is not listed in its group of names"))
        }
    }

    fn count_linked(&self) -> Result<usize, IndexError> {
        let mut statement = self.db().prepare("SELECT key, value FROM items")?;
        let mut rows = statement.query([])?;
        let mut count = 0;
        while let Some(row) = rows.next()? {
            let item = ItemRow::decode(blob(row, 0)?, blob(row, 1)?)?;
            count += usize::from(item.meta.link.is_some());
        }
        Ok(count)
    }
}

impl Transaction<'_> {
    /// Lists a path in the group that it is of by now, and no longer in the one before.
    pub(super) fn relist(
        &self,
        key: &Key,
        before: Option<LinkGroup>,
        placed: Option<&Placed>,
    ) -> Result<(), IndexError> {
        let is_file = |placed: &&Placed| matches!(placed.version.content, Content::File { .. });
        let now = placed.filter(is_file).and_then(|placed| placed.meta.link);
        if before == now {
            return Ok(());
        }
        if let Some(group) = before {
            let sql = "DELETE FROM links WHERE link = ? AND key = ?";
            self.db().prepare_cached(sql)?.execute(params![&group.0[..], key.as_bytes()])?;
        }
        if let Some(group) = now {
            let sql = "INSERT OR IGNORE INTO links(link, key) VALUES(?, ?)";
            self.db().prepare_cached(sql)?.execute(params![&group.0[..], key.as_bytes()])?;
        }
        Ok(())
    }
}
