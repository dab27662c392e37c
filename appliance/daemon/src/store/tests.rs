//! Behaviour of the store as a whole, on real trees.

use super::*;
use crate::index::{Durability, Index, Kept, Kind};
use crate::sample::{self, dot, file, path, version};
use farhaul_proto::units::Bytes;
use farhaul_sync::folder::Placed;
use farhaul_sync::version::{Content, ManifestId, Meta, Version};
use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

mod disk;

/// A folder and its index, as a site has them.
pub(super) struct Site {
    pub(super) store: Store,
    pub(super) index: Index,
    pub(super) home: PathBuf,
}

/// Stands in for cutting a file into chunks.
pub(super) struct WholeFile;

impl Hashing for WholeFile {
    fn manifest_of(&mut self, file: &File) -> std::io::Result<ManifestId> {
        let mut bytes = Vec::new();
        let mut file = file;
        file.read_to_end(&mut bytes)?;
        Ok(ManifestId(*blake3::hash(&bytes).as_bytes()))
    }
}

impl Site {
    pub(super) fn new(home: &Path) -> Self {
        let root = home.join("tree");
        fs::create_dir(&root).unwrap();
        let store = Store::create(&root, Arc::new(Unnamed)).unwrap();
        Self { store, index: sample::index(home), home: home.to_path_buf() }
    }

    /// What stands at `at` on disk, if a site takes it for `version`.
    fn found(&self, at: &str, version: &Version) -> Placed {
        let found = self.store.root.stat(&path(at)).unwrap();
        let (version, meta) = (version.clone(), version.meta.clone());
        Placed { version, meta, identity: identity_of(&found) }
    }

    /// A user's file that the index knows.
    pub(super) fn known(&mut self, at: &str, text: &[u8], serial: u64) -> Placed {
        fs::write(self.at(at), text).unwrap();
        fs::set_permissions(self.at(at), fs::Permissions::from_mode(0o640)).unwrap();
        let placed = self.found(at, &version(dot(2, serial), &[], file(text)));
        self.place(at, Some(&placed));
        placed
    }

    fn place(&mut self, at: &str, placed: Option<&Placed>) {
        let mut placing = self.index.begin(Durability::Now).unwrap();
        placing.place(&path(at), placed).unwrap();
        placing.commit().unwrap();
    }

    pub(super) fn placed(&self, at: &str) -> Option<Placed> {
        self.index.read().item(&path(at)).unwrap().placed
    }

    pub(super) fn at(&self, at: &str) -> PathBuf {
        self.home.join("tree").join(at)
    }

    pub(super) fn ready(&self, at: &str, text: &[u8], meta: &Meta) -> Ready {
        let manifest = ManifestId(*blake3::hash(text).as_bytes());
        let size = Bytes::of_len(text.len());
        let all = 0..text.len() as u64;
        let staged = self.store.stage(&path(at), manifest, size, &[all]).unwrap();
        staged.write_at(text, 0).unwrap();
        staged.finish(meta).unwrap()
    }

    /// The whole of a change.
    pub(super) fn commit(&mut self, prepared: Prepared) -> Result<Vec<Committed>, StoreError> {
        let recorded = self.index.record(&[prepared.intent()]).unwrap().remove(0);
        let swapped = match prepared.swap(&recorded) {
            Ok(swapped) => swapped,
            Err(error) => {
                let mut forgetting = self.index.begin(Durability::Now).unwrap();
                forgetting.forget_intent(recorded.id()).unwrap();
                forgetting.commit().unwrap();
                return Err(error);
            }
        };
        let committed = self.store.settle(vec![swapped])?;
        self.settle(&committed);
        Ok(committed)
    }

    pub(super) fn settle(&mut self, committed: &[Committed]) {
        step();
        let mut settling = self.index.begin(Durability::Now).unwrap();
        committed.iter().for_each(|committed| settling.settle(committed, 1000).unwrap());
        settling.commit().unwrap();
        step();
    }

    pub(super) fn put(
        &mut self,
        at: &str,
        text: &[u8],
        new: &Version,
    ) -> Result<Vec<Committed>, StoreError> {
        let ready = self.ready(at, text, &new.meta);
        let old = self.placed(at);
        let prepared = self.store.prepare_put(&path(at), &ready, new, old.as_ref())?;
        self.commit(prepared)
    }

    /// That the index says of `at` what stands there, and that nothing is open.
    pub(super) fn is_settled(&self, at: &str) -> bool {
        let said = self.placed(at).map(|placed| placed.identity);
        let found = self.store.root.stat(&path(at)).ok().map(|meta| identity_of(&meta));
        let incoming = self.store.incoming.names().unwrap();
        said == found && self.index.read().intents().unwrap().is_empty() && incoming.is_empty()
    }

    /// The texts of what is kept of a path, and whether a version says so.
    pub(super) fn kept(&self, at: &str) -> Vec<(String, bool)> {
        let kept = self.index.read().kept_of(&path(at)).unwrap();
        kept.iter().map(|kept| (self.kept_text(&kept.name), kept.version.is_some())).collect()
    }

    fn kept_text(&self, name: &str) -> String {
        let mut text = String::new();
        self.store.open_kept(name).unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

pub(super) fn text(at: PathBuf) -> String {
    fs::read_to_string(at).unwrap()
}

#[test]
fn a_new_file_arrives_with_its_metadata() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let new = version(dot(2, 3), &[], file(b"new"));
    site.put("a", b"new", &new).unwrap();
    let meta = fs::metadata(site.at("a")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.mtime_nsec()), (0o640, 1_700_000_003, 5));
    assert_eq!(text(site.at("a")), "new");
    assert_eq!(site.placed("a"), Some(site.found("a", &new)));
    assert!(site.is_settled("a"));
}

#[test]
fn what_a_new_file_replaces_is_kept_as_its_version() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let old = site.known("a", b"old", 1);
    site.put("a", b"new", &version(dot(2, 3), &[], file(b"new"))).unwrap();
    assert_eq!(text(site.at("a")), "new");
    assert_eq!(site.kept("a"), [("old".to_owned(), true)]);
    let kept = site.index.read().kept_of(&path("a")).unwrap().remove(0);
    assert_eq!((kept.version, kept.kind, kept.size), (Some(old.version), Kind::File, 3));
    assert!(site.is_settled("a"));
}

#[test]
fn a_file_that_somebody_changed_before_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    site.known("a", b"old", 1);
    fs::write(site.at("a"), b"users").unwrap();
    let new = version(dot(2, 3), &[], file(b"new"));
    assert!(matches!(site.put("a", b"new", &new), Err(StoreError::Changed { .. })));
    fs::write(site.at("b"), b"users").unwrap();
    assert!(matches!(site.put("b", b"new", &new), Err(StoreError::Changed { .. })));
    assert_eq!((text(site.at("a")), text(site.at("b"))), ("users".to_owned(), "users".to_owned()));
}

#[test]
fn a_file_that_somebody_changes_after_the_intent_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    site.known("a", b"old", 1);
    let new = version(dot(2, 3), &[], file(b"new"));
    for at in ["a", "b"] {
        let ready = site.ready(at, b"new", &new.meta);
        let old = site.placed(at);
        let prepared = site.store.prepare_put(&path(at), &ready, &new, old.as_ref()).unwrap();
        fs::write(site.at(at), b"users").unwrap();
        assert!(matches!(site.commit(prepared), Err(StoreError::Changed { .. })));
        assert_eq!(text(site.at(at)), "users");
        assert_eq!(site.kept(at), []);
        site.store.drop_ready(&ready);
    }
    assert!(site.index.read().intents().unwrap().is_empty());
}

#[test]
fn an_edit_in_the_very_moment_of_the_exchange_is_kept_as_unrecorded() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    site.known("a", b"old", 1);
    let new = version(dot(2, 3), &[], file(b"new"));
    let ready = site.ready("a", b"new", &new.meta);
    let old = site.placed("a");
    let prepared = site.store.prepare_put(&path("a"), &ready, &new, old.as_ref()).unwrap();
    // An editor that renames over the file between the look and the exchange.
    let edit = site.at("a");
    crash::at_step(2, move || {
        fs::write(edit.with_extension("tmp"), b"edit").unwrap();
        fs::rename(edit.with_extension("tmp"), &edit).unwrap();
    });
    let committed = site.commit(prepared).unwrap();
    crash::no_more();
    assert_eq!(committed[0].displaced.as_ref().unwrap().version, None);
    assert_eq!(text(site.at("a")), "new");
    assert_eq!(site.kept("a"), [("edit".to_owned(), false)]);
    assert!(site.is_settled("a"));
}

#[test]
fn an_edit_in_the_very_moment_of_a_removal_goes_back() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let old = site.known("a", b"old", 1);
    let prepared = site.store.prepare_remove(&path("a"), &old).unwrap();
    let edit = site.at("a");
    crash::at_step(2, move || {
        fs::write(edit.with_extension("tmp"), b"edit").unwrap();
        fs::rename(edit.with_extension("tmp"), &edit).unwrap();
    });
    assert!(matches!(site.commit(prepared), Err(StoreError::Changed { .. })));
    crash::no_more();
    assert_eq!((text(site.at("a")), site.kept("a")), ("edit".to_owned(), vec![]));
    assert_eq!(site.placed("a"), Some(old));
}

#[test]
fn what_takes_the_place_of_a_removed_file_stays() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let old = site.known("a", b"old", 1);
    let prepared = site.store.prepare_remove(&path("a"), &old).unwrap();
    let edit = site.at("a");
    crash::at_step(3, move || fs::write(edit, b"edit").unwrap());
    site.commit(prepared).unwrap();
    crash::no_more();
    assert_eq!(text(site.at("a")), "edit");
    assert_eq!(site.kept("a"), [("old".to_owned(), true)]);
    assert_eq!(site.placed("a"), None);
}

#[test]
fn what_an_editor_that_never_stops_puts_there_is_kept_whole() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let (at, tmp) = (site.at("a"), site.home.join("tmp"));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let editor = std::thread::spawn(move || {
        let mut edits = 0_u64;
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            edits += 1;
            fs::write(&tmp, format!("edit {edits}")).unwrap();
            fs::rename(&tmp, &at).unwrap();
        }
        edits
    });
    let mut unrecorded = 0;
    for serial in 1..=300 {
        let text = format!("ours {serial}");
        let new = version(dot(2, serial), &[], file(text.as_bytes()));
        let ready = site.ready("a", text.as_bytes(), &new.meta);
        // What stands there at this moment, whatever it is.
        let Ok(found) = site.store.root.stat(&path("a")) else { continue };
        let known = version(dot(3, serial), &[], file(b"something"));
        let meta = known.meta.clone();
        let old = Placed { version: known, meta, identity: identity_of(&found) };
        let Ok(prepared) = site.store.prepare_put(&path("a"), &ready, &new, Some(&old)) else {
            site.store.drop_ready(&ready);
            continue;
        };
        match site.commit(prepared) {
            Ok(committed) => {
                let displaced = committed[0].displaced.as_ref().unwrap();
                let kept = site.kept_text(&displaced.name);
                let is_whole = kept.starts_with("edit ") || kept.starts_with("ours ");
                assert!(is_whole, "{kept:?}");
                unrecorded += usize::from(displaced.version.is_none());
            }
            Err(StoreError::Changed { .. }) => site.store.drop_ready(&ready),
            Err(error) => panic!("{error}"),
        }
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    println!("{} edits, {unrecorded} of them in the moment of a commit", editor.join().unwrap());
}

#[test]
fn a_purge_leaves_what_somebody_has_or_no_version_says() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let at = path("a");
    for serial in 1..=6 {
        let text = [b'0' + u8::try_from(serial).unwrap()];
        site.put("a", &text, &version(dot(2, serial), &[], file(&text))).unwrap();
    }
    // 1 to 5 are kept, all of the same moment. Somebody has 3; what 4 is, no version says.
    sample::store(&mut site.index, &at, &version(dot(3, 1), &[], file(b"3")));
    sample::store(&mut site.index, &at, &version(dot(4, 1), &[], file(b"5")));
    let kept = site.index.read().kept_of(&at).unwrap();
    let four = kept.into_iter().find(|kept| site.kept_text(&kept.name) == "4").unwrap();
    let mut writing = site.index.begin(Durability::Now).unwrap();
    writing.write_kept(&Kept { version: None, ..four }).unwrap();
    writing.commit().unwrap();
    let Site { store, index, .. } = &mut site;
    let now = 1000 + 10_000;
    let all: Vec<String> =
        index.read().kept_of(&at).unwrap().into_iter().map(|kept| kept.name).collect();
    let fates = store.fates(index.read(), &at, now, None).unwrap();
    let expired = fates.iter().filter(|(_, fate)| *fate == Fate::Expired).count();
    // Whatever is asked for: what is pinned stays.
    let gone = store.purge(index, &at, &all, now).unwrap();
    assert!((1..=gone).contains(&expired), "{fates:?}");
    let left: Vec<String> = site.kept("a").into_iter().map(|(text, _)| text).collect();
    assert!(["3", "4", "5"].iter().all(|text| left.iter().any(|left| left == text)), "{left:?}");
    assert_eq!((gone + left.len(), site.store.kept_names().unwrap().len()), (5, left.len()));
    assert!(left.len() <= 4, "{left:?}");
}

#[test]
fn a_removed_file_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let old = site.known("a", b"old", 1);
    let prepared = site.store.prepare_remove(&path("a"), &old).unwrap();
    site.commit(prepared).unwrap();
    assert!(!site.at("a").exists() && site.is_settled("a"));
    assert_eq!(site.kept("a"), [("old".to_owned(), true)]);
    let name = site.index.read().kept_of(&path("a")).unwrap().remove(0).name;
    let mut held = site.store.open_kept(&name).unwrap();
    site.store.remove_kept(&name).unwrap();
    site.store.remove_kept(&name).unwrap();
    let mut restored = String::new();
    held.read_to_string(&mut restored).unwrap();
    assert_eq!((restored.as_str(), site.store.kept_names().unwrap().len()), ("old", 0));
}

fn dir(serial: u64) -> Version {
    version(dot(2, serial), &[], Content::Dir)
}

#[test]
fn directories_come_and_go_and_change_places_with_files() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let at = path("d");
    let ready = site.store.ready_dir(&dir(1).meta).unwrap();
    let made = site.store.prepare_put(&at, &ready, &dir(1), None).unwrap();
    site.commit(made).unwrap();
    assert_eq!(fs::metadata(site.at("d")).unwrap().mode() & 0o7777, 0o755);
    assert!(site.is_settled("d"));
    // A file in place of the empty directory.
    site.put("d", b"file", &version(dot(2, 2), &[], file(b"file"))).unwrap();
    assert_eq!(text(site.at("d")), "file");
    assert_eq!(site.kept("d"), []);
    // And a directory in place of the file.
    let (ready, old) = (site.store.ready_dir(&dir(3).meta).unwrap(), site.placed("d"));
    let made = site.store.prepare_put(&at, &ready, &dir(3), old.as_ref()).unwrap();
    site.commit(made).unwrap();
    assert_eq!(site.kept("d"), [("file".to_owned(), true)]);
    let old = site.placed("d").unwrap();
    fs::write(site.at("d/ignored"), "x").unwrap();
    let refused = site.store.prepare_remove(&at, &old).map(drop).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "d: holds 1 things that are not of the folder, one is `ignored`"
    );
    let new = version(dot(2, 4), &[], file(b"file"));
    assert!(matches!(site.put("d", b"file", &new), Err(StoreError::NotEmpty { .. })));
    fs::remove_file(site.at("d/ignored")).unwrap();
    let gone = site.store.prepare_remove(&at, &old).unwrap();
    site.commit(gone).unwrap();
    assert!(!site.at("d").exists());
}

#[test]
fn something_put_into_a_directory_in_the_last_moment_keeps_it() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    fs::create_dir(site.at("d")).unwrap();
    let old = site.found("d", &dir(1));
    site.place("d", Some(&old));
    let new = version(dot(2, 4), &[], file(b"file"));
    let ready = site.ready("d", b"file", &new.meta);
    let prepared = site.store.prepare_put(&path("d"), &ready, &new, Some(&old)).unwrap();
    let inside = site.at("d/users");
    crash::at_step(2, move || fs::write(inside, "x").unwrap());
    let refused = site.commit(prepared).unwrap_err();
    crash::no_more();
    assert!(matches!(refused, StoreError::NotEmpty { .. }), "{refused}");
    assert_eq!(text(site.at("d/users")), "x");
    assert_eq!(site.store.kept_names().unwrap().len(), 0);
    site.store.drop_ready(&ready);
    assert_eq!(site.store.incoming.names().unwrap().len(), 0);
}

#[test]
fn links_arrive_unfollowed_and_are_kept_as_links() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let link = |serial, target: &[u8]| {
        version(dot(2, serial), &[], Content::Symlink { target: target.into() })
    };
    for (serial, target) in [(1, "/etc/passwd"), (2, "elsewhere")] {
        let new = link(serial, target.as_bytes());
        let ready = site.store.ready_link(target.as_bytes(), &new.meta).unwrap();
        let old = site.placed("l");
        let prepared = site.store.prepare_put(&path("l"), &ready, &new, old.as_ref()).unwrap();
        site.commit(prepared).unwrap();
        assert_eq!(fs::read_link(site.at("l")).unwrap(), Path::new(target));
        let expected = 1_700_000_000 + i64::try_from(serial).unwrap();
        assert_eq!(fs::symlink_metadata(site.at("l")).unwrap().mtime(), expected);
        assert!(site.is_settled("l"));
    }
    let kept = site.index.read().kept_of(&path("l")).unwrap().remove(0);
    assert_eq!(kept.kind, Kind::Symlink);
    assert_eq!(site.store.read_kept_link(&kept.name).unwrap(), b"/etc/passwd");
}

#[test]
fn nothing_is_done_through_a_link() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    fs::create_dir(site.home.join("outside")).unwrap();
    symlink(site.home.join("outside"), site.at("d")).unwrap();
    let new = version(dot(2, 4), &[], file(b"file"));
    assert!(matches!(site.put("d/a", b"file", &new), Err(StoreError::Place(_))));
    assert_eq!(fs::read_dir(site.home.join("outside")).unwrap().count(), 0);
}

#[test]
fn metadata_changes_without_the_content() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let mut old = site.known("a", b"old", 1);
    for (serial, mode) in [(2, 0o200), (3, 0o444), (4, 0o700)] {
        let mut new = version(dot(2, serial), &[], file(b"old"));
        new.meta.mode = mode;
        let prepared = site.store.prepare_describe(&path("a"), &new, &old).unwrap();
        site.commit(prepared).unwrap();
        let meta = fs::metadata(site.at("a")).unwrap();
        let expected = (mode, 1_700_000_000 + i64::try_from(serial).unwrap());
        assert_eq!((meta.mode() & 0o7777, meta.mtime()), expected);
        assert!(site.is_settled("a"));
        old = site.placed("a").unwrap();
        assert_eq!(old.version, new);
    }
    let other = version(dot(2, 5), &[], file(b"other"));
    let refused = site.store.prepare_describe(&path("a"), &other, &old).map(drop);
    assert!(matches!(refused, Err(StoreError::Mismatch { .. })));
}

#[test]
fn a_write_of_the_same_length_while_a_mode_is_set_is_not_taken_for_what_is_known() {
    let mut written = 0;
    for at in 1..=4 {
        let home = tempfile::tempdir().unwrap();
        let mut site = Site::new(home.path());
        let old = site.known("a", b"old", 1);
        let mut new = version(dot(2, 2), &[], file(b"old"));
        new.meta.mode = 0o640;
        let prepared = site.store.prepare_describe(&path("a"), &new, &old).unwrap();
        let file = site.at("a");
        crash::at_step(at, move || fs::write(&file, "new").unwrap());
        let _ = site.commit(prepared);
        let now = identity_of(&site.store.root.stat(&path("a")).unwrap());
        let is_written = text(site.at("a")) == "new";
        assert!(!is_written || site.placed("a").unwrap().identity != now, "at step {at}");
        written += u32::from(is_written);
    }
    assert!(written > 0, "there are no steps");
}

#[test]
fn a_conflict_copy_is_called_otherwise_and_nothing_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let old = site.known("a", b"old", 1);
    let (from, to) = (path("a"), path("b"));
    let prepared = site.store.prepare_move(&from, &to, &old.version, &old).unwrap();
    fs::write(site.at("b"), "users").unwrap();
    assert!(matches!(site.commit(prepared), Err(StoreError::Place(_))));
    assert_eq!((text(site.at("a")), text(site.at("b"))), ("old".to_owned(), "users".to_owned()));
    assert!(site.store.prepare_move(&from, &to, &old.version, &old).is_err());
    fs::remove_file(site.at("b")).unwrap();
    let prepared = site.store.prepare_move(&from, &to, &old.version, &old).unwrap();
    site.commit(prepared).unwrap();
    assert!(!site.at("a").exists() && site.is_settled("a") && site.is_settled("b"));
    assert_eq!(text(site.at("b")), "old");
}

#[test]
fn an_intent_of_another_change_opens_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut site = Site::new(home.path());
    let (a, b) = (site.known("a", b"a", 1), site.known("b", b"b", 2));
    let prepare = |at: &str, old| site.store.prepare_remove(&path(at), old).unwrap();
    let (first, second) = (prepare("a", &a), prepare("b", &b));
    let recorded = site.index.record(&[first.intent()]).unwrap().remove(0);
    assert!(matches!(second.swap(&recorded), Err(StoreError::NotRecorded { .. })));
    assert!(site.at("b").exists());
}
