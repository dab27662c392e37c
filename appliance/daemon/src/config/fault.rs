//! What is wrong with a configuration: where, what, and what to write instead.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Faults of a file that are told; a file with more has one great fault.
pub(super) const FAULTS_MAX: usize = 100;

/// One thing that is wrong in the text of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub advice: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.line, self.column, self.what, self.advice)
    }
}

/// Why a file is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{}: cannot be read: {source}; name a file that this user can read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is longer than 1 MiB.
    #[error("{}: has more than {} KiB; no configuration is that long", path.display(), max >> 10)]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes that it may have.
        max: u64,
    },
    /// It is no UTF-8.
    #[error("{}: byte {at} is no text; write the file in UTF-8", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// Where, from 0.
        at: usize,
    },
    /// What it says is wrong.
    #[error("{}", lines(path, faults))]
    Faults {
        /// The file.
        path: PathBuf,
        /// At least one, at most 100, by position.
        faults: Vec<Fault>,
    },
}

/// A line for each fault, as compilers write them.
fn lines(path: &std::path::Path, faults: &[Fault]) -> String {
    let lines: Vec<String> =
        faults.iter().map(|fault| format!("{}:{fault}", path.display())).collect();
    lines.join("\n")
}

/// Faults as they are found, by bytes.
#[derive(Debug, Default)]
pub(super) struct Faults {
    found: Vec<(usize, String, String)>,
}

impl Faults {
    /// Notes a fault at byte `at` of the text.
    pub(super) fn add(&mut self, at: usize, what: impl Into<String>, advice: impl Into<String>) {
        self.found.push((at, what.into(), advice.into()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The first ones, by position in `text`.
    pub(super) fn placed(mut self, text: &str) -> Vec<Fault> {
        self.found.sort();
        self.found.truncate(FAULTS_MAX);
        let place = |(at, what, advice)| {
            let (line, column) = position(text, at);
            Fault { line, column, what, advice }
        };
        self.found.into_iter().map(place).collect()
    }
}

/// Line and column of byte `at`, both from 1; beyond the end, that of the end.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..at.min(text.len())];
    let begin = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
    // Continuation bytes of UTF-8 begin no character.
    let column = 1 + before[begin..].iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
    (line, column)
}

/// What was written, fit for a message: short, and without anything that a terminal obeys.
pub(super) fn shown(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let mut shown: String = text.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_count_ends() {
        let text = "ab\nzü = 1\n";
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, 3), (2, 1));
        assert_eq!(position(text, 7), (2, 4));
        assert_eq!(position(text, 99), (3, 1));
        assert_eq!(position("", 5), (1, 1));
    }

    #[test]
    fn faults_are_told_by_position_and_not_without_end() {
        let mut faults = Faults::default();
        (0..300).rev().for_each(|at| faults.add(at, "wrong", "mend it"));
        let text = "x".repeat(400);
        let placed = faults.placed(&text);
        assert_eq!(placed.len(), FAULTS_MAX);
        assert_eq!(placed[1].to_string(), "1:2: wrong; mend it");
    }

    #[test]
    fn what_a_terminal_would_obey_is_not_shown() {
        assert_eq!(shown("a\u{1b}[2J\n"), "a\\u{1b}[2J\\n");
        assert_eq!(shown(&"x".repeat(61)), format!("{}...", "x".repeat(60)));
    }
}
