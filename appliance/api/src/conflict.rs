//! Conflicts: versions of one path of which no author had seen the other.

use crate::{TreePath, VersionInfo};
use serde::{Deserialize, Serialize};

/// A version that lost, and stands beside its path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Conflict {
    /// The path of which it is a version.
    pub path: TreePath,
    /// What is shown there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<VersionInfo>,
    /// Where it stands itself.
    pub copy: TreePath,
    /// The version.
    pub version: VersionInfo,
}

/// Conflicts, by the paths of their copies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ConflictPage {
    /// Some of them.
    pub items: Vec<Conflict>,
    /// What to give as `cursor` for more; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<TreePath>,
}

/// Which side of a conflict stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Keep {
    /// What is shown at the path; the copy goes.
    Shown,
    /// The copy: its content takes the place of what is shown.
    Copy,
}

/// The order to end a conflict. Every site follows it; what is displaced is kept as a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Resolve {
    /// Where the copy stands.
    pub copy: TreePath,
    /// Which side stays.
    pub keep: Keep,
}
