//! What waits at a site, and why: mass changes, edits that are not published, records that are set
//! aside.

use crate::{ItemKind, SiteRef, Time, TreePath, VersionInfo};
use serde::{Deserialize, Serialize};

/// A mass change that is held until somebody confirms or refuses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Braked {
    /// Where it comes from: `disk` for what was found on this site's own disk, `others` for sites that
    /// are not peers of the folder here, or the id of a peer.
    pub origin: String,
    /// The peer, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<SiteRef>,
    /// Since when.
    pub since: Time,
    /// Files that would go, with those that went within ten minutes before.
    pub deleted: u64,
    /// Files that would get another content, counted likewise.
    pub rewritten: u64,
    /// Of so many paths that stood in the folder.
    pub of: u64,
    /// Some of what is held.
    pub examples: Vec<TreePath>,
}

/// The order to confirm or refuse what is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Brake {
    /// The `origin` of what is meant; absent: all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// Why something is not published, or not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum WaitReason {
    /// Neighbours are heard first.
    Listening,
    /// The path has as many versions as a path may have.
    Crowded,
    /// The index has given all of its numbers.
    NumbersUsedUp,
    /// This site publishes nothing in the folder: an edit of its own, until it is reverted or
    /// overtaken.
    ReadOnly,
    /// It is part of a mass change that is held.
    Braked,
    /// Whoever told it was away for longer than deletions are remembered: it may have been deleted
    /// since.
    Stale,
}

impl WaitReason {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Listening => "neighbours are heard first",
            Self::Crowded => "the path has too many versions",
            Self::NumbersUsedUp => "the index has no numbers left",
            Self::ReadOnly => "this site publishes nothing",
            Self::Braked => "part of a mass change that is held",
            Self::Stale => "may have been deleted since",
        }
    }
}

/// Something that was found on disk and is not published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Waiting {
    /// Where.
    pub path: TreePath,
    /// Why.
    pub why: WaitReason,
    /// What stands there: `gone` if nothing does.
    pub kind: ItemKind,
    /// The length of a file in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was first seen.
    pub seen: Time,
}

/// What waits, in the order of a walk through the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WaitingPage {
    /// Some of it.
    pub items: Vec<Waiting>,
    /// What to give as `cursor` for more; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TreePath>,
}

/// The order to take back edits that this site may not publish.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Revert {
    /// At this path and beneath it; absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<TreePath>,
}

/// A version that a neighbour told and that is not taken in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SetAside {
    /// Names it.
    pub id: String,
    /// Of which path.
    pub path: TreePath,
    /// Why.
    pub why: WaitReason,
    /// The version.
    pub version: VersionInfo,
}

/// Versions that are not taken in, by their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SetAsidePage {
    /// Some of them.
    pub items: Vec<SetAside>,
    /// What to give as `cursor` for more; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The order to take in a version that was set aside, or to delete it everywhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OneAside {
    /// The `id` of the version.
    pub id: String,
}

/// The order to end the wait for versions whose content nobody has any more, some paths at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Forget {
    /// At this path and beneath it; absent: anywhere in the folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<TreePath>,
    /// Sites that are gone for good, by name or id: they are not waited for.
    #[serde(default)]
    pub without: Vec<String>,
    /// Whether nothing is to be done but to say what would be.
    #[serde(default)]
    pub dry_run: bool,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<TreePath>,
}

/// What becomes of a version that is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Fate {
    /// Every member was asked and lacks it: it is given up, at every site.
    Forget,
    /// Somebody may have it who could not be asked: it is waited for.
    Wait,
    /// Somebody has it: it comes.
    Comes,
}

/// A version that is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ForgetItem {
    /// Where.
    pub path: TreePath,
    /// What becomes of it, or would.
    pub fate: Fate,
    /// The version.
    pub version: VersionInfo,
    /// Who has it, or could not be asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<SiteRef>,
}

/// Some of what is waited for, in the order of a walk through the tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ForgetPage {
    /// Them.
    pub items: Vec<ForgetItem>,
    /// What to give as `cursor` to go on; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TreePath>,
}
