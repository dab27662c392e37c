//! Puts faults into the brain, one at a time, and runs its tests: whoever writes tests that cannot
//! fail is found out. The faults stand in `appliance/sync/mutants.toml`.

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde::Deserialize;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const LIST: &str = "appliance/sync/mutants.toml";
const SOURCES: &str = "appliance/sync/src";
const PACKAGE: &str = "farhaul-sync";

/// Put faults into the brain, one at a time, and see whether its tests find them.
#[derive(Debug, Parser)]
struct Args {
    /// Only those whose names contain this.
    #[arg(default_value = "")]
    only: String,
    /// Tests that go on for so many seconds have found a fault that does not end.
    #[arg(long, default_value_t = 600)]
    limit: u64,
}

/// The list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutant: Vec<Mutant>,
}

/// One fault.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    name: String,
    /// Beneath the sources of the brain.
    file: PathBuf,
    /// Stands there once.
    find: String,
    replace: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Caught,
    /// The tests did not come to an end.
    Endless,
    Survived,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> Result<bool> {
    let list = fs::read_to_string(LIST)
        .with_context(|| format!("{LIST}: run this at the top of the project"))?;
    let list: List = toml::from_str(&list).context(LIST)?;
    let copy = tempfile::tempdir().context("a copy of the project")?;
    copy_tracked(copy.path())?;
    let limit = Duration::from_secs(args.limit);
    compiles(copy.path(), "the brain as it is")?;
    let fate = survives(copy.path(), limit)?;
    ensure!(fate == Fate::Survived, "without any fault the tests come to this: {fate:?}");
    let mut survivors = Vec::new();
    let wanted = list.mutant.iter().filter(|mutant| mutant.name.contains(&args.only));
    let mut tried = 0;
    for mutant in wanted {
        let began = Instant::now();
        let fate = mutant.fate(copy.path(), limit)?;
        println!("{:8}  {:>4} s  {}", format!("{fate:?}"), began.elapsed().as_secs(), mutant.name);
        tried += 1;
        if fate == Fate::Survived {
            survivors.push(&mutant.name);
        }
    }
    println!("{tried} faults, {} caught", tried - survivors.len());
    Ok(survivors.is_empty())
}

impl Mutant {
    fn fate(&self, copy: &Path, limit: Duration) -> Result<Fate> {
        let path = copy.join(SOURCES).join(&self.file);
        let sound = fs::read_to_string(&path).with_context(|| self.name.clone())?;
        let count = sound.matches(&self.find).count();
        ensure!(count == 1, "{}: what it replaces stands {count} times there", self.name);
        fs::write(&path, sound.replace(&self.find, &self.replace))?;
        let fate = compiles(copy, &self.name).and_then(|()| survives(copy, limit));
        fs::write(&path, sound)?;
        fate
    }
}

/// The files under version control, as they are now.
fn copy_tracked(to: &Path) -> Result<()> {
    let listed = Command::new("git").args(["ls-files", "-z"]).output().context("git ls-files")?;
    ensure!(listed.status.success(), "git ls-files failed: run this in a clone of the project");
    for name in String::from_utf8(listed.stdout)?.split_terminator('\0') {
        let place = to.join(name);
        fs::create_dir_all(place.parent().context("a path without a directory")?)?;
        fs::copy(name, &place).with_context(|| name.to_owned())?;
    }
    Ok(())
}

fn cargo(copy: &Path) -> Result<Command> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(copy).args(["test", "--locked", "--package", PACKAGE, "--lib"]);
    cargo.env("CARGO_TARGET_DIR", std::env::current_dir()?.join("target/mutants"));
    // Faults leave things unused.
    cargo.env("RUSTFLAGS", "-Awarnings").env("RUST_BACKTRACE", "0");
    cargo.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Ok(cargo)
}

/// A fault that no program can have proves nothing.
fn compiles(copy: &Path, name: &str) -> Result<()> {
    let built = cargo(copy)?.arg("--no-run").stderr(Stdio::inherit()).status()?;
    ensure!(built.success(), "{name}: does not compile");
    Ok(())
}

/// What the tests say of the copy as it is: the first that fails is enough.
fn survives(copy: &Path, limit: Duration) -> Result<Fate> {
    let began = Instant::now();
    let mut tests = cargo(copy)?.stdout(Stdio::piped()).spawn().context("cargo test")?;
    let said = tests.stdout.take().context("what the tests say")?;
    let (failed, failure) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            if line.starts_with("test ") && line.ends_with("... FAILED") {
                // Nobody listens any more once the tests have ended.
                let _ = failed.send(());
            }
        }
    });
    loop {
        if failure.try_recv().is_ok() {
            end(&mut tests);
            return Ok(Fate::Caught);
        }
        if let Some(status) = tests.try_wait()? {
            return match status.code() {
                Some(0) => Ok(Fate::Survived),
                Some(_) => Ok(Fate::Caught),
                None => bail!("the tests were killed"),
            };
        }
        if began.elapsed() > limit {
            end(&mut tests);
            return Ok(Fate::Endless);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Ends the tests with cargo, which passes no signal on.
fn end(tests: &mut Child) {
    let parent = tests.id().to_string();
    let _ = Command::new("pkill").args(["-KILL", "-P", &parent]).status();
    let _ = tests.kill();
    let _ = tests.wait();
}
