//! The version store: what was displaced, in `.farhaul/versions`, for this user alone. Its catalogue
//! is the index (`kept`): here are only names and bytes.

use super::Store;
use super::error::{StoreError, at};
use rustix::io::Errno;
use std::fs::File;

impl Store {
    /// Opens a kept file for reading. Removing it meanwhile takes nothing from who has it open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_kept(&self, name: &str) -> Result<File, StoreError> {
        Ok(self.versions.open_file(name.as_bytes()).map_err(at("versions"))?.0)
    }

    /// Where a kept symbolic link points to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read_kept_link(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.versions.read_link(name.as_bytes()).map_err(at("versions"))
    }

    /// Removes a kept object for good; one that is gone already is no error. Its row in the index
    /// goes afterwards: a row without an object is harmless, the other way round nobody would know
    /// what it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove_kept(&self, name: &str) -> Result<(), StoreError> {
        match self.versions.remove_file(name.as_bytes()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(at("versions")(errno)),
        }
    }

    /// The names of all that is kept. What the index does not know of (after its loss) is what some
    /// user wrote, and stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn kept_names(&self) -> Result<Vec<String>, StoreError> {
        let names = self.versions.names().map_err(at("versions"))?;
        // Whatever has another form is not ours.
        Ok(names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect())
    }
}
