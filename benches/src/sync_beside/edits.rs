//! What is done at site A, and how long it takes until it is whole at site B.

use super::Plan;
use super::report::Run;
use super::syncer::{LOOK_EVERY, Pair, Scene, Syncer, until};
use crate::side_by_side::content::{Content, same_content};
use farhaul_netem_tests::content::bytes;
use farhaul_sim::rng::Rng;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// What is overwritten of the large file, in bytes.
const OVERWRITTEN: usize = 1 << 20;
/// Bytes of a small file, and of an edit.
const SMALL: u64 = 10 << 10;
/// How often the other tree is looked at for an edit.
const GLANCE_EVERY: Duration = Duration::from_millis(1);
/// Between two changes there is nothing to do for so long.
const REST: Duration = Duration::from_secs(2);
/// Name of the large file.
const LARGE: &str = "large.bin";

/// All that is measured with a pair, each figure as soon as it is known.
///
/// # Errors
/// If the program does not do it in time, or wrongly.
pub(super) fn all(
    plan: &Plan,
    (scene, peer): (&Scene<'_>, Syncer),
    pair: &mut dyn Pair,
    run: &mut Run,
    round: u64,
) -> io::Result<()> {
    let is_latency_only = peer.is_latency_only();
    if !is_latency_only {
        large_file(plan, scene, pair, run)?;
        small_files(plan, scene, pair, run)?;
        deltas(plan, scene, pair, run)?;
        renamed(plan, scene, pair, run)?;
    }
    if pair.is_live() {
        let edits = if is_latency_only { plan.edits.div_ceil(10) } else { plan.edits };
        run.edit_seconds = latencies(scene, edits, round)?;
    }
    Ok(())
}

fn large_file(
    plan: &Plan,
    scene: &Scene<'_>,
    pair: &mut dyn Pair,
    run: &mut Run,
) -> io::Result<()> {
    let made = scene.aside(LARGE);
    Content::File(plan.large).make(&made)?;
    let sent = Sent::now(scene)?;
    let began = Instant::now();
    fs::rename(&made, scene.trees[0].join(LARGE))?;
    run.large_seconds = Some(arrival(scene, pair, LARGE, began)?);
    run.large_mib = Some(sent.mib_since(scene)?);
    Ok(())
}

fn small_files(
    plan: &Plan,
    scene: &Scene<'_>,
    pair: &mut dyn Pair,
    run: &mut Run,
) -> io::Result<()> {
    let made = scene.aside("small");
    Content::Tree { files: plan.small, each: SMALL }.make(&made)?;
    thread::sleep(REST);
    let began = Instant::now();
    fs::rename(&made, scene.trees[0].join("small"))?;
    pair.bring()?;
    let [here, there] = [0, 1].map(|site: usize| scene.trees[site].join("small"));
    until_whole(plan, scene, &there)?;
    run.small_seconds = Some(began.elapsed().as_secs_f64());
    same(&here, &there)
}

/// The directory of the small files gets another name.
fn renamed(plan: &Plan, scene: &Scene<'_>, pair: &mut dyn Pair, run: &mut Run) -> io::Result<()> {
    thread::sleep(REST);
    let [before, after] = ["small", "renamed"].map(|name| scene.trees[0].join(name));
    let sent = Sent::now(scene)?;
    let began = Instant::now();
    fs::rename(before, &after)?;
    pair.bring()?;
    let there = scene.trees[1].join("renamed");
    until_whole(plan, scene, &there)?;
    until("the old name is gone", scene.limit, LOOK_EVERY, || {
        Ok(!scene.trees[1].join("small").exists())
    })?;
    run.renamed_seconds = Some(began.elapsed().as_secs_f64());
    run.renamed_bytes_per_file = Some(sent.bytes_since(scene)? / f64::from(plan.small.max(1)));
    same(&after, &there)
}

/// Waits until all small files are beneath `there`. Looking takes a processor from whoever brings
/// them: a tenth of the time at most.
fn until_whole(plan: &Plan, scene: &Scene<'_>, there: &Path) -> io::Result<()> {
    let wanted = u64::from(plan.small);
    until("all small files are there", scene.limit, LOOK_EVERY, || {
        let began = Instant::now();
        let is_all = whole_files(there) == wanted;
        if !is_all {
            thread::sleep(began.elapsed() * 9);
        }
        Ok(is_all)
    })
}

/// Files of the full length in the directories of a directory, under their own names.
fn whole_files(root: &Path) -> u64 {
    let directories = fs::read_dir(root).into_iter().flatten().flatten();
    let files = directories.flat_map(|entry| fs::read_dir(entry.path()).into_iter().flatten());
    let whole = files.flatten().filter(|entry| {
        let is_own = entry.file_name().to_string_lossy().starts_with("file-");
        is_own && entry.metadata().is_ok_and(|meta| meta.len() == SMALL)
    });
    whole.count() as u64
}

fn deltas(plan: &Plan, scene: &Scene<'_>, pair: &mut dyn Pair, run: &mut Run) -> io::Result<()> {
    let path = scene.trees[0].join(LARGE);
    thread::sleep(REST);
    let sent = Sent::now(scene)?;
    let file = File::options().write(true).open(&path)?;
    let began = Instant::now();
    file.write_all_at(&bytes(77, OVERWRITTEN), plan.large / 3)?;
    drop(file);
    run.overwrite_seconds = Some(arrival(scene, pair, LARGE, began)?);
    run.overwrite_mib = Some(sent.mib_since(scene)?);

    thread::sleep(REST);
    let made = scene.aside("inserted");
    let mut file = File::create(&made)?;
    file.write_all(b"!")?;
    io::copy(&mut File::open(&path)?, &mut file)?;
    drop(file);
    let sent = Sent::now(scene)?;
    let began = Instant::now();
    fs::rename(&made, &path)?;
    run.insert_seconds = Some(arrival(scene, pair, LARGE, began)?);
    run.insert_mib = Some(sent.mib_since(scene)?);
    Ok(())
}

/// Seconds until each of some new contents of small files, one after the other, is there.
fn latencies(scene: &Scene<'_>, edits: u32, round: u64) -> io::Result<Vec<f64>> {
    let mut rng = Rng::new(round + 1);
    let mut seconds = Vec::new();
    for edit in 0..edits {
        let pause = Duration::from_millis(500 + rng.next_u64() % 1000);
        thread::sleep(pause);
        let name = format!("edited-{}", edit % 10);
        let content = bytes(rng.next_u64(), 10 << 10);
        fs::write(scene.trees[0].join(&name), &content)?;
        let began = Instant::now();
        let wanted = Stamp::of(&scene.trees[0].join(&name))?;
        let there = scene.trees[1].join(&name);
        until("an edit is there", scene.limit, GLANCE_EVERY, || {
            Ok(Stamp::of(&there).ok() == Some(wanted))
        })?;
        seconds.push(began.elapsed().as_secs_f64());
        if fs::read(&there)? != content {
            return Err(io::Error::other("what arrived of an edit is not the same"));
        }
    }
    Ok(seconds)
}

/// Waits until the file called `name` is at the other site, and compares it. Seconds since `began`.
fn arrival(scene: &Scene<'_>, pair: &mut dyn Pair, name: &str, began: Instant) -> io::Result<f64> {
    pair.bring()?;
    let [here, there]: [PathBuf; 2] = [0, 1].map(|site: usize| scene.trees[site].join(name));
    let wanted = Stamp::of(&here)?;
    until("the file is there", scene.limit, LOOK_EVERY, || {
        Ok(Stamp::of(&there).ok() == Some(wanted))
    })?;
    let seconds = began.elapsed().as_secs_f64();
    same(&here, &there)?;
    Ok(seconds)
}

fn same(here: &Path, there: &Path) -> io::Result<()> {
    match same_content(here, there)? {
        true => Ok(()),
        false => Err(io::Error::other(format!("{} is not the same", there.display()))),
    }
}

/// What tells one state of a file from another one without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::symlink_metadata(path)?;
        Ok(Self { len: meta.len(), modified: (meta.mtime(), meta.mtime_nsec()) })
    }
}

/// What had been sent both ways, at IP level.
#[derive(Clone, Copy, Debug)]
struct Sent(u64);

impl Sent {
    fn now(scene: &Scene<'_>) -> io::Result<Self> {
        let status = scene.lab.status().map_err(io::Error::other)?;
        Ok(Self(status.a_to_b.offered_bytes + status.b_to_a.offered_bytes))
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    fn bytes_since(self, scene: &Scene<'_>) -> io::Result<f64> {
        let now = Self::now(scene)?;
        Ok((now.0 - self.0) as f64)
    }

    fn mib_since(self, scene: &Scene<'_>) -> io::Result<f64> {
        Ok(self.bytes_since(scene)? / f64::from(1 << 20))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_full_length_under_their_own_names_count() {
        let home = tempfile::tempdir().expect("a directory");
        let at = |name: &str| home.path().join("0000").join(name);
        fs::create_dir(home.path().join("0000")).expect("made");
        let whole = vec![1; usize::try_from(SMALL).expect("small")];
        fs::write(at("file-1"), &whole).expect("written");
        fs::write(at("file-2"), &whole[1..]).expect("written");
        fs::write(at(".syncthing.file-3.tmp"), &whole).expect("written");
        assert_eq!(whole_files(home.path()), 1);
        assert_eq!(whole_files(&home.path().join("none")), 0);
    }

    #[test]
    fn the_stamp_of_a_file_changes_with_its_length_and_its_time() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let empty = Stamp::of(file.path()).expect("there");
        file.write_all(b"x").expect("written");
        assert_ne!(Stamp::of(file.path()).expect("there"), empty);
    }
}
