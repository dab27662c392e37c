//! What a folder leaves out: patterns in the syntax of `.gitignore`, for the folder as a whole.
//!
//! An ignored path is neither published nor removed, and neither is anything beneath it: as with Git,
//! what lies in an ignored directory cannot be called back by a later pattern. Matching takes time
//! linear in the path, whatever the patterns; their number and size are bounded before they are read.

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Patterns of a folder.
const PATTERNS_MAX: usize = 1000;
/// Bytes of a pattern.
const PATTERN_MAX: usize = 1024;
/// Bytes of all patterns together.
const PATTERNS_BYTES_MAX: usize = 64 << 10;
/// Alternatives, classes and wild cards of a pattern: what its automaton grows with.
const WILD_MAX: usize = 64;

/// Why patterns are refused; who wrote them is at fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleError {
    /// More than 1000, or than 64 KiB together.
    #[error("{count} ignore patterns of {bytes} bytes are too many; join some of them")]
    TooMany {
        /// How many.
        count: usize,
        /// How many bytes they have.
        bytes: usize,
    },
    /// One is longer than 1024 bytes, or has more than 64 wild cards, or is no
    /// pattern.
    #[error("ignore pattern {number}: {fault}")]
    Pattern {
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        fault: String,
    },
}

/// The patterns of a folder, ready to match. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Rules {
    matcher: Arc<Gitignore>,
    print: [u8; 32],
}

impl Default for Rules {
    /// Leaves nothing out.
    fn default() -> Self {
        Self { matcher: Arc::new(Gitignore::empty()), print: print_of::<&str>(&[]) }
    }
}

impl Rules {
    /// Reads patterns, one each; later ones prevail.
    ///
    /// # Errors
    /// [`RuleError`].
    pub fn parse<P: AsRef<str>>(patterns: &[P]) -> Result<Self, RuleError> {
        let bytes = patterns.iter().map(|pattern| pattern.as_ref().len()).sum();
        let count = patterns.len();
        if count > PATTERNS_MAX || bytes > PATTERNS_BYTES_MAX {
            return Err(RuleError::TooMany { count, bytes });
        }
        let mut builder = GitignoreBuilder::new("");
        // Else `[a-` is a name, which nobody means.
        builder.allow_unclosed_class(false);
        for (number, pattern) in (1..).zip(patterns) {
            let pattern = pattern.as_ref();
            let wrong = |fault: String| RuleError::Pattern { number, fault };
            let wild = pattern.bytes().filter(|byte| b"*?[{,".contains(byte)).count();
            if pattern.len() > PATTERN_MAX || wild > WILD_MAX {
                return Err(wrong("too long or too complex; split it".to_owned()));
            }
            if pattern.contains(['\n', '\0']) {
                return Err(wrong("has a line end or a zero byte".to_owned()));
            }
            builder.add_line(None, pattern).map_err(|error| wrong(error.to_string()))?;
        }
        let matcher = builder.build().map_err(|error| {
            let fault = format!("the patterns together are refused: {error}");
            RuleError::Pattern { number: count, fault }
        })?;
        Ok(Self { matcher: Arc::new(matcher), print: print_of(patterns) })
    }

    /// What tells these patterns from others.
    pub const fn print(&self) -> &[u8; 32] {
        &self.print
    }

    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.matcher.is_empty()
    }

    /// Whether `path` is left out by its own name, given that nothing above it is.
    pub fn is_ignored(&self, path: &[u8], is_dir: bool) -> bool {
        !self.is_empty() && self.matcher.matched(as_path(path), is_dir).is_ignore()
    }

    /// Whether `path`, or a directory above it, is left out.
    pub fn is_within_ignored(&self, path: &[u8], is_dir: bool) -> bool {
        if self.is_empty() {
            return false;
        }
        let slashes = (0..path.len()).filter(|&at| path[at] == b'/');
        slashes.into_iter().any(|at| self.is_ignored(&path[..at], true))
            || self.is_ignored(path, is_dir)
    }
}

fn print_of<P: AsRef<str>>(patterns: &[P]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for pattern in patterns {
        // No pattern has a line end.
        hasher.update(pattern.as_ref().as_bytes()).update(b"\n");
    }
    *hasher.finalize().as_bytes()
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}
