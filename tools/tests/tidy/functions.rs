//! Where the functions of a source file begin and end.
//!
//! Works on masked code by counting brackets; nested functions are spans of their own.

use super::tree::{line_of, words};

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// Line of the `fn` keyword.
    pub(crate) line: usize,
    /// Lines from there to the closing brace, both included.
    pub(crate) lines: usize,
}

/// The functions of `code`, in order.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    words(code, "fn").filter_map(|at| function(code, at)).collect()
}

fn function(code: &str, at: usize) -> Option<Function> {
    let after = code[at + 2..].trim_start();
    let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if name.is_empty() {
        return None; // a function pointer type
    }
    let open = body_start(code, at)?;
    let close = matching_brace(code, open)?;
    let line = line_of(code, at);
    Some(Function { name, line, lines: line_of(code, close) - line + 1 })
}

/// Offset of the brace that opens the body; `None` for a declaration.
fn body_start(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (i, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(i),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Offset of the brace that closes the one at `open`.
pub(crate) fn matching_brace(code: &str, open: usize) -> Option<usize> {
    let mut depth = 0i32;
    for (i, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(i);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(code: &str) -> Vec<(String, usize, usize)> {
        functions(code).into_iter().map(|f| (f.name, f.line, f.lines)).collect()
    }

    #[test]
    fn bodies_are_measured_from_keyword_to_brace() {
        let code = "fn a() {}\n\nfn b(x: [u8; 2])\n-> u8\n{\n  if x { y }\n}\n";
        assert_eq!(spans(code), [("a".to_owned(), 1, 1), ("b".to_owned(), 3, 5)]);
    }

    #[test]
    fn declarations_and_pointers_have_no_body() {
        assert_eq!(spans("trait T { fn a(&self); }\ntype F = fn(u8) -> u8;"), []);
    }

    #[test]
    fn inner_functions_count_on_their_own() {
        let code = "fn a() {\nfn b() {\n}\n}";
        assert_eq!(spans(code), [("a".to_owned(), 1, 4), ("b".to_owned(), 2, 2)]);
    }
}
