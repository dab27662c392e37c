//! Sessions that a site left behind: a new one of the same site takes their place.
//!
//! A process that was killed says no goodbye, and its session would hold the staged files until
//! the idle limit, for minutes. When the same site connects again, the peers of its older sessions
//! are asked for a sign of life. One that gives none is gone, and its session is ended; any other
//! is another transfer, and goes on, however long it was silent: hashing, scanning and slow disks
//! take minutes. spec: W-096

use crate::engine::{NoAnswer, SessionProbe};
use crate::identity::SiteId;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A peer that is asked again and again and says nothing for so long is gone,
const SILENT: Duration = Duration::from_millis(1500);
/// unless this many round trips take longer.
const SILENT_RTTS: u32 = 4;
/// Questions that have to stay without an answer: some are lost.
const ASKED_MIN: u32 = 8;
/// How often the peers of older sessions are asked.
const ASK_EVERY: Duration = Duration::from_millis(100);
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

/// An older session of which nothing is known yet.
struct Older {
    key: u64,
    probe: SessionProbe,
    /// When its peer was asked first.
    asked_at: Option<Instant>,
    asked: u32,
}

/// What is known of an older session.
enum Fate {
    /// It received something since the new one came.
    Alive,
    /// It may still be either.
    Unclear,
    /// Its peer is gone.
    Dead,
    /// It has ended by itself.
    Over,
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
            for mut one in older {
                match one.ask(came).await {
                    Fate::Alive => {}
                    Fate::Unclear => unclear.push(one),
                    Fate::Over => ended = true,
                    Fate::Dead => {
                        ended = true;
                        self.end(one.key);
                    }
                }
            }
            older = unclear;
            if !older.is_empty() {
                tokio::time::sleep(ASK_EVERY).await;
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

    fn of(&self, site: SiteId) -> Vec<Older> {
        let table = self.lock();
        let same = table.served.iter().filter(|(_, served)| served.site == site);
        let older = same.map(|(&key, served)| {
            let probe = served.probe.clone();
            Older { key, probe, asked_at: None, asked: 0 }
        });
        older.collect()
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

impl Older {
    /// Asks for a sign of life, and says what is known after all the questions so far.
    async fn ask(&mut self, came: Instant) -> Fate {
        let now = Instant::now();
        let sign = match self.probe.ask_peer().await {
            Ok(sign) => sign,
            Err(NoAnswer::Over) => return Fate::Over,
            // Our own host is slow, which says nothing about the peer.
            Err(NoAnswer::Late) => return Fate::Unclear,
        };
        if sign.heard_ago < now.duration_since(came) {
            return Fate::Alive;
        }
        let asked_at = *self.asked_at.get_or_insert_with(Instant::now);
        let silent = now.saturating_duration_since(asked_at);
        if self.asked >= ASKED_MIN && silent > SILENT.max(sign.rtt * SILENT_RTTS) {
            return Fate::Dead;
        }
        self.asked += 1;
        Fate::Unclear
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
