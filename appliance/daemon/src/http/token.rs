//! The token of the API: a file in the state directory that only this site's user can read. Whoever
//! can read it may do whatever the API can.

use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Its name in the state directory.
pub const TOKEN_FILE: &str = "api-token";
/// Bytes of chance in it.
const CHANCE: usize = 32;
/// Bytes of a file that holds one that somebody else wrote.
const FILE_MAX: u64 = 4096;
/// Letters that a token has at least, whoever wrote it.
const LEN_MIN: usize = 32;

/// What a client shows to be let in.
#[derive(Clone, Debug)]
pub(super) struct Token {
    /// Only its hash: it is compared in a time that says nothing of it.
    hash: blake3::Hash,
}

/// Whether the token in a state directory can be used; one that is yet to be made can.
///
/// # Errors
/// Others can read it, it is empty or too short, or the disk.
pub(crate) fn check(state: &Path) -> io::Result<()> {
    match open(&state.join(TOKEN_FILE), OFlags::RDONLY).map(Token::read) {
        Ok(read) => read.map(drop),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

impl Token {
    /// Reads the token, or makes it at the first start.
    ///
    /// # Errors
    /// Others can read it, it is too short, or the disk.
    pub(super) fn load_or_create(state: &Path) -> io::Result<Self> {
        let path = state.join(TOKEN_FILE);
        match open(&path, OFlags::RDONLY) {
            Ok(file) => Self::read(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(state, &path),
            Err(error) => Err(error),
        }
    }

    /// Whether a client shows this one.
    pub(super) fn is(&self, shown: &str) -> bool {
        blake3::hash(shown.as_bytes()) == self.hash
    }

    fn of(text: &str) -> io::Result<Self> {
        if text.len() < LEN_MIN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let what = format!(
                "a token has at least {LEN_MIN} letters and no spaces: remove it, and one is made"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Self { hash: blake3::hash(text.as_bytes()) })
    }

    fn read(file: File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let is_private = meta.mode() & 0o077 == 0;
        if !is_private || meta.uid() != rustix::process::geteuid().as_raw() || !meta.is_file() {
            let what = "others can read it: remove it, and one is made (or chmod 600)";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        }
        let mut text = String::new();
        file.take(FILE_MAX).read_to_string(&mut text)?;
        if text.trim().is_empty() {
            let what = "it is empty: remove it, and one is made";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Self::of(text.trim_end())
    }

    /// Made beside its name, so that nobody ever reads half of it.
    fn create(state: &Path, path: &Path) -> io::Result<Self> {
        let mut chance = [0; CHANCE];
        SystemRandom::new().fill(&mut chance).map_err(|_| io::Error::other("no randomness"))?;
        let text = data_encoding::BASE32_NOPAD.encode(&chance).to_lowercase();
        let new = state.join("api-token-new");
        let mut file = open(&new, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?;
        file.write_all(format!("{text}\n").as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(state)?.sync_all()?;
        Self::of(&text)
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_for_this_user_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let made = Token::load_or_create(dir.path()).expect("made");
        let path = dir.path().join(TOKEN_FILE);
        let text = std::fs::read_to_string(&path).expect("there");
        assert_eq!(std::fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        let read = Token::load_or_create(dir.path()).expect("read");
        for token in [made, read] {
            assert!(token.is(text.trim_end()));
            assert!(!token.is(""));
            assert!(!token.is(&text));
        }
    }

    #[test]
    fn one_that_others_can_read_or_guess_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(TOKEN_FILE);
        std::fs::write(&path, "a".repeat(40)).expect("written");
        let open = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("ours");
            Token::load_or_create(dir.path())
        };
        assert!(open(0o640).is_err());
        assert!(open(0o600).is_ok());
        std::fs::write(&path, "short").expect("written");
        assert!(open(0o600).is_err());
        std::fs::remove_file(&path).expect("there");
        std::os::unix::fs::symlink("/dev/null", &path).expect("made");
        assert!(Token::load_or_create(dir.path()).is_err(), "links are not followed");
    }
}
