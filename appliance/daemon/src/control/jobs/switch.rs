//! How what came becomes visible: a tree of further names of the same files is made beside what
//! stands, and both change places at once. What stood is kept for the way back.
//!
//! The files have two names then, one in the tree that the job keeps for its next run, one where users
//! find it. Farhaul replaces files and never writes into them, so nothing that a later run does
//! shows before its switch. What a user writes into such a file shows in both: the next scan of the
//! kept tree finds it, and the source's is fetched again (spec: S-235).

use farhaul_engine::files::dir::{Dir, FileKind, times};
use farhaul_engine::files::{ConfineError, Root};
use farhaul_proto::path_name::{RESERVED_NAME, RelPath};
use rustix::fs::{AtFlags, Gid, Mode, Uid, chmodat, chownat, fchmod, futimens};
use rustix::io::Errno;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The tree that the job keeps.
pub(super) const NEXT: &[u8] = b"next";
/// What is made to be switched to.
const FRESH: &[u8] = b"fresh";
/// What stood before the last switch.
const PREVIOUS: &[u8] = b"previous";
/// Before the number of a new tree that is complete.
const SWITCHING: &str = "switching-";
/// Before the run and the number of the tree that is live, or about to be.
const LIVE: &str = "live-";
/// What is being removed.
const OLD: &[u8] = b"old";
/// Bytes that are copied at a time, where a file cannot have another name.
const COPY_LEN: usize = 1 << 20;

/// Why nothing was switched; what stood stands.
#[derive(Debug, thiserror::Error)]
pub(super) enum SwitchError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error("{what}: {errno}")]
    Disk { what: &'static str, errno: Errno },
    #[error("there is no tree from before the last switch")]
    NothingBefore,
    #[error("the tree that came has not the one file that it should be")]
    NotOneFile,
}

fn at(what: &'static str) -> impl Fn(Errno) -> SwitchError {
    move |errno| SwitchError::Disk { what, errno }
}

/// The places of a target: what users see, and what the job keeps beside.
pub(super) struct Target {
    /// The export.
    root: Root,
    /// Beneath it: what users see.
    live: RelPath,
    /// What the job keeps, in the one directory of the export that is Farhaul's.
    kept: Dir,
}

impl Target {
    /// Of the export at `export`, with what the job keeps beneath the names of `kept`, which are made.
    pub(super) fn open(export: &Path, live: RelPath, kept: &[String]) -> Result<Self, SwitchError> {
        let root = Root::open(export)?;
        let wrong = at("the directory of the job");
        let mut dir = root.dir().clone();
        for name in [RESERVED_NAME].into_iter().chain(kept.iter().map(String::as_bytes)) {
            match dir.make_dir(name, 0o700) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(wrong(errno)),
            }
            dir = dir.open_dir(name).map_err(&wrong)?;
        }
        Ok(Self { root, live, kept: dir })
    }

    /// Makes the tree that the job keeps, if it is not there.
    pub(super) fn make_next(&self) -> Result<(), SwitchError> {
        match self.kept.make_dir(NEXT, 0o755) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(at("the tree of the job")(errno)),
        }
    }

    /// Removes the tree that the job keeps.
    pub(super) fn remove_next(&self) -> Result<(), SwitchError> {
        let _turn = turn();
        self.settle()?;
        remove(&self.kept, NEXT)
    }

    /// Has what came for a run stand where users see it, and keeps what stood there. Whoever is stopped
    /// in the middle calls this again: what has been switched to is not switched to once more.
    pub(super) fn switch(&self, run: u64, is_file: bool) -> Result<(), SwitchError> {
        let _turn = turn();
        self.settle()?;
        let kept = &self.kept;
        if let Some(live) = self.live_is()?
            && self.noted()?.contains(&(run, live))
        {
            return Ok(());
        }
        let next = kept.open_dir(NEXT).map_err(at("the tree of the job"))?;
        if is_file {
            let names = next.names().map_err(at("the tree of the job"))?;
            let mut names = names.into_iter().filter(|name| name != RESERVED_NAME);
            let (Some(name), None) = (names.next(), names.next()) else {
                return Err(SwitchError::NotOneFile);
            };
            name_again(&next, &name, kept, FRESH)?;
        } else {
            kept.make_dir(FRESH, 0o700).map_err(at("the new tree"))?;
            clone(&next, kept, FRESH, true)?;
        }
        // Whatever stops this from here on: the name says whether what bears it is the new tree, and the
        // note whether what is live is.
        let fresh = kept.stat(FRESH).map_err(at("the new tree"))?;
        let ino = fresh.map_or(0, |meta| meta.identity.ino);
        let name = named_after(ino);
        kept.rename_new(FRESH, kept, &name).map_err(at("the new tree"))?;
        self.note(run, ino)?;
        self.exchange(&name)?;
        self.settle()
    }

    /// Has what stood before the last switch stand again, or what was switched to.
    pub(super) fn stand(&self, back: bool) -> Result<(), SwitchError> {
        let _turn = turn();
        self.settle()?;
        let noted = self.noted()?;
        let last = noted.iter().map(|(run, _)| *run).max().ok_or(SwitchError::NothingBefore)?;
        let live = self.live_is()?;
        if live.is_some_and(|live| noted.contains(&(last, live))) != back {
            return Ok(());
        }
        if stat(&self.kept, PREVIOUS)? {
            return self.exchange(PREVIOUS);
        }
        // Nothing stood there before.
        let wrong = at("the switch");
        let (parent, leaf) = (self.root.parent_dir(&self.live)?, self.live.file_name());
        parent.rename_new(leaf, &self.kept, PREVIOUS).map_err(&wrong)?;
        parent.sync().map_err(&wrong)?;
        self.kept.sync().map_err(&wrong)
    }

    /// Which file or directory users see.
    fn live_is(&self) -> Result<Option<u64>, SwitchError> {
        match self.root.stat(&self.live) {
            Ok(meta) => Ok(Some(meta.identity.ino)),
            Err(ConfineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The run that was switched to last, or is about to be, and its tree; more than one if somebody was
    /// stopped while he noted that.
    fn noted(&self) -> Result<Vec<(u64, u64)>, SwitchError> {
        let names = self.kept.names().map_err(at("the trees of the job"))?;
        Ok(names.iter().filter_map(|name| noted_in(name)).collect())
    }

    /// Notes that, durably; what was noted before is of no use any more.
    fn note(&self, run: u64, ino: u64) -> Result<(), SwitchError> {
        let wrong = at("the note of the switch");
        let new = format!("{LIVE}{run}-{ino}").into_bytes();
        match self.kept.make_dir(&new, 0o700) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(wrong(errno)),
        }
        self.kept.sync().map_err(&wrong)?;
        for name in self.kept.names().map_err(&wrong)? {
            if name != new && noted_in(&name).is_some() {
                self.kept.remove_dir(&name).map_err(&wrong)?;
            }
        }
        Ok(())
    }

    /// Ends what a switch that was stopped left: what was live is kept, what never was goes.
    fn settle(&self) -> Result<(), SwitchError> {
        let (kept, wrong) = (&self.kept, at("the trees of the job"));
        for name in kept.names().map_err(&wrong)? {
            let Some(number) = number_in(&name) else { continue };
            let Some(meta) = kept.stat(&name).map_err(&wrong)? else { continue };
            if meta.identity.ino == number {
                remove(kept, &name)?;
                continue;
            }
            remove(kept, OLD)?;
            if stat(kept, PREVIOUS)? {
                kept.rename_new(PREVIOUS, kept, OLD).map_err(&wrong)?;
            }
            kept.rename_new(&name, kept, PREVIOUS).map_err(&wrong)?;
            kept.sync().map_err(&wrong)?;
        }
        remove(kept, FRESH)?;
        remove(kept, OLD)?;
        kept.sync().map_err(&wrong)
    }

    /// Swaps `name` of what is kept with what users see, or moves it there.
    fn exchange(&self, name: &[u8]) -> Result<(), SwitchError> {
        let kept = &self.kept;
        if let Some(parent) = self.live.parent() {
            self.root.make_dirs(&parent, 0o755)?;
        }
        let (parent, leaf) = (self.root.parent_dir(&self.live)?, self.live.file_name());
        match kept.exchange(name, &parent, leaf) {
            Err(Errno::NOENT) => kept.rename_new(name, &parent, leaf).map_err(at("the switch"))?,
            switched => switched.map_err(at("the switch"))?,
        }
        parent.sync().map_err(at("the switch"))?;
        kept.sync().map_err(at("the switch"))
    }
}

/// What a new tree is called until it is switched to: with the number of its inode, so that what bears
/// the name after the switch is known to be what was live.
fn named_after(ino: u64) -> Vec<u8> {
    format!("{SWITCHING}{ino}").into_bytes()
}

/// The run and the tree of a note.
fn noted_in(name: &[u8]) -> Option<(u64, u64)> {
    let (run, ino) = std::str::from_utf8(name).ok()?.strip_prefix(LIVE)?.split_once('-')?;
    Some((run.parse().ok()?, ino.parse().ok()?))
}

/// One switch at a time in this process: whoever stops a job waits for it.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number_in(name: &[u8]) -> Option<u64> {
    std::str::from_utf8(name).ok()?.strip_prefix(SWITCHING)?.parse().ok()
}

fn stat(dir: &Dir, name: &[u8]) -> Result<bool, SwitchError> {
    Ok(dir.stat(name).map_err(at("the trees of the job"))?.is_some())
}

/// Gives all files beneath `from` further names beneath `to/name`, which is there.
fn clone(from: &Dir, to: &Dir, name: &[u8], is_top: bool) -> Result<(), SwitchError> {
    let wrong = at("the new tree");
    let here = to.open_dir(name).map_err(&wrong)?;
    for entry in from.names().map_err(&wrong)? {
        if is_top && entry == RESERVED_NAME {
            continue;
        }
        let Some(meta) = from.stat(&entry).map_err(&wrong)? else { continue };
        match meta.kind {
            FileKind::Dir => {
                here.make_dir(&entry, 0o700).map_err(&wrong)?;
                let inner = from.open_dir(&entry).map_err(&wrong)?;
                clone(&inner, &here, &entry, false)?;
            }
            FileKind::File => name_again(from, &entry, &here, &entry)?,
            FileKind::Symlink => {
                let target = from.read_link(&entry).map_err(&wrong)?;
                here.symlink(&target, &entry).map_err(&wrong)?;
                here.set_link_mtime(&entry, meta.mtime()).map_err(&wrong)?;
            }
            FileKind::Special => {}
        }
    }
    let meta = from.meta().map_err(&wrong)?;
    let mine = here.meta().map_err(&wrong)?;
    if (mine.owner, mine.group) != (meta.owner, meta.group) {
        let owner = Some(Uid::from_raw(meta.owner));
        let group = Some(Gid::from_raw(meta.group));
        chownat(to, name, owner, group, AtFlags::SYMLINK_NOFOLLOW).map_err(&wrong)?;
    }
    // It was made here, where nobody else can put a link in its place before the switch.
    chmodat(to, name, Mode::from_bits_truncate(meta.mode), AtFlags::empty()).map_err(&wrong)?;
    here.sync().map_err(&wrong)
}

/// Another name for a file; a copy where the file system has none.
fn name_again(from: &Dir, name: &[u8], to: &Dir, new: &[u8]) -> Result<(), SwitchError> {
    match from.link(name, to, new) {
        Err(Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => copy(from, name, to, new),
        linked => linked.map_err(at("the new tree")),
    }
}

fn copy(from: &Dir, name: &[u8], to: &Dir, new: &[u8]) -> Result<(), SwitchError> {
    let wrong = at("a copy in the new tree");
    let failed = |error: std::io::Error| wrong(errno_of(&error));
    let (mut source, meta) = from.open_file(name).map_err(&wrong)?;
    let mut file = to.create_file(new).map_err(&wrong)?;
    let mut buffer = vec![0; COPY_LEN];
    loop {
        let len = source.read(&mut buffer).map_err(failed)?;
        if len == 0 {
            break;
        }
        file.write_all(&buffer[..len]).map_err(failed)?;
    }
    fchmod(&file, Mode::from_bits_truncate(meta.mode)).map_err(&wrong)?;
    futimens(&file, &times(meta.mtime())).map_err(&wrong)?;
    file.sync_all().map_err(failed)
}

fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::IO, Errno::from_raw_os_error)
}

/// Removes what stands there with all beneath it.
fn remove(dir: &Dir, name: &[u8]) -> Result<(), SwitchError> {
    let wrong = at("what is left of an earlier switch");
    let Some(meta) = dir.stat(name).map_err(&wrong)? else { return Ok(()) };
    if meta.kind != FileKind::Dir {
        return dir.remove_file(name).map_err(&wrong);
    }
    let inner = dir.open_dir(name).map_err(&wrong)?;
    for entry in inner.names().map_err(&wrong)? {
        remove(&inner, &entry)?;
    }
    dir.remove_dir(name).map_err(&wrong)
}

/// Whether a file and no directory stands there; `None`: nothing, or something else.
pub(super) fn is_file(root: &Root, path: &RelPath) -> Option<bool> {
    match root.stat(path).ok()?.kind {
        FileKind::File => Some(true),
        FileKind::Dir => Some(false),
        FileKind::Symlink | FileKind::Special => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    fn path(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).expect("a path")
    }

    /// An export with a tree that came.
    fn target(live: &str) -> (tempfile::TempDir, Target) {
        let dir = tempfile::tempdir().expect("a directory");
        let target = Target::open(dir.path(), path(live), &["jobs", "golden"].map(str::to_owned));
        let target = target.expect("opened");
        target.make_next().expect("made");
        (dir, target)
    }

    fn next(dir: &tempfile::TempDir) -> std::path::PathBuf {
        dir.path().join(".farhaul/jobs/golden/next")
    }

    #[test]
    fn a_tree_is_switched_to_as_a_whole_and_back() {
        let (dir, target) = target("images/golden");
        let (next, live) = (next(&dir), dir.path().join("images/golden"));
        fs::create_dir_all(next.join("a/b")).expect("made");
        fs::create_dir(next.join(".farhaul")).expect("made");
        fs::write(next.join("a/b/one"), "1").expect("written");
        std::os::unix::fs::symlink("a/b", next.join("link")).expect("made");
        target.switch(1, false).expect("switched");
        assert_eq!(fs::read_to_string(live.join("link/one")).expect("there"), "1");
        assert!(!live.join(".farhaul").exists());
        // The next run replaces a file: nothing of it shows.
        let new = next.join("new");
        fs::write(&new, "2").expect("written");
        fs::rename(&new, next.join("a/b/one")).expect("renamed");
        assert_eq!(fs::read_to_string(live.join("a/b/one")).expect("there"), "1");
        // Of the same run again nothing is switched to: its end was not noted.
        target.switch(1, false).expect("it is so already");
        assert_eq!(fs::read_to_string(live.join("a/b/one")).expect("there"), "1");
        target.switch(2, false).expect("switched");
        assert_eq!(fs::read_to_string(live.join("a/b/one")).expect("there"), "2");
        for (back, expected) in [(true, "1"), (true, "1"), (false, "2"), (false, "2")] {
            target.stand(back).expect("done");
            assert_eq!(fs::read_to_string(live.join("a/b/one")).expect("there"), expected);
        }
    }

    #[test]
    fn what_a_user_had_there_is_kept_for_the_way_back() {
        let (dir, target) = target("golden");
        assert!(matches!(target.stand(true), Err(SwitchError::NothingBefore)));
        fs::create_dir(dir.path().join("golden")).expect("made");
        fs::write(dir.path().join("golden/mine"), "m").expect("written");
        fs::write(next(&dir).join("theirs"), "t").expect("written");
        target.switch(1, false).expect("switched");
        assert!(
            dir.path().join("golden/theirs").exists() && !dir.path().join("golden/mine").exists()
        );
        target.stand(true).expect("back");
        assert!(
            dir.path().join("golden/mine").exists() && !dir.path().join("golden/theirs").exists()
        );
    }

    #[test]
    fn where_nothing_stood_before_nothing_stands_after_the_way_back() {
        let (dir, target) = target("golden");
        fs::write(next(&dir).join("theirs"), "t").expect("written");
        target.switch(1, false).expect("switched");
        for (back, is_there) in [(true, false), (true, false), (false, true), (true, false)] {
            target.stand(back).expect("done");
            assert_eq!(dir.path().join("golden/theirs").exists(), is_there);
        }
    }

    /// The end of a switch was not noted by whoever began it.
    #[test]
    fn what_stood_before_outlives_a_switch_that_is_told_again() {
        let (dir, target) = target("golden");
        fs::create_dir(dir.path().join("golden")).expect("made");
        fs::write(dir.path().join("golden/mine"), "m").expect("written");
        fs::write(next(&dir).join("theirs"), "t").expect("written");
        for _ in 0..3 {
            target.switch(1, false).expect("switched");
        }
        target.stand(true).expect("back");
        assert!(dir.path().join("golden/mine").exists());
    }

    #[test]
    fn a_single_file_takes_the_place_of_one() {
        let (dir, target) = target("golden.img");
        fs::write(next(&dir).join("golden.img"), "new").expect("written");
        fs::write(dir.path().join("golden.img"), "old").expect("written");
        target.switch(1, true).expect("switched");
        assert_eq!(fs::read_to_string(dir.path().join("golden.img")).expect("there"), "new");
        assert_eq!(dir.path().join("golden.img").metadata().expect("there").nlink(), 2);
        target.stand(true).expect("back");
        assert_eq!(fs::read_to_string(dir.path().join("golden.img")).expect("there"), "old");
        fs::write(next(&dir).join("another"), "x").expect("written");
        assert!(matches!(target.switch(2, true), Err(SwitchError::NotOneFile)));
    }

    #[test]
    fn what_a_killed_switch_left_is_in_nobodys_way() {
        let (dir, target) = target("golden");
        fs::write(next(&dir).join("file"), "1").expect("written");
        let kept = dir.path().join(".farhaul/jobs/golden");
        for left in ["fresh", "old", "switching-1"] {
            fs::create_dir_all(kept.join(left).join("deep")).expect("made");
            fs::write(kept.join(left).join("deep/x"), "").expect("written");
        }
        target.switch(1, false).expect("switched");
        assert!(dir.path().join("golden/file").exists());
        assert!(!kept.join("fresh").exists());
        // It was live: its name is that of another tree.
        target.stand(true).expect("back");
        assert!(dir.path().join("golden/deep/x").exists());
    }

    #[test]
    fn a_link_in_the_way_of_a_target_is_not_followed() {
        let (dir, target) = target("out/golden");
        let other = tempfile::tempdir().expect("a directory");
        std::os::unix::fs::symlink(other.path(), dir.path().join("out")).expect("made");
        fs::write(next(&dir).join("file"), "1").expect("written");
        assert!(target.switch(1, false).is_err());
        assert_eq!(fs::read_dir(other.path()).expect("read").count(), 0);
    }
}
