//! A configuration that is read again while the site runs: what may change does, what may not is named,
//! and a file with a fault changes nothing.

use super::{Allowed, RunError, jobs_setup, manager, note_others, setups};
use crate::config::{Changes, Config, ConfigError};
use crate::control::AskError;
use crate::events::Said;
use crate::http::Sources;
use crate::site::Sites;
use farhaul_api::EventKind;
use farhaul_sync::seal::FolderKey;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// Where the configuration is, and when it is to be read again.
#[derive(Debug)]
pub struct Reloads {
    /// The file; `None`: never.
    pub file: Option<PathBuf>,
    /// Says so each time.
    pub asked: mpsc::Receiver<()>,
}

/// Why nothing was taken up.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the file was not read")]
    Unread,
}

impl Reloads {
    /// Never.
    pub fn never() -> Self {
        Self { file: None, asked: mpsc::channel(1).1 }
    }

    /// Ends when it is to be read again.
    pub(super) async fn asked(&mut self) {
        if self.asked.recv().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Reads it, and takes up what may change.
    pub(super) async fn reload(&self, sources: &Sources, sites: &mut Sites, allowed: &Allowed) {
        let Some(file) = self.file.clone() else { return };
        manager::reloads();
        let read = spawn_blocking(move || Config::load(&file)).await;
        let taken = match read {
            Ok(Ok(new)) => take_up(new, sources, sites, allowed).await,
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(ReloadError::Unread),
        };
        if let Err(error) = taken {
            tracing::error!(%error, "the site goes on as it was configured before");
        }
        manager::is_ready();
    }
}

async fn take_up(
    mut new: Config,
    sources: &Sources,
    sites: &mut Sites,
    allowed: &Allowed,
) -> Result<(), ReloadError> {
    let old = sources.config();
    if let Some(name) = new.peer_name(sources.me) {
        return Err(RunError::OwnId { name: name.to_owned() }.into());
    }
    let changes = Changes::between(&old, &new);
    let looked = keep_what_stays(&old, &mut new);
    let told = (new.places(), new.transfer.options());
    let new = Arc::new(new);
    let config = Arc::clone(&new);
    let folders = spawn_blocking(move || setups(&config)).await;
    let folders = folders.map_err(|_| ReloadError::Unread)??;
    // Nobody who may not connect any more does so between this and what follows.
    allowed.set(&new);
    let failed = sources.control.configure(folders, looked).await?;
    sources.control.configure_jobs(jobs_setup(&new)).await?;
    // Whoever still opened a folder that was removed may have dealt with the note before it was told
    // to stop.
    let config = Arc::clone(&new);
    let noted = spawn_blocking(move || note_others(&config)).await;
    if let Err(error) = noted.map_err(|_| ReloadError::Unread).and_then(|done| Ok(done?)) {
        tracing::error!(%error, "it is not noted anew which folders are not kept");
    }
    sites.configure(told.1, told.0);
    *sources.config.write().unwrap_or_else(PoisonError::into_inner) = new;
    sources.reconfigured.notify_one();
    for change in changes.iter() {
        tracing::info!("{change}");
    }
    for (folder, error) in &failed {
        tracing::error!(folder, %error, "cannot be opened; mend it and reload");
    }
    let (live, restart) = (changes.live().count(), changes.after_restart().count());
    let text = format!("{live} changes hold, {restart} after the next start");
    tracing::info!(live, after_restart = restart, "the configuration was read again");
    sources.control.log().say(Said::that(EventKind::Reloaded).text(text));
    Ok(())
}

/// Puts back what holds only after the next start; returns the folders of which something else is
/// left out than before.
fn keep_what_stays(old: &Config, new: &mut Config) -> BTreeSet<FolderKey> {
    new.site = old.site.clone();
    let mut looked = BTreeSet::new();
    for folder in &mut new.folders {
        let Some(before) = old.folders.iter().find(|before| before.id == folder.id) else {
            continue;
        };
        folder.path.clone_from(&before.path);
        if before.ignore != folder.ignore {
            looked.insert(folder.id.key());
        }
    }
    looked
}
