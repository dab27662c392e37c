//! What differs between two configurations, and whether a running site can take it up.

use super::{Config, Export, Folder, FolderId, Link, Peer};
use farhaul_proto::ids::SiteId;
use farhaul_sync::job::ExportName;
use std::collections::BTreeMap;
use std::fmt;

/// When a change holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// As soon as the site has taken it up.
    Live,
    /// After the next start.
    Restart,
}

/// A key whose value differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// `listen of the site`, `folder photos, which is new`.
    pub key: String,
    /// When it holds.
    pub effect: Effect,
}

/// All that differs, in the order of the sections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(Vec<Change>);

impl Changes {
    /// What is to be done to get from one to the other.
    pub fn between(old: &Config, new: &Config) -> Self {
        let mut changes = Self::default();
        changes.of_site(old, new);
        let name = |peer: &Peer| peer.name.clone();
        changes.each("peer", &peers(old), &peers(new), name, Self::of_peer);
        let id = |folder: &Folder| folder.id.to_string();
        changes.each("folder", &folders(old), &folders(new), id, Self::of_folder);
        let name = |export: &Export| export.name.as_str().to_owned();
        changes.each("export", &exports(old), &exports(new), name, Self::of_export);
        let (policy, bounds) = (old.transfer.policy, old.transfer.bounds);
        let to = new.transfer;
        changes.if_differs("policy of transfers", Effect::Live, policy != to.policy);
        changes.if_differs("rate of transfers", Effect::Live, bounds.cap() != to.bounds.cap());
        let floors = bounds.floor() != to.bounds.floor();
        changes.if_differs("rate-min of transfers", Effect::Live, floors);
        changes.of_calendars(old, new);
        let name = |link: &Link| link.name.clone();
        changes.each("link", &links(old), &links(new), name, Self::of_link);
        changes
    }

    /// Whether both say the same.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every change.
    pub fn iter(&self) -> impl Iterator<Item = &Change> {
        self.0.iter()
    }

    /// The keys that hold at once.
    pub fn live(&self) -> impl Iterator<Item = &str> {
        self.with(Effect::Live)
    }

    /// The keys that wait for the next start.
    pub fn after_restart(&self) -> impl Iterator<Item = &str> {
        self.with(Effect::Restart)
    }

    fn with(&self, effect: Effect) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |change| change.effect == effect).map(|one| one.key.as_str())
    }

    fn if_differs(&mut self, key: impl Into<String>, effect: Effect, differs: bool) {
        if differs {
            self.0.push(Change { key: key.into(), effect });
        }
    }

    fn of_site(&mut self, old: &Config, new: &Config) {
        let (old, new) = (&old.site, &new.site);
        for (key, differs) in [
            ("name", old.name != new.name),
            ("state", old.state != new.state),
            ("listen", old.listen != new.listen),
            ("api", old.api != new.api),
            ("buffers", old.buffers != new.buffers),
            ("workers", old.workers != new.workers),
        ] {
            self.if_differs(format!("{key} of the site"), Effect::Restart, differs);
        }
    }

    /// What is gone, what is new, and what differs in what stays.
    fn each<K: Ord, T: PartialEq>(
        &mut self,
        kind: &str,
        old: &BTreeMap<K, &T>,
        new: &BTreeMap<K, &T>,
        name: impl Fn(&T) -> String,
        differ: impl Fn(&mut Self, &str, &T, &T),
    ) {
        for (key, one) in old {
            let called = format!("{kind} {}", name(one));
            match new.get(key) {
                Some(other) => differ(self, &called, one, other),
                None => self.if_differs(format!("{called}, which is gone"), Effect::Live, true),
            }
        }
        for (_, one) in new.iter().filter(|(key, _)| !old.contains_key(key)) {
            let key = format!("{kind} {}, which is new", name(one));
            self.if_differs(key, Effect::Live, true);
        }
    }

    fn of_peer(&mut self, called: &str, old: &Peer, new: &Peer) {
        self.if_differs(format!("name of {called}"), Effect::Live, old.name != new.name);
        self.if_differs(format!("address of {called}"), Effect::Live, old.address != new.address);
    }

    /// A calendar is its rules with the holidays that they name: it is another one, or it is not.
    fn of_calendars(&mut self, old: &Config, new: &Config) {
        for (name, calendar) in &old.calendars {
            match new.calendars.get(name) {
                Some(other) => {
                    self.if_differs(format!("calendar {name}"), Effect::Live, calendar != other);
                }
                None => {
                    self.if_differs(format!("calendar {name}, which is gone"), Effect::Live, true);
                }
            }
        }
        for name in new.calendars.keys().filter(|name| !old.calendars.contains_key(*name)) {
            self.if_differs(format!("calendar {name}, which is new"), Effect::Live, true);
        }
    }

    fn of_link(&mut self, called: &str, old: &Link, new: &Link) {
        for (key, differs) in [
            ("up", old.up != new.up),
            ("down", old.down != new.down),
            ("calendar", old.calendar != new.calendar),
            ("peers", old.peers != new.peers),
            ("classes", old.classes != new.classes),
        ] {
            self.if_differs(format!("{key} of {called}"), Effect::Live, differs);
        }
    }

    fn of_folder(&mut self, called: &str, old: &Folder, new: &Folder) {
        for (key, effect, differs) in [
            // The index speaks of the tree that stood there.
            ("path", Effect::Restart, old.path != new.path),
            ("peers", Effect::Live, old.peers != new.peers),
            ("role", Effect::Live, old.role != new.role),
            ("deletes", Effect::Live, old.keeps_deleted != new.keeps_deleted),
            ("brake", Effect::Live, old.brake != new.brake),
            ("ignore", Effect::Live, old.ignore != new.ignore),
            ("scan-every", Effect::Live, old.scan_every != new.scan_every),
            ("scrub-every", Effect::Live, old.scrub.every != new.scrub.every),
            ("scrub-rate", Effect::Live, old.scrub.rate != new.scrub.rate),
            ("versions-age", Effect::Live, old.retention.age != new.retention.age),
            ("versions-room", Effect::Live, old.retention.room != new.retention.room),
            ("watch", Effect::Live, old.watch != new.watch),
            ("root-owned", Effect::Restart, old.root_owned != new.root_owned),
            ("map-users", Effect::Restart, old.map_users != new.map_users),
            ("map-groups", Effect::Restart, old.map_groups != new.map_groups),
        ] {
            self.if_differs(format!("{key} of {called}"), effect, differs);
        }
    }

    fn of_export(&mut self, called: &str, old: &Export, new: &Export) {
        for (key, differs) in [
            ("path", old.path != new.path),
            ("read", old.grants.read != new.grants.read),
            ("write", old.grants.write != new.grants.write),
            ("before", old.hooks.before != new.hooks.before),
            ("after", old.hooks.after != new.hooks.after),
            ("hook-limit", old.hooks.limit != new.hooks.limit),
        ] {
            self.if_differs(format!("{key} of {called}"), Effect::Live, differs);
        }
    }
}

/// Who a peer is does not change: another id is another peer.
fn peers(config: &Config) -> BTreeMap<SiteId, &Peer> {
    config.peers.iter().map(|peer| (peer.id, peer)).collect()
}

fn links(config: &Config) -> BTreeMap<&str, &Link> {
    config.links.iter().map(|link| (link.name.as_str(), link)).collect()
}

fn folders(config: &Config) -> BTreeMap<&FolderId, &Folder> {
    config.folders.iter().map(|folder| (&folder.id, folder)).collect()
}

fn exports(config: &Config) -> BTreeMap<&ExportName, &Export> {
    config.exports.iter().map(|export| (&export.name, export)).collect()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = match self.effect {
            Effect::Live => "holds at once",
            Effect::Restart => "holds after the next start",
        };
        write!(f, "{}: {when}", self.key)
    }
}
