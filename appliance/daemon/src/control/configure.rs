//! A configuration that changed, taken up while the loop runs: folders come, go and are changed; their
//! peers are told anew what is shared with them.

use super::Loop;
use super::ask::{AskError, Asker};
use super::folder::{Folder, FolderSetup};
use crate::site::Outgoing;
use farhaul_proto::ids::SiteId;
use farhaul_sync::message::Message;
use farhaul_sync::seal::FolderKey;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long folders are waited for that are opened because the configuration names them.
const PATIENCE: Duration = Duration::from_secs(5);

impl Asker {
    /// Keeps these folders from now on; those named in `looked` are looked through, because what is
    /// left out of them has changed. The folders that could not be opened; new ones are waited for a few
    /// seconds, and go on being opened after that.
    ///
    /// # Errors
    /// [`AskError::Over`].
    pub async fn configure(
        &self,
        wanted: Vec<FolderSetup>,
        looked: BTreeSet<FolderKey>,
    ) -> Result<Vec<(String, String)>, AskError> {
        let opening = self.ask(move |body| body.configure(wanted, &looked)).await?;
        let (mut failed, until) = (Vec::new(), tokio::time::Instant::now() + PATIENCE);
        for (name, told) in opening {
            if let Ok(Ok(Err(why))) = tokio::time::timeout_at(until, told).await {
                failed.push((name, why));
            }
        }
        Ok(failed)
    }
}

impl Loop {
    fn configure(
        &mut self,
        wanted: Vec<FolderSetup>,
        looked: &BTreeSet<FolderKey>,
    ) -> Vec<(String, oneshot::Receiver<Result<(), String>>)> {
        let mut stay: BTreeSet<FolderKey> = wanted.iter().map(|setup| setup.key).collect();
        stay.extend(self.job_folders());
        let all: Vec<FolderKey> = self.folders.keys().copied().collect();
        for gone in all.iter().filter(|key| !stay.contains(key)) {
            if let Some(folder) = self.folders.remove(gone) {
                folder.close();
            }
        }
        self.halted.retain(|key, _| stay.contains(key));
        let gone = self.opening.iter_mut().filter(|(key, _)| !stay.contains(key));
        gone.for_each(|(_, opening)| opening.leave());
        self.forget_all_but(&stay);
        let mut opened = Vec::new();
        for setup in wanted {
            if let Some(folder) = self.folders.get_mut(&setup.key) {
                let is_looked_at = looked.contains(&setup.key);
                folder.configure(setup, is_looked_at);
                continue;
            }
            let (name, key) = (setup.name.clone(), setup.key);
            self.halted.remove(&key);
            self.shown.entry(key).or_default();
            match self.opening.get_mut(&key) {
                Some(opening) => opening.want(setup, looked.contains(&key)),
                None => self.begin_to_open(setup, None, false),
            }
            if let Some(opening) = self.opening.get_mut(&key) {
                opened.push((name, opening.tell()));
            }
        }
        self.share_anew();
        opened
    }

    /// Tells every peer again what is shared with it.
    pub(super) fn share_anew(&self) {
        for (peer, outbox) in &self.outboxes {
            let shared = self.folders.values().filter_map(|folder| folder.share_with(*peer));
            let share = Message::Share { folders: shared.collect() };
            // A session that takes nothing ends, and the next one begins with this.
            let _ = outbox.send(Outgoing::Say(share));
        }
    }
}

impl Folder {
    /// Takes up what may change while it is open; it stays where it stands.
    pub(super) fn configure(&mut self, setup: FolderSetup, is_looked_at: bool) {
        let left: Vec<SiteId> = self.setup.peers.difference(&setup.peers).copied().collect();
        for peer in left {
            self.lost(peer);
        }
        self.next_scan = self.next_scan.min(std::time::Instant::now() + setup.scan_every);
        let path = self.setup.path.clone();
        let is_watched_anew = self.setup.watch != setup.watch;
        self.setup = FolderSetup { path, ..setup };
        self.take_part_in_swarms();
        let taken_up = self.take_up_guards();
        self.note("roles and patterns cannot be taken up", taken_up);
        if self.is_paused {
            return;
        }
        if is_looked_at && let Some(scan) = &self.scan {
            // A scan that runs leaves out what was to be left out before, and so does who watches.
            scan.set();
            self.scans_again = true;
        }
        if is_looked_at || is_watched_anew {
            self.ears = None;
            self.wake_up();
        }
    }
}
