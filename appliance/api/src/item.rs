//! One path: its versions, what is wanted, and why it is not so yet.

use crate::{Time, TreePath};
use serde::{Deserialize, Serialize};

/// A site, and what it is called here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SiteRef {
    /// Its name in the configuration of the site that answers; absent for sites that it does not
    /// know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who it is.
    pub id: String,
}

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ItemKind {
    /// Nothing: it was deleted.
    Gone,
    /// A directory.
    Dir,
    /// A symbolic link.
    Link,
    /// A regular file.
    File,
}

/// A version of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VersionInfo {
    /// Who made it.
    pub author: SiteRef,
    /// The how manyth version of its author's index.
    pub serial: u64,
    /// When, by its author's clock.
    pub made: Time,
    /// What it is.
    pub kind: ItemKind,
    /// The length of a file in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The target of a link, escaped as a path is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TreePath>,
    /// Permission bits.
    pub mode: u32,
    /// Last modification of a file or link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified: Option<Time>,
}

/// A version that no other one covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Known {
    /// The version.
    pub version: VersionInfo,
    /// Whether it is what stands, or is to stand, at the path itself.
    pub shown: bool,
    /// Where its conflict copy stands or is to stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<TreePath>,
}

/// What is to be done at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Task {
    /// A version is to be put there.
    Place,
    /// Mode, time or owner are to be set.
    Describe,
    /// A directory is to be made for what is beneath.
    MakeDir,
    /// It is to be removed.
    Remove,
}

/// A file on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Fetching {
    /// Whom it was asked of; absent where it comes from this site's own disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<SiteRef>,
    /// Its length in bytes.
    pub size: u64,
}

/// What last failed at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Failure {
    /// Why.
    pub why: String,
    /// When, the last time.
    pub at: Time,
    /// How often since it last worked.
    pub times: u64,
}

/// How far a site is told of what this one knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum SpreadState {
    /// It called the newest version of the path durable.
    Durable,
    /// It was sent it.
    Told,
    /// It was not sent it yet.
    Untold,
    /// It is not connected: nobody knows.
    Unknown,
}

/// What of a path a peer knows and may give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Spread {
    /// Who.
    pub site: SiteRef,
    /// What it was told.
    pub knows: SpreadState,
    /// Whether it can be asked for the content now.
    pub can_be_asked: bool,
    /// Whether it made the version that is wanted.
    pub is_author: bool,
}

/// Everything that decides whether a path is in sync.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Why {
    /// Which path.
    pub path: TreePath,
    /// Whether the disk is as it is to be, and every connected peer knows so.
    pub in_sync: bool,
    /// Why not, or that it is; the gravest first.
    pub reasons: Vec<String>,
    /// What the index says stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_disk: Option<VersionInfo>,
    /// The versions that no other one covers.
    pub versions: Vec<Known>,
    /// What is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Task>,
    /// The version that is wanted there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<VersionInfo>,
    /// Whether it is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetching: Option<Fetching>,
    /// What last failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// The path whose conflict copy this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<TreePath>,
    /// What of the metadata of what stands there the disk or this site did not take, and why: one line
    /// each. That is no reason to be out of sync.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// The sites that share the folder.
    pub sites: Vec<Spread>,
}

/// A path at which something is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Missing {
    /// Where.
    pub path: TreePath,
    /// What.
    pub task: Task,
    /// The version that is wanted, if one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<VersionInfo>,
}

/// Paths at which something is to be done, in the order of a walk through the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct MissingPage {
    /// Some of them.
    pub items: Vec<Missing>,
    /// What to give as `cursor` for more; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TreePath>,
}
