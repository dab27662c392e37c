//! Rust source with comments and literals blanked out, so that rules see code alone.
//!
//! A lexer of just the tokens that can hide code: comments, strings, characters, lifetimes.
//! Offsets and line breaks stay as they are.

/// `source` with every byte of comments and of string and character literals replaced by a
/// space, line breaks kept.
pub(crate) fn mask(source: &str) -> String {
    let bytes = source.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while out.len() < bytes.len() {
        let at = out.len();
        match hidden_length(bytes, at) {
            Some(length) => {
                let end = (at + length).min(bytes.len());
                out.extend(bytes[at..end].iter().map(|&b| if b == b'\n' { b } else { b' ' }));
            }
            None => out.push(bytes[at]),
        }
    }
    String::from_utf8(out).expect("whole tokens are blanked, so whole characters remain")
}

/// Length of the comment or literal that starts at `at`, if one does.
fn hidden_length(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    match rest {
        [b'/', b'/', ..] => Some(rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => Some(block_comment(rest)),
        [b'"', ..] => Some(string(rest)),
        [b'\'', ..] => character(rest),
        [b'r' | b'b' | b'c', ..] if !continues_word(bytes, at) => prefixed_string(rest),
        _ => None,
    }
}

fn continues_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// Length of a string with escapes that starts with its quote.
fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of a character literal; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    match *rest.get(1)? {
        b'\\' => {
            let close = rest.iter().skip(3).position(|&b| b == b'\'')?;
            Some(close + 4)
        }
        first => {
            let width = match first {
                0xf0.. => 4,
                0xe0.. => 3,
                0xc0.. => 2,
                _ => 1,
            };
            (rest.get(1 + width) == Some(&b'\'')).then_some(width + 2)
        }
    }
}

/// Strings with a prefix (`r`, `b`, `br`, `c`, `cr`), raw or not, and byte characters.
fn prefixed_string(rest: &[u8]) -> Option<usize> {
    let prefix = rest.iter().take(2).take_while(|b| matches!(b, b'r' | b'b' | b'c')).count();
    let body = &rest[prefix..];
    if !rest[..prefix].contains(&b'r') {
        return match body.first()? {
            b'"' => Some(prefix + string(body)),
            b'\'' => character(body).map(|length| prefix + length),
            _ => None,
        };
    }
    let hashes = body.iter().take_while(|&&b| b == b'#').count();
    if body.get(hashes) != Some(&b'"') {
        return None; // an identifier
    }
    let open = hashes + 1;
    let closes = |at: &usize| {
        body[*at] == b'"' && body[at + 1..].iter().take_while(|&&b| b == b'#').count() >= hashes
    };
    let close = (open..body.len()).find(closes)?;
    Some(prefix + close + 1 + hashes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_vanish() {
        for (source, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            ("x(\"{ \\\" {\")", "x(        )"),
            ("r#\"a\"b\"# c", "         c"),
            ("br\"\\\" c", "      c"),
            ("b'{' '\\'' '\\u{7f}' 'é' c", "                        c"),
            ("c\"x\" d", "     d"),
        ] {
            assert_eq!(mask(source), code, "{source}");
        }
    }

    #[test]
    fn lifetimes_and_words_stay() {
        for source in ["fn a<'a>(b: &'a str) {}", "r#type + bar\n", "'outer: loop {}", "(b, c, r)"]
        {
            assert_eq!(mask(source), source);
        }
    }

    #[test]
    fn line_breaks_and_offsets_stay() {
        let source = "let é = \"ü\n{\"; // ö\nb";
        let code = mask(source);
        assert_eq!(code.len(), source.len());
        assert_eq!(code.lines().count(), 3);
        assert!(code.contains("let é =") && !code.contains('{'));
    }

    #[test]
    fn an_open_end_ends_with_the_file() {
        for source in ["\"abc", "/* abc", "r#\"abc\"", "'", "b'\\", "r"] {
            assert_eq!(mask(source).len(), source.len(), "{source}");
        }
    }
}
