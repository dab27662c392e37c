//! What of a version's metadata a disk did not take, and what it has in its place.
//!
//! A site that may not give files away, or that knows nobody of a name, goes on saying what the
//! version says: what stands on disk is no edit of anybody's for as long as it is what this site
//! left there (spec: S-100).

use super::owner::Principals;
use super::{Committed, Displaced, IntentId, Store};
use farhaul_engine::files::dir::Meta as DiskMeta;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Placed;
use farhaul_sync::version::Meta;

/// What a path has in place of what its version says. Kept beside it in the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// The number of its owner, where that is not who the version says.
    pub owner: Option<u32>,
    /// The number of its group, likewise.
    pub group: Option<u32>,
}

impl Shortfall {
    /// What is missing of `said` where the disk has `disk`; `None`: nothing.
    pub(super) fn of(said: &Meta, disk: &DiskMeta, principals: &dyn Principals) -> Option<Self> {
        let is_owner = said.owner.is_some() && said.owner == principals.user_name(disk.owner);
        let is_group = said.group.is_some() && said.group == principals.group_name(disk.group);
        let short = Self {
            owner: (!is_owner).then_some(disk.owner),
            group: (!is_group).then_some(disk.group),
        };
        (short != Self::default()).then_some(short)
    }

    /// Makes of what was found, `disk`, what it would be if the disk had taken all of `said`: what
    /// is still as this site left it counts as said. What is still missing; the rest somebody
    /// changed since.
    #[must_use]
    pub fn cover(&self, found: &mut Meta, disk: &DiskMeta, said: &Meta) -> Self {
        let owner = self.owner.filter(|&owner| owner == disk.owner);
        let group = self.group.filter(|&group| group == disk.group);
        if owner.is_some() {
            found.owner.clone_from(&said.owner);
        }
        if group.is_some() {
            found.group.clone_from(&said.group);
        }
        Self { owner, group }
    }
}

impl Store {
    /// What the index is to be told of a change.
    pub(super) fn committed(
        &self,
        intent: IntentId,
        placed: Vec<(RelPath, Option<Placed>)>,
        displaced: Option<Displaced>,
    ) -> Committed {
        let mut shortfalls = Vec::new();
        for (path, placed) in &placed {
            let Some(placed) = placed else { continue };
            let found = self.root.stat(path).ok();
            // Of what somebody changed meanwhile nothing is ours to explain.
            let found = found.filter(|found| super::identity_of(found) == placed.identity);
            let short =
                found.and_then(|found| Shortfall::of(&placed.meta, &found, &*self.principals));
            shortfalls.extend(short.map(|short| (path.clone(), short)));
        }
        Committed { intent, placed, displaced, shortfalls }
    }
}
