//! Paths of a tree as text: names are bytes, JSON is not.

use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Serialize};

/// A path in a folder, its names joined by `/`. Bytes that are no UTF-8, characters that control a
/// terminal or the direction of writing, and the backslash are written `\xNN`, so that each path has one
/// text and each text is one path, and nobody reads another one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(example = "reports/2026.ods"))]
pub struct TreePath(String);

/// A text that is no path as [`TreePath`] writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPath;

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a backslash in a path is followed by `x` and two hexadecimal digits")
    }
}

impl core::error::Error for BadPath {}

impl TreePath {
    /// The text of these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(bytes.len());
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                if misleads(c) || c == '\\' {
                    let mut buffer = [0; 4];
                    escape(&mut text, c.encode_utf8(&mut buffer).as_bytes());
                } else {
                    text.push(c);
                }
            }
            escape(&mut text, chunk.invalid());
        }
        Self(text)
    }

    /// The bytes. It says nothing of whether they are a path that a folder can have.
    ///
    /// # Errors
    /// [`BadPath`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadPath> {
        let mut bytes = Vec::with_capacity(self.0.len());
        let mut rest = self.0.as_bytes();
        while let Some((&first, after)) = rest.split_first() {
            if first != b'\\' {
                bytes.push(first);
                rest = after;
                continue;
            }
            let [b'x', high, low, after @ ..] = after else { return Err(BadPath) };
            let digits = [digit(*high)?, digit(*low)?];
            bytes.push(digits[0] << 4 | digits[1]);
            rest = after;
        }
        Ok(bytes)
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Controls of terminals, and those of the order in which text is shown (Unicode TR9, TR36): names with
/// them may look like others.
fn misleads(c: char) -> bool {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}'];
    c.is_control()
        || turns.contains(&c)
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &mut String, bytes: &[u8]) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    for byte in bytes {
        text.push_str("\\x");
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn digit(byte: u8) -> Result<u8, BadPath> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => Err(BadPath),
    }
}

impl FromStr for TreePath {
    type Err = BadPath;

    fn from_str(text: &str) -> Result<Self, BadPath> {
        let path = Self(text.to_owned());
        path.to_bytes().map(|_| path)
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write_stays_as_it_is() {
        for name in ["a/b c.txt", "Übersicht/日本", "100%", "'quoted'"] {
            assert_eq!(TreePath::from_bytes(name.as_bytes()).as_str(), name);
        }
    }

    #[test]
    fn what_could_mislead_a_terminal_is_escaped() {
        assert_eq!(TreePath::from_bytes(b"a\x1b[2J\\\xff").as_str(), "a\\x1b[2J\\x5c\\xff");
        let name = "photo\u{202e}gpj.exe";
        assert_eq!(TreePath::from_bytes(name.as_bytes()).as_str(), "photo\\xe2\\x80\\xaegpj.exe");
    }

    #[test]
    fn a_lone_backslash_is_no_path() {
        for text in ["\\", "a\\n", "\\x4", "\\xg0"] {
            assert_eq!(text.parse::<TreePath>(), Err(BadPath), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_text_that_is_only_theirs(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let path = TreePath::from_bytes(&bytes);
            prop_assert_eq!(path.to_bytes(), Ok(bytes));
            prop_assert!(!path.as_str().chars().any(char::is_control));
        }

        #[test]
        fn any_text_is_refused_or_read(text in ".*") {
            if let Ok(path) = text.parse::<TreePath>() {
                prop_assert!(path.to_bytes().is_ok());
            }
        }
    }
}
