//! How a site, its folders and its peers are.

use crate::{Braked, LinkStatus, SiteRef, Time};
use serde::{Deserialize, Serialize};

/// A site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct SiteStatus {
    /// What it is called in its configuration.
    pub name: String,
    /// Who it is: the name of its key, 52 letters.
    pub id: String,
    /// Which release runs.
    pub version: String,
    /// Since when.
    pub since: Time,
    /// Where peers reach it.
    pub listen: String,
    /// Its folders, by name.
    pub folders: Vec<FolderStatus>,
    /// Its peers, by name.
    pub peers: Vec<PeerStatus>,
    /// Its links, in the order of its configuration.
    #[serde(default)]
    pub links: Vec<LinkStatus>,
}

/// What a folder is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum FolderState {
    /// Somebody paused it: nothing is looked at, fetched or changed here.
    Paused,
    /// It cannot be worked on: its disk is not mounted, or another folder stands there.
    Halted,
    /// It is being opened: `reason` says how far that is.
    Opening,
    /// The tree is being looked through.
    Scanning,
    /// Something is to be done that is known of.
    Syncing,
    /// Something waits for a person, for peers or for room, or does not work: `reason` says what.
    Waiting,
    /// Nothing is to be done, as far as this site heard.
    InSync,
}

impl FolderState {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Paused,
        Self::Halted,
        Self::Opening,
        Self::Scanning,
        Self::Syncing,
        Self::Waiting,
        Self::InSync,
    ];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Paused => "paused",
            Self::Halted => "halted",
            Self::Opening => "opening",
            Self::Scanning => "scanning",
            Self::Syncing => "syncing",
            Self::Waiting => "waiting",
            Self::InSync => "in-sync",
        }
    }
}

/// A folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FolderStatus {
    /// Its id in the configuration.
    pub id: String,
    /// Where it stands.
    pub path: String,
    /// What this site does in it.
    pub role: String,
    /// What it is at.
    pub state: FolderState,
    /// Why it is so, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What stands in it; absent until it was counted once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<Contents>,
    /// Paths at which something is to be done.
    pub missing: u64,
    /// Files that are on their way here.
    pub fetching: u64,
    /// Their lengths together, in bytes.
    pub fetching_bytes: u64,
    /// Conflict copies that stand or are to stand in it.
    pub conflicts: u64,
    /// Paths of which the disk or this site did not take all metadata.
    #[serde(default)]
    pub lacking: Lacking,
    /// When it was last looked through.
    pub scan: ScanStatus,
    /// How changes in it are heard of between scans.
    #[serde(default)]
    pub watch: WatchStatus,
    /// How its files were last read again.
    #[serde(default)]
    pub scrub: ScrubStatus,
    /// What is kept of what was displaced in it.
    #[serde(default)]
    pub kept: KeptStatus,
    /// What does not work.
    pub troubles: Vec<Trouble>,
    /// Mass changes that are held until somebody confirms or refuses them.
    #[serde(default)]
    pub held: Vec<Braked>,
    /// Paths of which what was found is not published.
    #[serde(default)]
    pub waiting: u64,
    /// Versions of neighbours that are set aside.
    #[serde(default)]
    pub set_aside: u64,
    /// Neighbours that are heard before anything is published.
    #[serde(default)]
    pub unheard: Vec<SiteRef>,
    /// With whom it is kept.
    pub peers: Vec<FolderPeer>,
}

/// What stands in a folder, as its index has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Contents {
    /// Files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symbolic links.
    pub links: u64,
    /// Lengths of the files together.
    pub bytes: u64,
    /// When this was counted.
    pub counted: Time,
}

/// Of how many paths the disk or this site did not take all metadata: [`crate::Why::lacks`] says of one
/// what, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Lacking {
    /// Paths; some lack more than one thing.
    pub paths: u64,
    /// That lack their owner.
    pub owner: u64,
    /// That lack their group.
    pub group: u64,
    /// That lack bits of their mode.
    pub mode: u64,
    /// That lack lists or extended attributes.
    pub attributes: u64,
    /// That have lists or extended attributes which are more than travels, here or elsewhere.
    pub unsaid: u64,
}

/// How scans of a folder go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ScanStatus {
    /// Whether one runs.
    pub running: bool,
    /// When the last one ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// When the next one is due, in seconds from now.
    pub next_in_seconds: u64,
}

/// How changes in a folder are heard of as they happen. What is not heard of, scans find.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WatchStatus {
    /// `fanotify`, `inotify` or `nothing`.
    pub by: String,
    /// Watches that are held: directories, or 1 for a mark on the file system.
    pub watches: u64,
    /// Directories for which there was no watch left: they are looked at often instead.
    pub unwatched: u64,
    /// Why nothing watches, or not the best that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often more changed than could be heard of, so that the folder was scanned.
    pub overflows: u64,
    /// When that was the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_overflow: Option<Time>,
}

/// How the files of a folder are read again, to find what its disk gives wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ScrubStatus {
    /// Whether that is done at this moment.
    pub running: bool,
    /// When the round began that is under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began: Option<Time>,
    /// When it ended; absent while it goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// Files that it has read.
    pub files: u64,
    /// Bytes that it has read.
    pub bytes: u64,
    /// Files of which the disk gave something else than what was written.
    pub damaged: u64,
    /// When the next one begins, in seconds from now; absent where none does by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_in_seconds: Option<u64>,
}

/// What is kept of what was overwritten and deleted in a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct KeptStatus {
    /// How many versions.
    pub versions: u64,
    /// Their lengths together, in bytes.
    pub bytes: u64,
    /// When that was counted, which is done once an hour; absent before the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted: Option<Time>,
}

/// Something that does not work, and since when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Trouble {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
    /// Since when.
    pub since: Time,
}

/// A peer of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct FolderPeer {
    /// Who.
    pub site: SiteRef,
    /// Whether there is a session in which it shares the folder.
    pub connected: bool,
    /// Records of ours that it has not called durable; absent while it is not connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outstanding: Option<u64>,
    /// The last comparison of what both hold, of sites that follow each other: about one an hour. Absent
    /// while there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared: Option<PeerCompared>,
}

/// What came of a comparison of what this site and a peer hold of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PeerCompared {
    /// When it was, RFC 3339.
    pub at: String,
    /// Whether both held the same.
    pub agreed: bool,
    /// Records of this site's that the peer had lost, and was told again.
    pub lacked: u64,
    /// Records that this site had lost, and was told again.
    pub regained: u64,
}

/// A peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct PeerStatus {
    /// Who.
    pub site: SiteRef,
    /// Where it is called, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Whether there is a session with it.
    pub connected: bool,
    /// Since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Its address in that session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What carries that session: `udp` or `tcp`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    /// The last call that failed, while there is no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// Folders that are shared with it.
    pub folders: Vec<String>,
    /// Records of ours in all of them that it has not called durable.
    pub outstanding: u64,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Call {
    /// Why.
    pub why: String,
    /// When.
    pub at: Time,
    /// When it is called again, in seconds from now.
    pub again_in_seconds: u64,
}

/// That an order was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Done {
    /// What was done, or is begun.
    pub done: String,
}

/// Whether a site lives, or is ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Health {
    /// Whether it is.
    pub ok: bool,
    /// What is not as it should be; also what is halted while the rest goes on.
    pub why: Vec<String>,
}
