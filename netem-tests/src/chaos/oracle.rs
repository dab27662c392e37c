//! What was written, by whom and when, and what has to be found of it at the end.
//!
//! The rule is that of the model's "no lost write": a content that an actor finished, and that no
//! actor destroyed since (one that read it in the same file and then overwrote, replaced or deleted
//! that file), is a visible file at some site, a conflict copy included, or kept by some site.
//! Contents that were destroyed knowingly may be thinned out by retention; how many are still there
//! is counted. Of what is visible, every byte was written by an actor: a file holds a content that
//! some file had at a moment of its writing, never a mixture.

use super::survey::{Entry, Hash, Survey};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// A content that was finished.
#[derive(Clone, Debug)]
struct Value {
    site: usize,
    path: Vec<u8>,
    at: f64,
    len: usize,
    destroyed: bool,
}

#[derive(Debug, Default)]
struct Known {
    values: HashMap<Hash, Value>,
    /// Contents that files had while they were written.
    passing: HashSet<Hash>,
    /// Names of entries that actors made.
    names: HashSet<Vec<u8>>,
    /// Where an actor may have destroyed what it did not see, because something else was put there
    /// between its look and its act, and when that was last so.
    blind: HashMap<Vec<u8>, f64>,
    acts: BTreeMap<String, u64>,
    refused: u64,
    surprises: Vec<String>,
}

/// Records acts of all sites, and writes each down.
#[derive(Debug)]
pub struct Oracle {
    began: Instant,
    known: Mutex<Known>,
    journal: Mutex<BufWriter<File>>,
}

/// What was found at the end of what was written.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Contents that were finished.
    pub values: usize,
    /// Of those, how many no actor destroyed.
    pub standing: usize,
    /// Of those, how many are visible.
    pub visible: usize,
    /// And how many are only kept, each with its place.
    pub kept_only: Vec<String>,
    /// Of those that were destroyed, how many some site still keeps or shows.
    pub destroyed_kept: usize,
    /// Standing contents that are nowhere.
    pub lost: Vec<String>,
    /// The same at paths where an actor may have destroyed them unseen.
    pub unsure: Vec<String>,
    /// Visible contents that nobody wrote.
    pub made_up: Vec<String>,
    /// Visible names that nobody made.
    pub foreign: Vec<String>,
    /// What should not happen at all, seen by actors.
    pub surprises: Vec<String>,
    /// Acts by their names.
    pub acts: BTreeMap<String, u64>,
    /// Acts that found something else than they looked for.
    pub refused: u64,
    /// Conflict copies that stand.
    pub conflicts: usize,
}

/// What marks names of conflict copies.
const CONFLICT: &[u8] = b".conflict-";

impl Oracle {
    /// Writes every act to `journal`, one JSON object a line.
    ///
    /// # Errors
    /// If that cannot be made.
    pub fn new(journal: &Path) -> io::Result<Self> {
        let journal = Mutex::new(BufWriter::new(File::create(journal)?));
        Ok(Self { began: Instant::now(), known: Mutex::default(), journal })
    }

    /// Seconds since the start.
    pub fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file is about to have this content for a moment.
    pub fn passes(&self, content: &[u8]) {
        let hash = blake3::hash(content);
        self.known().passing.insert(hash);
    }

    /// `site` finished a content at `path`.
    pub fn wrote(&self, site: usize, path: &[u8], content: &[u8]) {
        let hash = blake3::hash(content);
        let (at, len) = (self.now(), content.len());
        let value = Value { site, path: path.to_vec(), at, len, destroyed: false };
        let mut known = self.known();
        known.passing.insert(hash);
        // Nobody can tell one empty file from another.
        if len > 0 {
            known.values.insert(hash, value);
        }
    }

    /// An actor is about to destroy this content, which it has read in that very file.
    pub fn destroys(&self, content: &[u8]) {
        let hash = blake3::hash(content);
        if let Some(value) = self.known().values.get_mut(&hash) {
            value.destroyed = true;
        }
    }

    /// What an actor destroyed at `path` was not what it had looked at.
    pub fn blind(&self, path: &[u8]) {
        let now = self.now();
        self.known().blind.insert(path.to_vec(), now);
    }

    /// An actor makes something that is called so.
    pub fn names(&self, path: &[u8]) {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        self.known().names.insert(name.to_vec());
    }

    /// Something that must not happen.
    pub fn surprise(&self, what: String) {
        self.known().surprises.push(what);
    }

    /// Notes an act or a fault: what, where, and how it ended.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn note(&self, site: usize, act: &str, path: &[u8], result: &str) -> io::Result<()> {
        let mut known = self.known();
        *known.acts.entry(act.to_owned()).or_default() += 1;
        known.refused += u64::from(result.starts_with("refused"));
        drop(known);
        let line = serde_json::json!({
            "t": self.now(), "site": site, "act": act,
            "path": path.escape_ascii().to_string(), "result": result,
        });
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(journal, "{line}")?;
        journal.flush()
    }

    /// Holds what was written against the trees of all sites, and what they keep.
    pub fn judge(&self, trees: &[Survey], kept: &BTreeSet<[u8; 32]>) -> Findings {
        let known = self.known();
        let mut findings = Findings {
            values: known.values.len(),
            acts: known.acts.clone(),
            refused: known.refused,
            surprises: known.surprises.clone(),
            ..Findings::default()
        };
        let mut visible = HashSet::new();
        for (site, tree) in trees.iter().enumerate() {
            judge_tree(&known, site, tree, &mut visible, &mut findings);
        }
        for (hash, value) in &known.values {
            let (is_seen, is_kept) = (visible.contains(hash), kept.contains(hash.as_bytes()));
            if value.destroyed {
                findings.destroyed_kept += usize::from(is_seen || is_kept);
                continue;
            }
            findings.standing += 1;
            let Value { site, path, at, len, .. } = value;
            let path_text = path.escape_ascii();
            let line = format!("{path_text}: {len} bytes of site {site} at {at:.3} s, {hash}");
            let is_unsure = known.blind.get(path).is_some_and(|when| when >= at);
            match (is_seen, is_kept, is_unsure) {
                (true, ..) => findings.visible += 1,
                (_, true, _) => findings.kept_only.push(line),
                (_, _, true) => findings.unsure.push(line),
                _ => findings.lost.push(line),
            }
        }
        findings
    }
}

fn judge_tree(
    known: &Known,
    site: usize,
    tree: &Survey,
    visible: &mut HashSet<Hash>,
    findings: &mut Findings,
) {
    for (path, entry) in tree {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        let is_conflict = name.windows(CONFLICT.len()).any(|part| part == CONFLICT);
        findings.conflicts += usize::from(is_conflict && site == 0);
        let text = format!("{} at site {site}", path.escape_ascii());
        if !is_conflict && !known.names.contains(name) {
            findings.foreign.push(text.clone());
        }
        match entry {
            Entry::File { hash, len, .. } => {
                visible.insert(*hash);
                if *len > 0 && !known.passing.contains(hash) {
                    findings.made_up.push(format!("{text}: {len} bytes, {hash}"));
                }
            }
            Entry::Other => findings.made_up.push(format!("{text}: something special")),
            Entry::Directory { .. } | Entry::Link(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::survey::Said;
    use super::*;

    fn file(content: &[u8]) -> Entry {
        let (hash, len) = (blake3::hash(content), content.len() as u64);
        Entry::File { hash, len, mode: 0o644, modified: (0, 0), said: Said::default() }
    }

    fn oracle() -> (tempfile::TempDir, Oracle) {
        let home = tempfile::tempdir().expect("a directory");
        let oracle = Oracle::new(&home.path().join("journal")).expect("made");
        for path in [&b"a"[..], b"d/b"] {
            oracle.names(path);
        }
        (home, oracle)
    }

    #[test]
    fn what_nobody_destroyed_has_to_be_visible_or_kept() {
        let (_home, oracle) = oracle();
        for content in [&b"seen"[..], b"kept", b"gone", b"replaced"] {
            oracle.wrote(1, b"a", content);
        }
        oracle.destroys(b"replaced");
        let tree = Survey::from([(b"a".to_vec(), file(b"seen"))]);
        let kept = BTreeSet::from([*blake3::hash(b"kept").as_bytes()]);
        let found = oracle.judge(std::slice::from_ref(&tree), &kept);
        assert_eq!((found.values, found.standing, found.visible), (4, 3, 1));
        assert_eq!((found.kept_only.len(), found.lost.len(), found.unsure.len()), (1, 1, 0));
        oracle.blind(b"a");
        let found = oracle.judge(&[tree], &kept);
        assert_eq!((found.lost.len(), found.unsure.len()), (0, 1));
    }

    #[test]
    fn contents_and_names_that_nobody_made_are_found() {
        let (_home, oracle) = oracle();
        oracle.wrote(0, b"d/b", b"whole");
        oracle.passes(b"wh");
        let tree = |name: &[u8], content| Survey::from([(name.to_vec(), file(content))]);
        let judge = |tree| oracle.judge(&[tree], &BTreeSet::new());
        assert!(judge(tree(b"x/b", b"whole")).foreign.is_empty());
        assert!(judge(tree(b"x/b.conflict-1", b"wh")).made_up.is_empty());
        assert_eq!(judge(tree(b"x/c", b"whole")).foreign.len(), 1);
        assert_eq!(judge(tree(b"a", b"who")).made_up.len(), 1);
    }
}
