//! Sessions that a site left behind: a new one of the same site takes their place.
//!
//! A process that was killed says no goodbye, and its session would hold the staged files until
//! the idle limit (30 s). When the same site connects again, an older session that stays silent
//! is ended; one that still receives packets is another transfer, and goes on.

use crate::engine::SessionProbe;
use crate::identity::SiteId;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A session that received nothing for so long was left behind.
const SILENT: Duration = Duration::from_millis(1500);
/// How often older sessions are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// An ended session lets go of its files within this time.
const LET_GO: Duration = Duration::from_millis(200);

/// The sessions that are being served.
#[derive(Clone, Default)]
pub struct Sessions {
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    next: u64,
    served: BTreeMap<u64, Served>,
}

struct Served {
    site: SiteId,
    probe: SessionProbe,
    end: watch::Sender<bool>,
}

/// What is known of an older session.
enum Older {
    /// It received something since the new one came.
    Alive,
    /// It may still be either.
    Unclear,
    /// It was silent for too long, or is gone.
    Dead,
}

impl Sessions {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a new session of `site` in, after older ones of it were found alive or ended.
    pub async fn admit(&self, site: SiteId, probe: SessionProbe) -> Admitted {
        let came = Instant::now();
        let mut older = self.of(site);
        let mut ended = false;
        while !older.is_empty() {
            let mut unclear = Vec::new();
            for (key, probe) in older {
                match look(&probe, came).await {
                    Older::Alive => {}
                    Older::Unclear => unclear.push((key, probe)),
                    Older::Dead => {
                        ended = true;
                        self.end(key);
                    }
                }
            }
            older = unclear;
            if !older.is_empty() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        if ended {
            tokio::time::sleep(LET_GO).await;
        }
        let (end, ending) = watch::channel(false);
        let mut table = self.lock();
        let key = table.next;
        table.next += 1;
        table.served.insert(key, Served { site, probe, end });
        drop(table);
        Admitted { sessions: self.clone(), key, ending }
    }

    fn of(&self, site: SiteId) -> Vec<(u64, SessionProbe)> {
        let table = self.lock();
        let same = table.served.iter().filter(|(_, served)| served.site == site);
        same.map(|(&key, served)| (key, served.probe.clone())).collect()
    }

    fn end(&self, key: u64) {
        if let Some(served) = self.lock().served.remove(&key) {
            served.end.send_replace(true);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Every update is one step, so the table is valid after any interruption.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn look(probe: &SessionProbe, came: Instant) -> Older {
    match probe.stats().await {
        None => Older::Dead,
        Some(stats) if stats.heard_ago < came.elapsed() => Older::Alive,
        Some(stats) if stats.heard_ago > SILENT => Older::Dead,
        Some(_) => Older::Unclear,
    }
}

/// A session's place among the served ones; given up when dropped.
pub struct Admitted {
    sessions: Sessions,
    key: u64,
    ending: watch::Receiver<bool>,
}

impl Admitted {
    /// Serves until done, or until a newer session takes the place: then `None`.
    pub async fn run<T>(mut self, serving: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = serving => Some(done),
            _ = self.ending.wait_for(|end| *end) => None,
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.sessions.lock().served.remove(&self.key);
    }
}
