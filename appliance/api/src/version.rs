//! What was displaced and kept, and how it comes back.

use crate::{ItemKind, SiteRef, Time, TreePath, VersionInfo};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Something that was displaced at this site and is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeptVersion {
    /// Its name in the version store.
    pub name: String,
    /// What it is.
    pub kind: ItemKind,
    /// Its length in bytes.
    pub size: u64,
    /// When it was displaced, by the clock of this site.
    pub displaced: Time,
    /// The version that it is; absent for what was put there in the very moment of a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionInfo>,
}

/// What there is and was at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Versions {
    /// Which path.
    pub path: TreePath,
    /// What stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<VersionInfo>,
    /// What was displaced there, the oldest first.
    pub kept: Vec<KeptVersion>,
    /// What users of this site wrote over or deleted there, the oldest first: its bytes are at other
    /// sites, if anywhere.
    #[serde(default)]
    pub elsewhere: Vec<GoneVersion>,
}

/// Something that a user of this site wrote over or deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct GoneVersion {
    /// Its name, by which it can be restored.
    pub name: String,
    /// What it was.
    pub version: VersionInfo,
    /// When this site saw that it was gone.
    pub gone: Time,
    /// Whether its bytes are at this site all the same, at another path or kept; also of what needs
    /// none.
    pub here: bool,
    /// Peers that have its bytes, as they said a moment ago.
    #[serde(default)]
    pub sites: Vec<SiteRef>,
    /// Peers that could not be asked.
    #[serde(default)]
    pub unasked: Vec<SiteRef>,
}

/// The order to bring back what stood at a time, some paths at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Restore {
    /// A file, or a directory with all beneath it; absent for the whole folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<TreePath>,
    /// When; absent if `version` says what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// The name of what is to come back at `path`, as a list of its versions has it: of what is kept,
    /// or of what users of this site wrote over or deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Whether what came after that time is removed.
    #[serde(default)]
    pub exact: bool,
    /// Whether nothing is to be done but to say what would be.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether what need not change is told as well.
    #[serde(default)]
    pub all: bool,
    /// Whether `record` is told of each path, for whoever restores to another place.
    #[serde(default)]
    pub records: bool,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<TreePath>,
}

/// What a restore does at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum RestoreAction {
    /// Nothing: it stands as it stood.
    Same,
    /// What stood there comes back.
    Restore,
    /// What came later goes.
    Remove,
    /// What came later stays: `exact` was not asked for.
    Newer,
    /// It cannot be brought back; `why` says so.
    Unavailable,
}

/// A path of a restore.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RestoreItem {
    /// Where.
    pub path: TreePath,
    /// What is done, or would be.
    pub action: RestoreAction,
    /// What stood there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<VersionInfo>,
    /// The name of what is kept of it; absent where it still stands, or is not kept here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// The name of its version, where its bytes are not kept of this path but to be had: at another
    /// path of this site, or from `sites`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<String>,
    /// What its version says, as a record (SYNC.md, S-020) in hexadecimal digits, without what it has
    /// seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// Peers that have its bytes, where this site has not: they come from there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<SiteRef>,
    /// Why it cannot be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// Some paths of a restore, in the order of a walk through the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct RestorePage {
    /// Them.
    pub items: Vec<RestoreItem>,
    /// Users in records, and what each is called on the site's machine (`map-users`); told with
    /// records. Who is in no pair is called the same, unless the pairs give that name to another.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map_users: BTreeMap<String, String>,
    /// The same of groups (`map-groups`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub map_groups: BTreeMap<String, String>,
    /// What to give as `cursor` to go on; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TreePath>,
}
