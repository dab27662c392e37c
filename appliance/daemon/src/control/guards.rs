//! What guards the files of a folder, taken up when it is opened and when the configuration changes:
//! who may do what, and what is left out. And mass changes that wait for a person.

use super::ask::AskError;
use super::folder::{Folder, FolderError, wall_millis};
use crate::events::Said;
use crate::index::{Durability, Kind, Known};
use crate::scan::Rules;
use farhaul_api::EventKind;
use farhaul_engine::files::ConfineError;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::{Item, Origin, Rights, Trip};
use farhaul_sync::message::Followed;
use farhaul_sync::version::Content;
use std::collections::BTreeSet;

/// Paths that are gone through in one transaction.
const PAGE: usize = 1024;

impl Folder {
    /// Whether neighbours are told and given anything.
    pub(super) fn gives(&self) -> bool {
        self.setup.policy.rights.own().gives()
    }

    /// Takes up roles and patterns, before anything is looked at under them.
    pub(super) fn take_up_guards(&mut self) -> Result<(), FolderError> {
        self.take_up_rights()?;
        self.take_up_rules()?;
        self.look_at_all_again();
        self.note_brake()
    }

    /// What was refused and is taken from now on has to be told again (spec: S-141).
    fn take_up_rights(&mut self) -> Result<(), FolderError> {
        let rights = &self.setup.policy.rights;
        let (now, before) = (rights.encode(), self.index.read().rights_print()?);
        if before.as_ref() == Some(&now) {
            return Ok(());
        }
        let before = before.as_deref().and_then(Rights::decode);
        let is_wider = before.is_some_and(|before| rights.takes_more_than(&before));
        let peers: Vec<SiteId> = self.setup.peers.iter().copied().collect();
        let mut keeping = self.index.begin(Durability::Now)?;
        keeping.set_rights_print(&now)?;
        for peer in peers.iter().filter(|_| is_wider) {
            if let Some(followed) = keeping.read().followed(*peer)? {
                keeping.follow(*peer, Followed { up_to: 0, ..followed })?;
            }
        }
        keeping.commit()?;
        for peer in peers.into_iter().filter(|_| is_wider) {
            self.ask_again(peer);
        }
        Ok(())
    }

    /// What is left out from now on is forgotten, and what is no longer is as if it had never been
    /// known: no change of patterns deletes anything (spec: S-157).
    fn take_up_rules(&mut self) -> Result<(), FolderError> {
        let rules = self.setup.rules.clone();
        let before = self.index.read().rules_print()?;
        if before.as_deref() == Some(&rules.print()[..]) {
            return Ok(());
        }
        // An index that is new knows nothing yet; one of before knows of no patterns.
        if before.is_some() || !rules.is_empty() {
            self.leave_out(&rules)?;
            self.take_in(&rules)?;
        }
        let keeping = self.index.begin(Durability::Now)?;
        keeping.set_rules_print(rules.print())?;
        Ok(keeping.commit()?)
    }

    /// Forgets what stands where it is left out now.
    fn leave_out(&mut self, rules: &Rules) -> Result<(), FolderError> {
        let mut after: Option<RelPath> = None;
        loop {
            let page = self.index.read().standing(None, after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.path.clone());
            self.change(Durability::Later, |state| {
                for standing in page {
                    let is_dir = standing.kind == Kind::Dir;
                    if rules.is_within_ignored(standing.path.as_bytes(), is_dir) {
                        state.leave_out(&standing.path)?;
                    }
                }
                Ok(())
            })?;
        }
    }

    /// Has what is not left out any more put in place, where nothing stands. What stands there, a scan
    /// takes in.
    fn take_in(&mut self, rules: &Rules) -> Result<(), FolderError> {
        let mut after: Option<RelPath> = None;
        loop {
            let page = self.index.read().known(None, after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.path.clone());
            let root = self.store.root().clone();
            self.change(Durability::Later, |state| {
                for Known { path, .. } in page {
                    let item = state.index().read().item(&path)?;
                    let is_absent = matches!(root.stat(&path), Err(ConfineError::NotFound { .. }));
                    if item.placed.is_none() && is_absent && !is_left_out(rules, &path, &item) {
                        state.reconsider(&path)?;
                    }
                }
                Ok(())
            })?;
        }
    }

    /// Records of sites that may not publish came to nothing: it is shown, once for each.
    pub(super) fn note_refused(&mut self, refused: &BTreeSet<SiteId>) {
        for site in refused {
            let role = self.setup.policy.rights.of(*site).name();
            let role = if self.setup.policy.rights.own().receives() {
                format!("its role is {role}: see that it knows that, or change `peers`")
            } else {
                "this site is source-only: it takes nothing of others".to_owned()
            };
            let what = format!("refuses what {site} publishes");
            self.health.went(&what, Some(role));
            self.health.passes(&what);
        }
    }

    /// Says which mass changes wait, and which do no more.
    pub(super) fn note_brake(&mut self) -> Result<(), FolderError> {
        let trips = self.trips()?;
        let now: BTreeSet<Origin> = trips.iter().map(|(origin, _)| *origin).collect();
        for (origin, trip) in &trips {
            if !self.braked.contains(origin) {
                let Trip { deleted, rewritten, of, .. } = trip;
                let text = format!(
                    "{origin}: {deleted} files deleted and {rewritten} rewritten of {of} paths"
                );
                tracing::warn!(folder = %self.setup.name, "a mass change is held: {text}");
                self.health.say(Said::that(EventKind::Braked).text(text));
            }
        }
        for origin in self.braked.difference(&now) {
            self.health.say(Said::that(EventKind::Braked).text(format!("{origin}: held no more")));
        }
        self.braked = now;
        Ok(())
    }

    /// Mass changes that wait.
    pub(super) fn trips(&self) -> Result<Vec<(Origin, Trip)>, FolderError> {
        if self.setup.policy.brake.is_none() {
            return Ok(Vec::new());
        }
        let brake = self.index.read().brake()?;
        Ok(brake.trips().map(|(origin, trip)| (origin, trip.clone())).collect())
    }

    /// Lets go what turned out to be less.
    pub(super) fn reweigh(&mut self) -> Result<(), FolderError> {
        let held: Vec<Origin> = self.braked.iter().copied().collect();
        for origin in held {
            if self.change(Durability::Later, |state| Ok(state.reweigh(origin)?))? {
                self.let_go(origin)?;
            }
        }
        Ok(())
    }

    fn let_go(&mut self, origin: Origin) -> Result<(), FolderError> {
        if origin == Origin::Disk {
            self.look_at_all_again();
        }
        self.note_brake()
    }

    /// What is held is meant: it is published, or done.
    pub(super) fn confirm(&mut self, origin: Option<Origin>) -> Result<Vec<Trip>, AskError> {
        let mut released = Vec::new();
        for origin in self.chosen(origin)? {
            released.extend(self.change(Durability::Now, |state| Ok(state.confirm(origin)?))?);
            self.let_go(origin)?;
        }
        Ok(released)
    }

    /// What is held is not meant: it is undone.
    pub(super) fn refuse(&mut self, origin: Option<Origin>) -> Result<Vec<Trip>, AskError> {
        if self.is_paused {
            return Err(AskError::Paused);
        }
        let mut refused = Vec::new();
        for origin in self.chosen(origin)? {
            let trips = self.trips()?;
            refused.extend(trips.into_iter().find(|(of, _)| *of == origin).map(|(_, trip)| trip));
            let mut after: Option<RelPath> = None;
            loop {
                let next = self.change(Durability::Now, |state| {
                    Ok(state.refuse(origin, after.as_ref(), wall_millis())?)
                })?;
                if next.is_none() {
                    break;
                }
                after = next;
            }
            self.let_go(origin)?;
        }
        Ok(refused)
    }

    /// The origin that was named, or all of which something is held.
    fn chosen(&self, origin: Option<Origin>) -> Result<Vec<Origin>, AskError> {
        let held = self.trips()?.into_iter().map(|(held, _)| held);
        let chosen = held.filter(|held| origin.is_none_or(|origin| origin == *held));
        let chosen: Vec<Origin> = chosen.collect();
        if chosen.is_empty() { Err(AskError::NotBraked) } else { Ok(chosen) }
    }
}

/// Whether nothing is done at a path because a pattern leaves it out.
pub(super) fn is_left_out(rules: &Rules, path: &RelPath, item: &Item) -> bool {
    if rules.is_empty() {
        return false;
    }
    let is_dir = |content: &Content| *content == Content::Dir;
    let is_dir = item.has_children
        || item.versions.iter().any(|version| is_dir(&version.content))
        || item.placed.as_ref().is_some_and(|placed| is_dir(&placed.version.content));
    rules.is_within_ignored(path.as_bytes(), is_dir)
}
