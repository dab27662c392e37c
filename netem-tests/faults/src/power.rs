//! Power cuts: a worker's life is recorded once, and what a cut could have left of it is made, mounted,
//! opened by the product and judged, thousands of times.

use crate::KitError;
use crate::image::{cut, cuts, settle};
use crate::judge::{Judge, Violations, count_panics};
use crate::kill::Trace;
use crate::ledger::{Duties, hear};
use crate::machine::{Bay, Boot, FileSystem, now_secs, step_aside};
use crate::mutant::Mutant;
use crate::peer::Contents;
use crate::recording::Recording;
use crate::script::{Class, contents, script};
use crate::site::{Home, Identities, runtime};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Images that are made of one life; the next ones are made of one with another seed.
pub const PER_LIFE: u64 = 500;
/// Violations after which no more images of a class are made.
const VIOLATIONS_MAX: usize = 20;

/// What is tried.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What is done until the power goes.
    pub class: Class,
    /// On what.
    pub file_system: FileSystem,
    /// From what everything else follows.
    pub seed: u64,
    /// How many images.
    pub images: u64,
    /// This one only.
    pub cut: Option<u64>,
    /// Of a life that was kept.
    pub recording: Option<PathBuf>,
    /// Where lives with a violation are kept.
    pub keep: Option<PathBuf>,
    /// What is planted.
    pub mutant: Option<Mutant>,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Images that were judged.
    pub images: u64,
    /// Images that the kernel did not mount: nothing is said of the product by those.
    pub unmountable: u64,
    /// Each with the seed of its life and its cut.
    pub violations: Vec<(u64, u64, Violations)>,
    /// Entries of the logs.
    pub entries: u64,
    /// How long judging took.
    pub took: Duration,
}

/// Where all of it happens.
pub struct Bench {
    bay: Bay,
    boot: Boot,
    file_system: FileSystem,
    identities: Identities,
    scratch: PathBuf,
    runtime: Arc<tokio::runtime::Runtime>,
}

impl Bench {
    /// Makes one in `scratch`, a directory of its own. To be called before any thread is started.
    ///
    /// # Errors
    /// [`KitError`]; [`KitError::Forbidden`] where the machine does not permit it.
    pub fn new(scratch: &Path, file_system: FileSystem) -> Result<Self, KitError> {
        step_aside()?;
        let pages = file_system.format(scratch)?;
        let boot = Boot::fake(scratch)?;
        let bay = Bay::new(scratch, file_system, pages)?;
        let identities = Identities::of(&scratch.join("keys"))?;
        count_panics();
        let runtime = runtime()?;
        Ok(Self { bay, boot, file_system, identities, scratch: scratch.to_path_buf(), runtime })
    }

    /// Tries it.
    ///
    /// # Errors
    /// [`KitError`]: there is no verdict.
    pub fn try_out(&mut self, trial: &Trial) -> Result<Outcome, KitError> {
        let mut outcome = Outcome::default();
        if let Some(at) = &trial.recording {
            let recording = Recording::load(at)?;
            self.identities = Identities::of(&keys_of(at))?;
            let numbers: Vec<u64> =
                trial.cut.map_or_else(|| (0..trial.images).collect(), |n| vec![n]);
            self.judge_life(&recording, &numbers, trial, &mut outcome)?;
            return Ok(outcome);
        }
        let lives = trial.images.div_ceil(PER_LIFE);
        for life in 0..lives {
            let seed = trial.seed + life;
            let recording = self.record(trial.class, seed, trial.mutant)?;
            let count = PER_LIFE.min(trial.images - life * PER_LIFE);
            let numbers: Vec<u64> = trial.cut.map_or_else(|| (0..count).collect(), |n| vec![n]);
            let before = outcome.violations.len();
            self.judge_life(&recording, &numbers, trial, &mut outcome)?;
            if let Some(keep) = &trial.keep
                && outcome.violations.len() > before
            {
                let name = format!("{}-{}-{seed}", trial.class.name(), self.file_system.name());
                let at = keep.join(name);
                recording.save(&at)?;
                drop(std::fs::remove_dir_all(keys_of(&at)));
                let mut copy = Command::new("cp");
                copy.arg("-r").arg(self.scratch.join("keys")).arg(keys_of(&at));
                copy.status().map_err(KitError::io("keys"))?;
            }
            if outcome.violations.len() >= VIOLATIONS_MAX {
                break;
            }
        }
        Ok(outcome)
    }

    /// Runs a worker on a new file system and records what becomes of it.
    fn record(
        &mut self,
        class: Class,
        seed: u64,
        mutant: Option<Mutant>,
    ) -> Result<Recording, KitError> {
        let first = self.file_system.format(&self.scratch)?;
        self.boot.start_again(1)?;
        self.bay.disk.put(first.clone());
        self.bay.disk.record();
        let mounted = self.bay.mount().map_err(KitError::io("a new file system"))?;
        let home = Home::at(mounted.at());
        home.make()?;
        let mut worker = worker(mounted.at(), &self.scratch.join("keys"), class, seed);
        let traced = mutant.filter(|mutant| mutant.drops_syncs());
        if traced.is_some() {
            worker.arg("--held");
        }
        let disk = Arc::clone(&self.bay.disk);
        let mut child = spawn(worker)?;
        let (out, heard) = (child.stdout.take(), child.stdin.take());
        let (Some(out), Some(mut heard)) = (out, heard) else {
            return Err(KitError::Failed("the worker has no pipes".to_owned()));
        };
        let is_held = traced.is_some();
        let hearing = std::thread::spawn(move || {
            if is_held {
                heard.write_all(&[1]).map_err(KitError::io("a worker"))?;
            }
            hear(out, heard, || disk.position())
        });
        if let Some(mutant) = traced {
            Trace::dropping(mutant).run(&child)?;
        } else {
            let ended = child.wait().map_err(KitError::io("the worker"))?;
            if !ended.success() {
                return Err(KitError::Failed(format!("the worker ended with {ended}")));
            }
        }
        let lines = hearing.join().map_err(|_| KitError::Failed("nobody heard".to_owned()))??;
        let log = self.bay.disk.recorded();
        drop(mounted);
        let ended_secs = now_secs();
        // What is judged was written before the machine started.
        while now_secs() <= ended_secs + 1 {
            std::thread::sleep(Duration::from_millis(50));
        }
        let file_system = self.file_system;
        Ok(Recording { class, seed, file_system, first, log, lines, ended_secs })
    }

    fn judge_life(
        &mut self,
        recording: &Recording,
        numbers: &[u64],
        trial: &Trial,
        outcome: &mut Outcome,
    ) -> Result<(), KitError> {
        let began = Instant::now();
        self.boot.start_again(recording.ended_secs + 1)?;
        let steps = script(recording.class, recording.seed);
        let judge = Judge {
            identities: self.identities.clone(),
            contents: Arc::new(Contents::new(contents(&steps))),
            runtime: Arc::clone(&self.runtime),
        };
        let lines = match trial.mutant {
            Some(mutant) => mutant.told(&recording.lines),
            None => recording.lines.clone(),
        };
        let lies = trial.mutant.is_some_and(Mutant::lies);
        let marks: Vec<usize> = lines.iter().map(|(stamp, _)| *stamp).collect();
        let from = recording.begins();
        let cuts = cuts((&recording.log, &marks), from, recording.seed, numbers, lies);
        let (mut settled, mut done) = (recording.first.clone(), 0);
        for at in cuts {
            settle(&mut settled, &recording.log[done..at.settled]);
            done = at.settled;
            let later = &recording.log[at.settled..at.at];
            self.bay.disk.put(cut(&settled, later, recording.seed, at.number));
            let Ok(mounted) = self.bay.mount() else {
                outcome.unmountable += 1;
                continue;
            };
            let home = Home::at(mounted.at());
            if let Some(mutant) = trial.mutant {
                mutant.spoil(&home)?;
            }
            let found = judge.judge(&home, &Duties::at(&lines, at.at), at.number % 2 == 1);
            outcome.images += 1;
            if !found.is_empty() {
                outcome.violations.push((recording.seed, at.number, found));
                if outcome.violations.len() >= VIOLATIONS_MAX {
                    break;
                }
            }
        }
        outcome.entries += recording.log.len() as u64;
        outcome.took += began.elapsed();
        Ok(())
    }
}

/// Where the keys of a life that is kept are.
fn keys_of(recording: &Path) -> PathBuf {
    recording.with_extension("keys")
}

/// The command of a worker.
pub(crate) fn worker(home: &Path, keys: &Path, class: Class, seed: u64) -> Command {
    let own = std::env::current_exe().unwrap_or_else(|_| "farhaul-faults".into());
    let mut worker = Command::new(own);
    worker.arg("worker").arg("--home").arg(home).arg("--keys").arg(keys);
    worker.args(["--class", class.name(), "--seed", &seed.to_string()]);
    worker
}

/// Starts it; what it says comes through a pipe.
pub(crate) fn spawn(mut worker: Command) -> Result<Child, KitError> {
    worker.stdin(Stdio::piped()).stdout(Stdio::piped());
    worker.spawn().map_err(KitError::io("a worker"))
}
