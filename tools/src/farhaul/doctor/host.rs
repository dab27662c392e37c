//! Limits of this process, and who may read this host's key.

use super::Finding;
use rustix::process::{Resource, getrlimit};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Open files that a server with some sessions needs.
const OPEN_FILES_MIN: u64 = 4096;
/// The private key within the home directory.
const KEY_FILE: &str = "identity.key";

pub(super) fn examine(home: Option<&Path>) -> Vec<Finding> {
    // Farhaul raises the soft limit by itself.
    let mut findings = vec![open_files(getrlimit(Resource::Nofile).maximum)];
    match home {
        Some(home) => {
            findings.push(folder(home, mode_of(home)));
            findings.push(key(&home.join(KEY_FILE), mode_of(&home.join(KEY_FILE))));
        }
        None => findings.push(Finding::broken(
            "home directory",
            "neither XDG_STATE_HOME nor HOME is set",
            "this host's key has no place",
            "give the directory with --home",
        )),
    }
    findings
}

fn open_files(hard: Option<u64>) -> Finding {
    match hard {
        Some(limit) if limit < OPEN_FILES_MIN => Finding::slow(
            "open files",
            format!("{limit} at most"),
            "transfers of many files fail where no more can be opened",
            "ulimit -Hn 65536 (LimitNOFILE=65536 in a unit)",
        ),
        Some(limit) => Finding::good("open files", format!("{limit} at most")),
        None => Finding::good("open files", "not limited"),
    }
}

/// Permission bits; `None` where there is nothing.
fn mode_of(path: &Path) -> io::Result<Option<u32>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata.mode() & 0o7777)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn folder(path: &Path, mode: io::Result<Option<u32>>) -> Finding {
    const CHECK: &str = "home directory";
    let shown = path.display();
    match mode {
        Ok(None) => Finding::note(CHECK, format!("{shown} is not there yet")),
        Ok(Some(mode)) if mode & 0o022 != 0 => Finding::broken(
            CHECK,
            format!("{shown} can be written to by others (mode {mode:04o})"),
            "others can put a key of their own there; Farhaul refuses to use it",
            format!("chmod go-w '{shown}'"),
        ),
        Ok(Some(mode)) => Finding::good(CHECK, format!("{shown} (mode {mode:04o})")),
        Err(error) => unreadable(CHECK, path, &error),
    }
}

fn key(path: &Path, mode: io::Result<Option<u32>>) -> Finding {
    const CHECK: &str = "private key";
    let shown = path.display();
    match mode {
        Ok(None) => Finding::note(CHECK, "not made yet; `farhaul id` makes it"),
        Ok(Some(mode)) if mode & 0o077 != 0 => Finding::broken(
            CHECK,
            format!("{shown} is open to others (mode {mode:04o})"),
            "who has it can pass for this host; Farhaul refuses to use it",
            format!("chmod 600 '{shown}', or remove it if others may have had it already"),
        ),
        Ok(Some(mode)) => Finding::good(CHECK, format!("{shown} (mode {mode:04o})")),
        Err(error) => unreadable(CHECK, path, &error),
    }
}

fn unreadable(check: &'static str, path: &Path, error: &io::Error) -> Finding {
    Finding::broken(
        check,
        format!("{}: {error}", path.display()),
        "without it this host has no identity",
        "run as the user whose state this is, or give another directory with --home",
    )
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_key_that_others_can_read_is_broken_and_the_mend_is_named() {
        let path = Path::new("h/identity.key");
        let exposed = key(path, Ok(Some(0o640)));
        assert_eq!(exposed.level, Level::Broken);
        assert!(exposed.mend.starts_with("chmod 600 'h/identity.key'"), "{exposed:?}");
        assert_eq!(key(path, Ok(Some(0o600))).level, Level::Good);
        assert_eq!(key(path, Ok(None)).level, Level::Note);
        assert_eq!(folder(path, Ok(Some(0o770))).level, Level::Broken);
        assert_eq!(folder(path, Ok(Some(0o700))).level, Level::Good);
        assert_eq!(folder(path, Err(io::ErrorKind::PermissionDenied.into())).level, Level::Broken);
    }

    #[test]
    fn few_open_files_are_told() {
        assert_eq!(open_files(Some(1024)).level, Level::Slow);
        assert_eq!(open_files(Some(1 << 20)).level, Level::Good);
        assert_eq!(open_files(None).level, Level::Good);
    }
}
