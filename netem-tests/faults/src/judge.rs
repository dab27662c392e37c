//! What must be so after a stop: looked at from outside, by the rules of S-043 to S-046, once the
//! product has recovered, again when its neighbour is back, and again after another start.

use crate::KitError;
use crate::ledger::{DIR, Duties, GONE, Label, Line, label_of_file};
use crate::peer::{Contents, FOLDER, Memory};
use crate::site::{Home, Identities, Site};
use farhaul_engine::files::dir::FileKind;
use farhaul_sync::version::{Content, Dot, Version};
use farhauld::index::{Index, IndexReader};
use farhauld::store::identity_of;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Rows of a list that are read at most.
const ROWS_MAX: usize = 100_000;

/// How long a site may go on with what it has on its own disk.
const REST: Duration = Duration::from_secs(1);
/// Between two looks at that.
const GLANCE: Duration = Duration::from_millis(10);

static PANICS: AtomicU64 = AtomicU64::new(0);

/// From now on panics of any thread are counted: none may come of what a stop leaves.
pub fn count_panics() {
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        said(panic);
    }));
}

/// Who judges.
pub struct Judge {
    /// Who the site and its neighbour are.
    pub identities: Identities,
    /// What the neighbour can give.
    pub contents: Arc<Contents>,
    /// For what the product does beside its loop.
    pub runtime: Arc<Runtime>,
}

/// What was found against the product, in words; nothing, if all is well.
pub type Violations = Vec<String>;

/// What is looked at, and what is held against it.
struct Case<'a> {
    judge: &'a Judge,
    home: &'a Home,
    duties: &'a Duties,
    found: Violations,
}

impl Judge {
    /// Opens what is left at `home` as the product does, and says what is wrong; with a stop more
    /// before the neighbour is back, where it `stops_again`.
    pub fn judge(&self, home: &Home, duties: &Duties, stops_again: bool) -> Violations {
        let panics = PANICS.load(Ordering::Relaxed);
        let mut case = Case { judge: self, home, duties, found: Vec::new() };
        if let Err(error) = case.go(stops_again) {
            case.found.push(error.to_string());
        }
        if PANICS.load(Ordering::Relaxed) > panics {
            case.found.push("something panicked".to_owned());
        }
        case.found
    }
}

/// Everything that stands in a folder but for what is the site's own.
fn tree_of(root: &Path) -> BTreeMap<String, Label> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (at, kind) = (entry.path(), entry.file_type());
            let name = at.strip_prefix(root).map(Path::to_string_lossy).unwrap_or_default();
            let name = name.into_owned();
            if name == ".farhaul" {
                continue;
            }
            let label = match kind {
                Ok(kind) if kind.is_dir() => {
                    open.push(at);
                    DIR.to_owned()
                }
                Ok(kind) if kind.is_symlink() => fs::read_link(&at)
                    .map_or_else(unreadable, |to| format!("link:{}", to.display())),
                _ => fs::read(&at).map_or_else(unreadable, |bytes| label_of_file(&bytes)),
            };
            found.insert(name, label);
        }
    }
    found
}

fn unreadable(error: impl std::fmt::Display) -> Label {
    format!("unreadable: {error}")
}

type Tree = BTreeMap<String, Label>;

fn at<'a>(tree: &'a Tree, path: &str) -> &'a str {
    tree.get(path).map_or(GONE, |label| label)
}

/// What a site announces, as it is heard.
type Announced = Arc<Mutex<Vec<(String, u64, Label)>>>;

impl Case<'_> {
    fn go(&mut self, stops_again: bool) -> Result<(), KitError> {
        let mut site = self.start()?;
        site.settle()?;
        let tree = self.check_at_rest(&site)?;
        // Recovering twice is like recovering once.
        if stops_again {
            site.stop();
            site = self.start()?;
        }
        let memory = Memory::new(&self.duties.told, self.duties.heard)?;
        let announced = self.connect(&mut site, &memory)?;
        site.settle()?;
        let before = tree;
        let tree = tree_of(&self.home.tree());
        self.check_greeting(&memory);
        self.check_published(&announced, "when the neighbour is back");
        self.check_end(&before, &tree);
        let kept = self.check_kept(&site, "when the neighbour is back")?;
        self.check_keeps(&tree, &kept);
        self.check_index(&site, &tree, "when the neighbour is back")?;
        site.stop();
        self.check_pages()?;

        let mut site = self.start()?;
        let announced = self.connect(&mut site, &memory)?;
        site.settle()?;
        let again = announced.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.claim(again.is_empty(), || format!("another start publishes {again:?}"));
        let now = tree_of(&self.home.tree());
        self.claim(now == tree, || format!("another start makes {tree:?} into {now:?}"));
        site.stop();
        Ok(())
    }

    /// What must be so before the neighbour is back. A site goes on by itself with what it has on its
    /// own disk, and no word of it says when it is done: what is wrong only meanwhile is nothing.
    fn check_at_rest(&mut self, site: &Site) -> Result<Tree, KitError> {
        let began = Instant::now();
        loop {
            let tree = tree_of(&self.home.tree());
            self.check_tree(&tree, "after recovery");
            let kept = self.check_kept(site, "after recovery")?;
            self.check_index(site, &tree, "after recovery")?;
            self.check_keeps(&tree, &kept);
            self.check_announced(site, &tree, &kept)?;
            if self.found.is_empty() || began.elapsed() > REST {
                return Ok(tree);
            }
            self.found.clear();
            std::thread::sleep(GLANCE);
        }
    }

    fn claim(&mut self, is_so: bool, otherwise: impl FnOnce() -> String) {
        if !is_so {
            self.found.push(otherwise());
        }
    }

    fn start(&self) -> Result<Site, KitError> {
        Site::start(self.home, &self.judge.identities, &self.judge.runtime)
    }

    fn connect(&self, site: &mut Site, memory: &Arc<Memory>) -> Result<Announced, KitError> {
        let announced = Announced::default();
        let heard = Arc::clone(&announced);
        let hears = move |line| {
            if let Line::Announced { path, serial, label } = line {
                let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                heard.push((path, serial, label));
            }
        };
        site.connect(&self.judge.contents, memory, Box::new(hears))?;
        Ok(announced)
    }

    fn is_users(&self, path: &str, label: &str) -> bool {
        self.duties.by_user.get(path).is_some_and(|labels| labels.contains(label))
    }

    /// Old or new stands everywhere, whole, and nothing else.
    fn check_tree(&mut self, tree: &Tree, when: &str) {
        let paths: BTreeSet<&String> = tree.keys().chain(self.duties.may.keys()).collect();
        for path in paths {
            let label = at(tree, path);
            match self.duties.may.get(path) {
                None => self.found.push(format!("{when}: {path} stands there ({label})")),
                Some(may) => {
                    let is_so = may.contains(label);
                    self.claim(is_so, || format!("{when}: {path} is {label}, not one of {may:?}"));
                }
            }
        }
    }

    /// The catalogue of the version store is what is there. Returns the contents.
    fn check_kept(&mut self, site: &Site, when: &str) -> Result<BTreeSet<Label>, KitError> {
        let failed = |error: &dyn std::fmt::Display| KitError::Failed(format!("{when}: {error}"));
        let (reader, store) = (site.reader()?, site.store()?);
        let rows = reader.read().kept_from(None, ROWS_MAX).map_err(|error| failed(&error))?;
        let names = store.kept_names().map_err(|error| failed(&error))?;
        let versions = self.home.tree().join(".farhaul/versions");
        let mut contents = BTreeSet::new();
        for name in &names {
            let is_known = rows.iter().any(|row| row.name == *name);
            self.claim(is_known, || format!("{when}: {name} is kept and not in the catalogue"));
            if let Ok(bytes) = fs::read(versions.join(name)) {
                contents.insert(label_of_file(&bytes));
            }
        }
        for row in rows {
            let is_there = names.contains(&row.name);
            let (name, path) = (&row.name, &row.path);
            self.claim(is_there, || {
                format!("{when}: the catalogue names {name} of {path}, which is not kept")
            });
            if let Some(Version { content: content @ Content::File { .. }, .. }) = &row.version
                && is_there
            {
                let says = self.judge.contents.label(content);
                let is = fs::read(versions.join(name)).map(|bytes| label_of_file(&bytes));
                let is = is.unwrap_or_else(unreadable);
                self.claim(is == says, || {
                    format!("{when}: what is kept of {path} is {is}, and should be {says}")
                });
            }
        }
        Ok(contents)
    }

    /// No entry claims what is not on disk, and nothing of the site's own making would be taken for
    /// an edit.
    fn check_index(&mut self, site: &Site, tree: &Tree, when: &str) -> Result<(), KitError> {
        let failed = |error: &dyn std::fmt::Display| KitError::Failed(format!("{when}: {error}"));
        let (reader, store) = (site.reader()?, site.store()?);
        let mut known = BTreeSet::new();
        for standing in reader.read().all_standing(None) {
            let standing = standing.map_err(|error| failed(&error))?;
            let path = String::from_utf8_lossy(standing.path.as_bytes()).into_owned();
            let is = at(tree, &path);
            known.insert(path.clone());
            if self.is_users(&path, is) {
                continue;
            }
            let item = reader.read().item(&standing.path).map_err(|error| failed(&error))?;
            let says = item.placed.map(|placed| self.judge.contents.label(&placed.version.content));
            let says = says.unwrap_or_default();
            self.claim(is == says, || {
                format!("{when}: the index says {path} is {says}, it is {is}")
            });
            if let Ok(meta) = store.root().stat(&standing.path) {
                let now = identity_of(&meta);
                let is_so = if meta.kind == FileKind::Dir {
                    (now.device, now.inode) == (standing.identity.device, standing.identity.inode)
                } else {
                    now == standing.identity
                };
                self.claim(is_so, || format!("{when}: {path} would be taken for an edit"));
            }
        }
        for (path, label) in tree {
            let is_so = known.contains(path) || self.is_users(path, label);
            self.claim(is_so, || format!("{when}: {path} ({label}) would be taken for new"));
        }
        Ok(())
    }

    /// What was displaced is kept.
    fn check_keeps(&mut self, tree: &Tree, kept: &BTreeSet<Label>) {
        for (path, label) in &self.duties.keeps {
            let is_so = at(tree, path) == label || kept.contains(label);
            self.claim(is_so, || format!("{label} of {path} was displaced and is not kept"));
        }
    }

    /// What was announced before is known, and its contents are here.
    fn check_announced(
        &mut self,
        site: &Site,
        tree: &Tree,
        kept: &BTreeSet<Label>,
    ) -> Result<(), KitError> {
        let reader = site.reader()?;
        for (path, serial, label) in &self.duties.announced {
            let is_known = is_known(&reader, &self.judge.identities, path, *serial)?;
            self.claim(is_known, || {
                format!("{path} was announced as number {serial}, and is lost")
            });
            let is = at(tree, path);
            let is_here = !label.starts_with("file:")
                || tree.values().any(|stands| stands == label)
                || kept.contains(label)
                || self.is_users(path, is);
            self.claim(is_here, || format!("{label} was announced of {path} and is not here"));
        }
        Ok(())
    }

    /// The site remembers what it announced, and what it called durable.
    fn check_greeting(&mut self, memory: &Memory) {
        let Some(greeted) = memory.greeted() else {
            return self.found.push("the site does not greet its neighbour".to_owned());
        };
        if let Some((epoch, to)) = self.duties.heard {
            self.claim(greeted.epoch == epoch && greeted.head >= to, || {
                format!("{to} versions were announced in {epoch:x}, the site says {greeted:?}")
            });
        }
        let stored = self.duties.stored;
        let followed = greeted.followed.map_or(0, |followed| followed.up_to);
        self.claim(followed >= stored, || {
            format!("{stored} of the neighbour's were called durable, {followed} are there")
        });
    }

    /// Nothing is published that no user did.
    fn check_published(&mut self, announced: &Announced, when: &str) {
        let announced = announced.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (path, serial, label) in announced {
            let is_so = self.is_users(&path, &label);
            self.claim(is_so, || format!("{when}: {path} is published as {label} ({serial})"));
        }
    }

    /// In the end what the neighbour wanted stands, and what users made.
    fn check_end(&mut self, before: &Tree, tree: &Tree) {
        self.check_strays(tree);
        for (path, label) in &self.duties.last {
            let is = at(tree, path);
            self.claim(is == label, || format!("in the end {path} is {is}, and should be {label}"));
        }
        for (path, labels) in &self.duties.by_user {
            let (was, is) = (at(before, path), at(tree, path));
            let is_so = is == was
                || labels.contains(is)
                || self.duties.may.get(path).is_some_and(|may| may.contains(is));
            self.claim(is_so, || format!("in the end {path} is {is}, and was {was}"));
        }
    }

    fn check_strays(&mut self, tree: &Tree) {
        for (path, label) in tree {
            let is_so = self.duties.may.contains_key(path);
            self.claim(is_so, || format!("in the end {path} stands there ({label})"));
        }
    }

    /// The index holds together.
    fn check_pages(&mut self) -> Result<(), KitError> {
        let place = self.home.state().join("index");
        let index = Index::open(&place, FOLDER, self.judge.identities.site.id());
        let checked = index.and_then(|index| {
            index.check()?;
            index.close()
        });
        checked.map_err(|error| KitError::Failed(format!("the index: {error}")))
    }
}

/// Whether the index has a version of the site's own, or one that covers it.
fn is_known(
    reader: &IndexReader,
    identities: &Identities,
    path: &str,
    serial: u64,
) -> Result<bool, KitError> {
    let failed = |error: &dyn std::fmt::Display| KitError::Failed(error.to_string());
    let rel = farhaul_proto::path_name::RelPath::parse(path.as_bytes());
    let rel = rel.map_err(|error| failed(&error))?;
    let versions = reader.read().versions_of(&rel).map_err(|error| failed(&error))?;
    for stored in versions {
        let version = stored.record().map_err(|error| failed(&error))?.version;
        let is_it =
            |dot: Dot| dot.author.site == identities.site.id() && dot.serial.get() == serial;
        let mut seen = version.context.runs();
        let is_seen = seen.any(|(author, first, last)| {
            author.site == identities.site.id() && (first..=last).contains(&serial)
        });
        if is_it(version.dot) || is_seen {
            return Ok(true);
        }
    }
    Ok(false)
}
