//! Syncthing with one folder of all sites, each connected to each.

use super::Scene;
use super::peers::Peer;
use crate::sync_beside::syncer::{LOOK_EVERY, PATIENCE, until};
use crate::sync_beside::syncthing::{Device, Syncthing, configured, generate};
use std::io;
use std::path::PathBuf;

/// Seconds between a change and its scan: the source is told to scan and does not wait for that.
const DELAY: u32 = 1;

/// All sites, the source first.
pub(super) struct SyncthingPeer(Vec<Syncthing>);

impl SyncthingPeer {
    pub(super) fn start(scene: &Scene<'_>) -> io::Result<Self> {
        let homes: Vec<PathBuf> =
            scene.names.iter().map(|name| scene.work.join(name).join("syncthing")).collect();
        let mut devices = Vec::new();
        for (name, home) in scene.names.iter().zip(&homes) {
            let at = scene.star.address(name).map_err(io::Error::other)?;
            devices.push(Device { id: generate(home)?, name: name.clone(), at });
        }
        let mut sites = Vec::new();
        for (site, home) in homes.iter().enumerate() {
            let at = devices[site].at;
            let command = configured(home, &scene.images(site), at, &devices, DELAY)?;
            let name = &scene.names[site];
            let spawn = |command: &_| scene.star.spawn_group(name, command);
            sites.push(Syncthing::run(home, spawn, &command)?);
        }
        for (here, site) in sites.iter().enumerate() {
            for (there, other) in devices.iter().enumerate() {
                until("two sites are connected", PATIENCE, LOOK_EVERY, || {
                    Ok(here == there || site.is_connected(&other.id)?)
                })?;
            }
            until("a first scan", PATIENCE, LOOK_EVERY, || site.is_idle())?;
        }
        Ok(Self(sites))
    }
}

impl Peer for SyncthingPeer {
    fn begin(&mut self) -> io::Result<()> {
        self.0[0].scan()
    }
}
