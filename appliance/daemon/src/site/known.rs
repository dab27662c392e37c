//! What sessions there are and which calls failed, for those who ask.

use super::dial::{Shared, lock};
use super::share::{JobShares, LinkCap, Rules, Shown};
use crate::moment::now_millis;
use farhaul_engine::control::ControlConnection;
use farhaul_proto::ids::SiteId;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A session.
#[derive(Clone, Debug)]
pub struct SessionFacts {
    /// When it began, in milliseconds since 1970.
    pub since_millis: u64,
    /// The peer's address when it did.
    pub addr: SocketAddr,
    /// What carries it, in lower case.
    pub carrier: String,
}

impl SessionFacts {
    pub(super) fn of(connection: &ControlConnection) -> Self {
        let carrier = connection.carrier.name().to_owned();
        Self { since_millis: now_millis(), addr: connection.addr, carrier }
    }
}

/// A call that failed.
#[derive(Clone, Debug)]
pub struct CallFailed {
    /// Why.
    pub why: String,
    /// When, in milliseconds since 1970.
    pub at_millis: u64,
    again: Instant,
}

impl CallFailed {
    pub(super) fn new(why: String, wait: Duration) -> Self {
        Self { why, at_millis: now_millis(), again: Instant::now() + wait }
    }

    /// How long until the next one, about.
    pub fn again_in(&self) -> Duration {
        self.again.saturating_duration_since(Instant::now())
    }
}

/// A look at the sessions of a site.
#[derive(Clone, Debug, Default)]
pub struct SitesView {
    shared: Weak<Shared>,
}

impl SitesView {
    pub(super) const fn new(shared: Weak<Shared>) -> Self {
        Self { shared }
    }

    /// The sessions that run.
    pub fn sessions(&self) -> BTreeMap<SiteId, SessionFacts> {
        self.shared.upgrade().map(|shared| shared.sessions()).unwrap_or_default()
    }

    /// Holds sessions from now on to what may go over each link, divided among what goes over it.
    pub fn allow(&self, links: Vec<LinkCap>) {
        self.hold(Rules { links, ..Rules::default() });
    }

    /// Holds sessions and jobs from now on to what is in force.
    pub fn hold(&self, rules: Rules) {
        if let Some(shared) = self.shared.upgrade() {
            shared.shares.allow(rules);
        }
    }

    /// Gives each job what it is to get from now on; within a tokio runtime.
    pub fn heed(&self, jobs: JobShares) {
        if let Some(shared) = self.shared.upgrade() {
            shared.shares.heed(jobs);
        }
    }

    /// What may go over each link.
    pub fn allowed(&self) -> Vec<LinkCap> {
        let links = |shared: Arc<Shared>| shared.shares.rules().links.clone();
        self.shared.upgrade().map(links).unwrap_or_default()
    }

    /// How links are used.
    pub fn shown(&self) -> Arc<Shown> {
        self.shared.upgrade().map(|shared| shared.shares.shown()).unwrap_or_default()
    }

    /// The last call to each peer, if it failed.
    pub fn failed(&self) -> BTreeMap<SiteId, CallFailed> {
        self.shared.upgrade().map(|shared| lock(&shared.failed).clone()).unwrap_or_default()
    }
}
