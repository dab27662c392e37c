//! What a test needs from the machine, and how it says that it is not there.
//!
//! A test is skipped for the causes of [`Unavailable`] alone. Whatever else keeps a lab from coming
//! up, or a binary from being built, is a failure.

use rustix::io::Errno;
use serde_json::Value;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Why a test cannot run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The kernel forbids namespaces, or has no TUN device; the emulator said which.
    #[error("{0}")]
    Lab(String),
    /// A program of somebody else is not installed.
    #[error("{0} is not installed")]
    Program(String),
    /// The user may not mount file systems, not even in a namespace.
    #[error("mounts are not permitted")]
    Mount,
    /// No disk can be served here, or nothing traced; the kit said which.
    #[error("{0}")]
    Faults(String),
    /// The kernel forbids io_uring.
    #[error("io_uring is forbidden: {0}")]
    IoUring(#[source] io::Error),
}

/// Takes what a test needs, or says by name that the test was skipped and returns from it.
#[macro_export]
macro_rules! require {
    ($test:expr, $needed:expr) => {
        match $needed {
            Ok(value) => value,
            Err(unavailable) => {
                $crate::require::skip($test, &unavailable);
                return;
            }
        }
    };
}

/// Says that a test was skipped. With `FARHAUL_REQUIRE_LAB=1` the lack of a lab is a failure instead,
/// for machines that are known to permit labs.
///
/// # Panics
/// If that variable is set and there is no lab.
pub fn skip(test: &str, because: &Unavailable) {
    assert!(
        !matches!(because, Unavailable::Lab(_))
            || env::var_os("FARHAUL_REQUIRE_LAB").is_none_or(|value| value != "1"),
        "{test} must not be skipped here, but: {because}"
    );
    say(&format!("skipped by name: {test} because {because}\n"));
}

/// Writes where a person sees it: `cargo test` swallows what the macros of a passing test print.
fn say(line: &str) {
    // Nobody may be reading.
    drop(io::stderr().lock().write_all(line.as_bytes()));
}

/// A binary of this workspace, from the build that the running test belongs to. When cargo runs
/// the test, cargo also brings the binary up to date, once.
///
/// # Panics
/// If it cannot be built, with what cargo said.
pub fn binary(name: &str) -> PathBuf {
    binary_of("farhaul-tools", name)
}

/// The same for a binary of another package of this workspace. With `FARHAUL_BUILT=1`, which says that
/// all binaries were just built with all tests, none is built: alone it would have other features of
/// what it depends on, and much would be compiled once more.
///
/// # Panics
/// As [`binary`].
pub fn binary_of(package: &str, name: &str) -> PathBuf {
    static BUILT: Mutex<Vec<(String, PathBuf)>> = Mutex::new(Vec::new());
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, path)) = built.iter().find(|(known, _)| known == name) {
        return path.clone();
    }
    let own = env::current_exe().expect("a program knows where it is");
    let layout = Layout::of(&own).expect("tests lie in cargo's target directory");
    let is_built = env::var_os("FARHAUL_BUILT").is_some_and(|value| value == "1");
    let path = match env::var_os("CARGO").filter(|_| !is_built) {
        Some(cargo) => build(cargo, &layout, package, name),
        // Started by hand, or just built: what is there is what is tested.
        None => layout.binaries.join(name),
    };
    assert!(path.is_file(), "{name} is not built: {} is missing", path.display());
    built.push((name.to_owned(), path.clone()));
    path
}

/// Where a build lies: `TARGET_DIR/PROFILE`, or `TARGET_DIR/TRIPLE/PROFILE` when it was asked for a
/// triple by name.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    binaries: PathBuf,
    profile: String,
    target_dir: PathBuf,
    triple: Option<String>,
}

impl Layout {
    /// The build that the program at `own` belongs to: tests lie in its `deps`, benches too, other
    /// programs directly.
    fn of(own: &Path) -> Option<Self> {
        let parent = own.parent()?;
        let binaries = if parent.ends_with("deps") { parent.parent()? } else { parent };
        let profile = match binaries.file_name()?.to_str()? {
            "debug" => "dev",
            other => other,
        };
        let above = binaries.parent()?;
        // Cargo keeps a file at the top of its target directory: so a target directory that only
        // has a triple's name is told from one that cargo made for a triple.
        let triple = above.file_name().and_then(|name| name.to_str()).filter(|name| {
            let is_top = |dir: &Path| dir.join(".rustc_info.json").is_file();
            name.contains("-linux-") && above.parent().is_some_and(is_top)
        });
        let target_dir = if triple.is_some() { above.parent()? } else { above };
        Some(Self {
            binaries: binaries.to_owned(),
            profile: profile.to_owned(),
            target_dir: target_dir.to_owned(),
            triple: triple.map(str::to_owned),
        })
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = vec!["--profile".into(), self.profile.clone().into()];
        arguments.extend(["--target-dir".into(), self.target_dir.clone().into_os_string()]);
        if let Some(triple) = &self.triple {
            arguments.extend(["--target".into(), triple.into()]);
        }
        arguments
    }
}

/// Builds a binary and tells where cargo put it. A stale one from an earlier build must never be
/// tested in its place.
///
/// # Panics
/// If cargo fails.
fn build(cargo: OsString, layout: &Layout, package: &str, name: &str) -> PathBuf {
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--message-format", "json-render-diagnostics"]);
    command.args(["--package", package, "--bin", name]).args(layout.arguments());
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    forget_package(&mut command);
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo could not build {name}:\n{said}");
    let messages = String::from_utf8_lossy(&output.stdout);
    executable(&messages, name)
        .unwrap_or_else(|| panic!("cargo does not tell where it put {name}:\n{messages}{said}"))
}

/// The path of the executable `name` in cargo's messages, one JSON object a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_it = message.pointer("/target/name")?.as_str()? == name;
        message.get("executable")?.as_str().filter(|_| is_it).map(PathBuf::from)
    })
}

/// Takes away what cargo tells this package about itself: the build script of ring watches these
/// variables, and would have itself and all that depends on it built anew each time.
fn forget_package(command: &mut Command) {
    let about_package = |name: &str| {
        ["CARGO_MANIFEST_", "CARGO_PKG_"].iter().any(|prefix| name.starts_with(prefix))
    };
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(about_package) {
            command.env_remove(name);
        }
    }
}

/// Finds a program of somebody else.
///
/// # Errors
/// [`Unavailable::Program`].
pub fn program(name: &str) -> Result<PathBuf, Unavailable> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| Unavailable::Program(name.to_owned()))
}

/// Whether the kernel lets this user have an io_uring: `kernel.io_uring_disabled` and the filters of
/// containers often do not.
///
/// # Errors
/// [`Unavailable::IoUring`].
///
/// # Panics
/// If it fails for another reason than that it is forbidden.
pub fn io_uring() -> Result<(), Unavailable> {
    match io_uring::IoUring::new(1) {
        Ok(_) => Ok(()),
        Err(error) => {
            let errno = Errno::from_io_error(&error);
            let forbidden = [Errno::PERM, Errno::ACCESS, Errno::NOSYS].map(Some).contains(&errno);
            assert!(forbidden, "no io_uring: {error}");
            Err(Unavailable::IoUring(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_is_named() {
        let error = program("no-such-program").expect_err("there is none");
        assert_eq!(error.to_string(), "no-such-program is not installed");
        assert!(program("sh").is_ok());
    }

    #[test]
    fn a_build_is_not_told_which_package_asked_for_it() {
        let mut command = Command::new("cargo");
        forget_package(&mut command);
        let removed =
            |name: &str| command.get_envs().any(|(key, value)| key == name && value.is_none());
        let set = ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME"];
        for name in set.into_iter().filter(|name| env::var_os(name).is_some()) {
            assert!(removed(name), "{name} is passed on");
        }
        assert!(!removed("PATH"));
    }

    #[test]
    fn binaries_belong_to_the_build_of_the_test() {
        let layout = Layout::of(Path::new("/t/debug/deps/x-1")).expect("a layout");
        assert_eq!(layout.binaries, Path::new("/t/debug"));
        assert_eq!(layout.arguments(), ["--profile", "dev", "--target-dir", "/t"]);
        let layout = Layout::of(Path::new("/t/bench-dev/resume")).expect("a layout");
        assert_eq!(layout.binaries, Path::new("/t/bench-dev"));
        assert_eq!(layout.arguments(), ["--profile", "bench-dev", "--target-dir", "/t"]);
        assert_eq!(Layout::of(Path::new("/x")), None);
    }

    #[test]
    fn a_build_for_a_triple_is_recognised() {
        let directory = tempfile::tempdir().expect("a directory");
        let own = directory.path().join("riscv64gc-unknown-linux-gnu/release/deps/x-1");
        let layout = Layout::of(&own).expect("a layout");
        assert_eq!(layout.triple, None, "nothing says that cargo made the directory above");
        std::fs::write(directory.path().join(".rustc_info.json"), "").expect("writable");
        let layout = Layout::of(&own).expect("a layout");
        assert_eq!(layout.triple.as_deref(), Some("riscv64gc-unknown-linux-gnu"));
        assert_eq!((layout.profile.as_str(), &*layout.target_dir), ("release", directory.path()));
    }

    #[test]
    #[should_panic(expected = "cargo could not build no-such-binary")]
    fn a_build_that_fails_is_a_failure() {
        let own = env::current_exe().expect("its own path");
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        build(cargo, &Layout::of(&own).expect("a layout"), "farhaul-tools", "no-such-binary");
    }

    #[test]
    fn cargo_tells_where_it_put_a_binary() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"x"},"executable":null}
            {"reason":"compiler-artifact","target":{"name":"x"},"executable":"/t/x"}
            {"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "x"), Some(PathBuf::from("/t/x")));
        assert_eq!(executable(messages, "y"), None);
    }
}
