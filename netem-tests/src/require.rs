//! What a test needs from the machine, and how it says that it is not there.

use farhaul_tools::wanem::client::ClientError;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Why a test cannot run here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// The machine permits no lab.
    #[error("no lab: {0}")]
    Lab(#[source] Box<ClientError>),
    /// A binary of this workspace is missing and could not be built.
    #[error("{name} is not built ({} is missing)", .path.display())]
    Binary {
        /// Its name.
        name: String,
        /// Where it should be.
        path: PathBuf,
    },
    /// A program of somebody else is not installed.
    #[error("{0} is not installed")]
    Program(String),
    /// The user may not mount file systems, not even in a namespace.
    #[error("mounts are not permitted")]
    Mount,
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

/// Says that a test was skipped. With `FARHAUL_REQUIRE_LAB=1` this is a failure instead, for
/// machines that must have everything.
///
/// # Panics
/// If that variable is set.
pub fn skip(test: &str, because: &Unavailable) {
    assert!(
        env::var_os("FARHAUL_REQUIRE_LAB").is_none_or(|value| value != "1"),
        "{test} must not be skipped here, but: {because}"
    );
    println!("skipped by name: {test} because {because}");
}

/// Finds a binary of this workspace in the build that the running test belongs to. When cargo runs
/// the test, cargo also brings the binary up to date, once.
///
/// # Errors
/// [`Unavailable::Binary`].
pub fn binary(name: &str) -> Result<PathBuf, Unavailable> {
    binary_of("farhaul-tools", name)
}

/// The same for a binary of another package of this workspace.
///
/// # Errors
/// [`Unavailable::Binary`].
pub fn binary_of(package: &str, name: &str) -> Result<PathBuf, Unavailable> {
    static BUILT: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let missing = |path: PathBuf| Unavailable::Binary { name: name.to_owned(), path };
    let own = env::current_exe().map_err(|_| missing(PathBuf::from(name)))?;
    let directory = build_directory(&own).to_owned();
    let path = directory.join(name);
    let mut built = BUILT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !built.iter().any(|known| known == name) {
        build(package, name, &directory);
        built.push(name.to_owned());
    }
    if path.is_file() { Ok(path) } else { Err(missing(path)) }
}

/// `target/PROFILE`, where tests lie in `deps` and benches and binaries directly.
fn build_directory(own: &Path) -> &Path {
    let parent = own.parent().unwrap_or(own);
    if parent.ends_with("deps") { parent.parent().unwrap_or(parent) } else { parent }
}

fn build(package: &str, name: &str, directory: &Path) {
    let Some(cargo) = env::var_os("CARGO") else { return };
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--package", package, "--bin", name]);
    match directory.file_name().and_then(|profile| profile.to_str()) {
        Some("debug") | None => {}
        Some(profile) => {
            command.args(["--profile", profile]);
        }
    }
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    forget_package(&mut command);
    if !command.status().is_ok_and(|status| status.success()) {
        eprintln!("cargo could not build {name}");
    }
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
    fn binaries_are_sought_beside_the_tests_of_the_same_build() {
        assert_eq!(build_directory(Path::new("/t/debug/deps/x-1")), Path::new("/t/debug"));
        assert_eq!(build_directory(Path::new("/t/release/bench")), Path::new("/t/release"));
    }
}
