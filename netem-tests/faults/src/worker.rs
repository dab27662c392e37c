//! What runs until the power goes: a site over the disk, its neighbour and a user, step by step, with
//! every step in the ledger.

use crate::KitError;
use crate::ledger::{DIR, GONE, Label, Line, Teller, label_of_file};
use crate::peer::{Contents, FOLDER, Memory};
use crate::script::{Deed, Goal, Step, contents};
use crate::site::{Home, Identities, Site, runtime};
use farhaul_proto::ids::SiteId;
use farhauld::index::Index;
use farhauld::store::{Fate, FolderMark, Store, Unnamed};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// Kept versions that are looked through for retention.
const KEPT_MAX: usize = 100_000;
/// How much later than now retention looks, in seconds: nobody holds anything open any more by then, and
/// one version stays of each path.
const LATER_SECS: u64 = 2 * 24 * 3600;

/// Does all of it; one that `is_traced` looks seldom whether a step is done, for a look is made of
/// syscalls too.
///
/// # Errors
/// [`KitError`].
pub fn work(home: &Home, keys: &Path, steps: &[Step], is_traced: bool) -> Result<(), KitError> {
    let identities = Identities::of(keys)?;
    let mut worker = Worker {
        runtime: runtime()?,
        contents: Arc::new(Contents::new(contents(steps))),
        memory: Memory::new(&[], None)?,
        teller: Arc::default(),
        standing: BTreeMap::new(),
        identities,
        home: home.clone(),
        glance: Duration::from_millis(if is_traced { 25 } else { 1 }),
    };
    let mut site = worker.start()?;
    for step in steps {
        site = worker.step(site, step)?;
        worker.teller.say(&Line::Settled);
    }
    site.stop();
    Ok(())
}

struct Worker {
    runtime: Arc<Runtime>,
    contents: Arc<Contents>,
    memory: Arc<Memory>,
    teller: Arc<Teller>,
    /// What was last meant to stand where.
    standing: BTreeMap<String, Label>,
    identities: Identities,
    home: Home,
    glance: Duration,
}

impl Worker {
    fn start(&self) -> Result<Site, KitError> {
        let site = Site::start(&self.home, &self.identities, &self.runtime)?;
        let mut site = site.looking_every(self.glance);
        let teller = Arc::clone(&self.teller);
        site.connect(&self.contents, &self.memory, Box::new(move |line| teller.say(&line)))?;
        site.settle()?;
        Ok(site)
    }

    fn step(&mut self, site: Site, step: &Step) -> Result<Site, KitError> {
        match step {
            Step::Peer(goals) => {
                self.tell(&site, goals)?;
                site.settle()?;
            }
            Step::User(deeds) => {
                for deed in deeds {
                    self.act(deed)?;
                }
                site.scan()?;
            }
            Step::Restart => {
                site.stop();
                return self.start();
            }
            Step::Rotate => {
                site.stop();
                self.teller.say(&Line::Rotated);
                purge(&self.home, self.identities.site.id())?;
                return self.start();
            }
        }
        Ok(site)
    }

    fn will(&mut self, is_user: bool, path: &str, label: &str) {
        let (path, label) = (path.to_owned(), label.to_owned());
        self.standing.insert(path.clone(), label.clone());
        self.teller.say(&Line::Will { is_user, path, label });
    }

    fn tell(&mut self, site: &Site, goals: &[(String, Goal)]) -> Result<(), KitError> {
        // Directories that nobody describes are made for what is in them.
        let live = goals.iter().filter(|(_, goal)| !matches!(goal, Goal::Gone));
        let above: BTreeSet<String> = live.flat_map(|(path, _)| dirs_above(path)).collect();
        for path in above {
            if !goals.iter().any(|(other, _)| *other == path) && !self.standing.contains_key(&path)
            {
                // Whoever makes it describes it.
                self.will(true, &path, DIR);
            }
        }
        for (path, goal) in goals {
            self.will(false, path, &goal.label());
        }
        let peer = site.peer().ok_or_else(|| KitError::Failed("no neighbour".to_owned()))?;
        let told = peer.write(goals)?;
        self.teller.say(&told);
        peer.tell();
        Ok(())
    }

    /// Does what a careful user does: it is on disk before he goes on.
    fn act(&mut self, deed: &Deed) -> Result<(), KitError> {
        let tree = self.home.tree();
        let done = match deed {
            Deed::Write(path, bytes) => {
                self.will(true, path, &label_of_file(bytes));
                write(&self.home.desk().join("page"), &tree.join(path), bytes)
            }
            Deed::MakeDir(path) => {
                self.will(true, path, DIR);
                fs::create_dir(tree.join(path)).and_then(|()| sync_above(&tree.join(path)))
            }
            Deed::Remove(path) => {
                self.will(true, path, GONE);
                let at = tree.join(path);
                let is_dir = at.symlink_metadata().is_ok_and(|meta| meta.is_dir());
                let removed = if is_dir { fs::remove_dir(&at) } else { fs::remove_file(&at) };
                removed.and_then(|()| sync_above(&at))
            }
            Deed::Rename(from, to) => {
                let beneath = |path: &&String| {
                    path.strip_prefix(&**from)
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
                };
                let moved: Vec<String> = self.standing.keys().filter(beneath).cloned().collect();
                for path in moved {
                    let label = self.standing[&path].clone();
                    self.will(true, &format!("{to}{}", &path[from.len()..]), &label);
                    self.will(true, &path, GONE);
                }
                let (from, to) = (tree.join(from), tree.join(to));
                fs::rename(&from, &to).and_then(|()| sync_above(&to))
            }
        };
        done.map_err(KitError::io("a user's deed"))
    }
}

/// The directories that a path lies in.
fn dirs_above(path: &str) -> Vec<String> {
    let slashes = path.match_indices('/');
    slashes.map(|(at, _)| path[..at].to_owned()).collect()
}

fn write(page: &Path, at: &Path, bytes: &[u8]) -> std::io::Result<()> {
    fs::write(page, bytes)?;
    File::open(page)?.sync_all()?;
    fs::rename(page, at)?;
    sync_above(at)
}

fn sync_above(at: &Path) -> std::io::Result<()> {
    let above = at.parent().map(PathBuf::from).unwrap_or_default();
    File::open(above)?.sync_all()
}

/// Removes old versions as retention says.
fn purge(home: &Home, site: SiteId) -> Result<(), KitError> {
    let failed = |error: &dyn std::fmt::Display| KitError::Failed(format!("no purge: {error}"));
    let mark = FolderMark::load(&home.state().join("mark")).map_err(|error| failed(&error))?;
    let mark = mark.ok_or_else(|| failed(&"no mark"))?;
    let store = Store::open(&home.tree(), &mark, Arc::new(Unnamed));
    let store = store.map_err(|error| failed(&error))?;
    let index = Index::open(&home.state().join("index"), FOLDER, site);
    let mut index = index.map_err(|error| failed(&error))?;
    let kept = index.read().kept_from(None, KEPT_MAX).map_err(|error| failed(&error))?;
    let paths: BTreeSet<_> = kept.into_iter().map(|kept| kept.path).collect();
    let now = crate::machine::now_secs() + LATER_SECS;
    for path in paths {
        let fates = store.fates(index.read(), &path, now, None).map_err(|error| failed(&error))?;
        let expired = fates.into_iter().filter(|(_, fate)| *fate == Fate::Expired);
        let names: Vec<String> = expired.map(|(kept, _)| kept.name).collect();
        store.purge(&mut index, &path, &names, now).map_err(|error| failed(&error))?;
    }
    index.close().map_err(|error| failed(&error))
}
