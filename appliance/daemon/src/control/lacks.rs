//! What a path has not of what its version says, in words.

use super::folder::Folder;
use crate::store::{Lacks, Shortfall};
use farhaul_sync::version::Meta;

impl Folder {
    /// One line for each thing that is lacking; with what could be done about it.
    pub(super) fn lacks_of(&self, said: &Meta, short: &Shortfall) -> Vec<String> {
        let principals = self.store.principals();
        let mut lines = Vec::new();
        let owner = (Lacks::OWNER, "owner", &said.owner, short.owner);
        let group = (Lacks::GROUP, "group", &said.group, short.group);
        for (lack, what, name, has) in [owner, group] {
            let (Some(name), Some(has)) = (name, has.filter(|_| short.lacks.has(lack))) else {
                continue;
            };
            let is_user = lack == Lacks::OWNER;
            let (number, called) = if is_user {
                (principals.user_number(name), principals.user_name(has))
            } else {
                (principals.group_number(name), principals.group_name(has))
            };
            let has = called.map_or_else(|| has.to_string(), |called| shown(&called));
            let name = shown(name);
            lines.push(match number {
                None => format!(
                    "{what} {name}: nobody is called so here (`map-{what_s}` says who it is); it \
                     belongs to {has}",
                    what_s = if is_user { "users" } else { "groups" }
                ),
                Some(0) if self.store.guards_root() => {
                    format!("{what} {name}: `root-owned` does not allow that; it belongs to {has}")
                }
                Some(_) => format!(
                    "{what} {name}: this site may not give it to them (CAP_CHOWN), or the file \
                     system keeps no owners; it belongs to {has}"
                ),
            });
        }
        if let Some(mode) = short.mode.filter(|_| short.lacks.has(Lacks::MODE)) {
            let said = said.mode;
            lines.push(format!("mode {said:04o}: the file system made {mode:04o} of it"));
        }
        if short.lacks.has(Lacks::ATTRS) {
            lines.push(
                "lists or extended attributes: the file system or this site did not take all of \
                 them, or nobody here is called as a list says"
                    .to_owned(),
            );
        }
        if short.lacks.has(Lacks::UNSAID) {
            lines.push(
                "lists or extended attributes: they are more than travels (24 KiB, 32 entries) and \
                 stay as they are at each site"
                    .to_owned(),
            );
        }
        lines
    }
}

/// A name, as it can be shown.
fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).escape_debug().to_string()
}
