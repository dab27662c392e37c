//! What sites are called in the configuration, added to answers that know only their keys.

use crate::config::Config;
use farhaul_api::{SiteRef, VersionInfo, Why};
use farhaul_sync::version::Dot;
use std::collections::BTreeMap;

/// Names by id.
pub(super) struct Names(BTreeMap<String, String>);

impl Names {
    pub(super) fn of(config: &Config, me: String) -> Self {
        let peers = config.peers.iter().map(|peer| (peer.id.to_string(), peer.name.clone()));
        // What was displaced and no site ever published.
        let nobody = Dot::NOBODY.author.site.to_string();
        let us = [(me, config.site.name.clone()), (nobody, "nobody: not published".to_owned())];
        Self(peers.chain(us).collect())
    }

    pub(super) fn site(&self, site: &mut SiteRef) {
        site.name = self.0.get(&site.id).cloned();
    }

    pub(super) fn version(&self, version: &mut VersionInfo) {
        self.site(&mut version.author);
    }

    /// Also in sentences.
    pub(super) fn why(&self, why: &mut Why) {
        for version in [&mut why.on_disk, &mut why.wanted].into_iter().flatten() {
            self.version(version);
        }
        why.versions.iter_mut().for_each(|known| self.version(&mut known.version));
        why.sites.iter_mut().for_each(|spread| self.site(&mut spread.site));
        if let Some(from) = why.fetching.as_mut().and_then(|fetching| fetching.from.as_mut()) {
            self.site(from);
        }
        for reason in &mut why.reasons {
            for (id, name) in &self.0 {
                if reason.contains(id.as_str()) {
                    *reason = reason.replace(id.as_str(), name);
                }
            }
        }
    }
}
