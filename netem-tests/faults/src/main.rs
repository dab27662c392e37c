//! `farhaul-faults`: cuts the power under a site, and kills it at every syscall.
//!
//! Exit codes: 0 nothing is wrong, 1 something is, 2 the command line, 77 this machine permits it not.

use clap::{Parser, Subcommand};
use farhaul_faults::KitError;
use farhaul_faults::kill::kill_everywhere;
use farhaul_faults::machine::FileSystem;
use farhaul_faults::mutant::Mutant;
use farhaul_faults::power::{Bench, Outcome, Trial};
use farhaul_faults::script::{Class, script, three_operations};
use farhaul_faults::site::Home;
use farhaul_faults::worker::work;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Says that this machine does not permit it.
const FORBIDDEN: u8 = 77;
/// Violations that are told of a class.
const SHOWN: usize = 5;

#[derive(Parser)]
#[command(about = "Power cuts and kills at every syscall, on real file systems, and an oracle.")]
struct Arguments {
    #[command(subcommand)]
    command: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Makes what power cuts leave, and judges what the product makes of it.
    Power {
        /// Of which class of work: create, replace, kinds (a file becomes a directory and back),
        /// rename, delete, rotate (old versions go), compact (the index's log); all without.
        #[arg(long)]
        class: Option<String>,
        /// How many images of each class.
        #[arg(long, default_value_t = 1000)]
        images: u64,
        /// On which file system: ext4, xfs, btrfs.
        #[arg(long, default_value = "ext4")]
        fs: String,
        /// From what everything follows.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// This image only.
        #[arg(long)]
        cut: Option<u64>,
        /// Of a life that was kept, instead of a new one.
        #[arg(long)]
        recording: Option<PathBuf>,
        /// Keeps the lives in which something is wrong in this directory.
        #[arg(long)]
        keep: Option<PathBuf>,
        /// Plants a fault: something has to be wrong then.
        #[arg(long)]
        mutant: Option<String>,
    },
    /// Kills a worker of three operations before and after its syscalls.
    Kill {
        /// At the how manyth stop first.
        #[arg(long, default_value_t = 1)]
        first: u64,
        /// How many stops further the next kill is; 0: none.
        #[arg(long, default_value_t = 1)]
        stride: u64,
    },
    /// Plants every fault where it shows, and says which are found.
    Mutants {
        /// How many images for each.
        #[arg(long, default_value_t = 200)]
        images: u64,
        /// On this file system only: ext4, xfs, btrfs.
        #[arg(long)]
        fs: Option<String>,
    },
    /// What is cut and killed; started by the others.
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        home: PathBuf,
        #[arg(long)]
        keys: PathBuf,
        #[arg(long)]
        class: Option<String>,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        #[arg(long)]
        three: bool,
        #[arg(long)]
        held: bool,
    },
}

fn main() -> ExitCode {
    // What the product says of a cut that is judged again: `RUST_LOG=farhauld=debug`.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_default();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let outcome = match Arguments::parse().command {
        Order::Power { class, images, fs, seed, cut, recording, keep, mutant } => {
            choose(class.as_deref(), &fs, mutant.as_deref()).and_then(|(classes, fs, mutant)| {
                let class = Class::Create;
                let trial =
                    Trial { class, file_system: fs, seed, images, cut, recording, keep, mutant };
                power(&classes, &trial)
            })
        }
        Order::Kill { first, stride } => kill(first, stride),
        Order::Mutants { images, fs } => mutants(images, fs.as_deref()),
        Order::Worker { home, keys, class, seed, three, held } => {
            let class = class.as_deref().and_then(Class::named).unwrap_or(Class::Create);
            let steps = if three { three_operations() } else { script(class, seed) };
            if held && std::io::stdin().read_exact(&mut [0]).is_err() {
                return ExitCode::FAILURE;
            }
            work(&Home::at(&home), &keys, &steps, held).map(|()| true)
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error @ KitError::Forbidden(_)) => {
            eprintln!("farhaul-faults: {error}");
            ExitCode::from(FORBIDDEN)
        }
        Err(error) => {
            eprintln!("farhaul-faults: {error}");
            ExitCode::FAILURE
        }
    }
}

type Chosen = (Vec<Class>, FileSystem, Option<Mutant>);

fn choose(class: Option<&str>, fs: &str, mutant: Option<&str>) -> Result<Chosen, KitError> {
    let unknown = |what: &str, name: &str| KitError::Failed(format!("there is no {what} `{name}`"));
    let classes = match class {
        None => Class::ALL.iter().map(|(_, class)| *class).collect(),
        Some(name) => vec![Class::named(name).ok_or_else(|| unknown("class", name))?],
    };
    let known = FileSystem::ALL.into_iter().find(|known| known.name() == fs);
    let file_system = known.ok_or_else(|| unknown("file system", fs))?;
    let mutant = mutant.map(|name| Mutant::named(name).ok_or_else(|| unknown("mutant", name)));
    Ok((classes, file_system, mutant.transpose()?))
}

/// A directory in memory where there is one: what is written there is written often.
fn scratch() -> Result<tempfile::TempDir, KitError> {
    let memory = Path::new("/dev/shm");
    let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    made.map_err(KitError::io("a directory"))
}

fn power(classes: &[Class], trial: &Trial) -> Result<bool, KitError> {
    let scratch = scratch()?;
    let mut bench = Bench::new(scratch.path(), trial.file_system)?;
    let mut is_well = true;
    for &class in classes {
        let outcome = bench.try_out(&Trial { class, ..trial.clone() })?;
        is_well &= outcome.violations.is_empty();
        show(class, trial, &outcome);
    }
    Ok(is_well)
}

fn show(class: Class, trial: &Trial, outcome: &Outcome) {
    let Outcome { images, unmountable, violations, entries, took } = outcome;
    let (class, fs) = (class.name(), trial.file_system.name());
    println!(
        "{class} on {fs}: {images} images, {} violations, {unmountable} not mountable, {:.1} s ({:.0} a second), {entries} entries",
        violations.len(),
        took.as_secs_f64(),
        rate(*images, *took),
    );
    for (seed, cut, found) in violations.iter().take(SHOWN) {
        println!("  --class {class} --fs {fs} --seed {seed} --cut {cut}");
        for what in found {
            println!("    {what}");
        }
    }
}

fn rate(images: u64, took: Duration) -> f64 {
    images as f64 / took.as_secs_f64().max(0.001)
}

/// Each in a process of its own, for each has mounts of its own.
fn mutants(images: u64, fs: Option<&str>) -> Result<bool, KitError> {
    let own = std::env::current_exe().map_err(KitError::io("its own path"))?;
    let mut are_found = true;
    for (name, mutant) in Mutant::ALL {
        let (class, file_system) = mutant.shows();
        if fs.is_some_and(|fs| fs != file_system.name()) {
            continue;
        }
        let mut run = std::process::Command::new(&own);
        run.args(["power", "--mutant", name, "--images", &images.to_string()]);
        run.args(["--class", class.name(), "--fs", file_system.name()]);
        let ran = run.output().map_err(KitError::io("a run of its own"))?;
        let out = String::from_utf8_lossy(&ran.stdout);
        let said = String::from_utf8_lossy(&ran.stderr);
        let is_found = ran.status.code() == Some(1) && out.contains("--cut");
        if ran.status.code() == Some(i32::from(FORBIDDEN)) {
            return Err(KitError::Forbidden(said.trim().to_owned()));
        }
        are_found &= is_found;
        let verdict = if is_found { "found" } else { "NOT FOUND" };
        println!("{name}: {verdict}: {}{said}", out.lines().next().unwrap_or_default());
    }
    Ok(are_found)
}

fn kill(first: u64, stride: u64) -> Result<bool, KitError> {
    let scratch = scratch()?;
    let began = Instant::now();
    let kills = kill_everywhere(scratch.path(), first, stride)?;
    println!(
        "kill: {} kills, {} violations, {:.1} s",
        kills.kills,
        kills.violations.len(),
        began.elapsed().as_secs_f64()
    );
    for (at, found) in kills.violations.iter().take(SHOWN) {
        println!("  kill --first {at} --stride 0");
        for what in found {
            println!("    {what}");
        }
    }
    Ok(kills.violations.is_empty())
}
