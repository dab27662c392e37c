//! Text of a peer on its way to a terminal or a log.
//!
//! A reason may quote file names, and those may hold anything. Nothing that moves a cursor,
//! starts a line or turns the direction of writing passes unescaped.

use super::REASON_MAX;
use core::fmt::{self, Write};

/// Shows text with its control characters and direction marks escaped, as in `\u{1b}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| write_escaped(f, c))
    }
}

/// Makes a reason for the wire: escaped, and cut to [`REASON_MAX`] bytes between characters.
pub fn reason(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let whole = out.len();
        let Ok(()) = write_escaped(&mut out, c) else { break };
        if out.len() > REASON_MAX {
            out.truncate(whole);
            break;
        }
    }
    out
}

fn write_escaped(out: &mut impl Write, c: char) -> fmt::Result {
    if misleads(c) { write!(out, "{}", c.escape_default()) } else { out.write_char(c) }
}

/// Characters that act on the terminal instead of being seen: control characters, separators of
/// lines and paragraphs, marks of writing direction and of byte order.
pub fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_name_cannot_drive_the_terminal() {
        let hostile = "a\u{1b}[2J\nb\u{202e}c\u{9b}d\u{feff}";
        let shown = Printable(hostile).to_string();
        assert_eq!(shown, "a\\u{1b}[2J\\nb\\u{202e}c\\u{9b}d\\u{feff}");
    }

    #[test]
    fn ordinary_text_of_any_script_is_left_alone() {
        let text = "größer, 日本語, C:\\x";
        assert_eq!(Printable(text).to_string(), text);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let cut = reason(&"ä".repeat(REASON_MAX));
        assert_eq!(cut.len(), REASON_MAX);
        let cut = reason(&format!("x{}", "ä".repeat(REASON_MAX)));
        assert_eq!(cut.len(), REASON_MAX - 1);
    }

    proptest! {
        #[test]
        fn nothing_shown_misleads(text in any::<String>()) {
            prop_assert!(!Printable(&text).to_string().chars().any(misleads));
            prop_assert!(reason(&text).len() <= REASON_MAX);
        }
    }
}
