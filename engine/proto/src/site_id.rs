//! The name of a site, and how it is written.

use core::fmt;
use core::str::FromStr;
use data_encoding::{DecodeKind, Encoding, Specification};
use std::sync::LazyLock;

/// Length of a [`SiteId`] as text: 256 bits at 5 bits per letter.
const TEXT_LEN: usize = 52;

/// The identity of a site: BLAKE3 of the DER `SubjectPublicKeyInfo` of its key.
///
/// As text: 52 letters of base32 (RFC 4648 section 6) in lower case, without padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SiteId(pub [u8; 32]);

impl SiteId {
    /// The identity that belongs to a DER `SubjectPublicKeyInfo`.
    pub fn of_public_key(spki: &[u8]) -> Self {
        Self(*blake3::hash(spki).as_bytes())
    }

    /// The plain bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&ALPHABET.encode(&self.0))
    }
}

impl fmt::Debug for SiteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiteId({self})")
    }
}

/// Why a text is no [`SiteId`]; whoever wrote the text is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SiteIdError {
    /// The text has another length.
    #[error("a site id has {TEXT_LEN} letters, this has {found} bytes")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// A letter outside `a` to `z` and `2` to `7`.
    #[error("letter {} of the site id is none of a-z and 2-7", .at + 1)]
    Letter {
        /// Its position, from 0.
        at: usize,
    },
    /// The last letter carries bits beyond the 256.
    #[error("the last letter of the site id cannot stand there: mistyped or cut")]
    Ending,
}

impl FromStr for SiteId {
    type Err = SiteIdError;

    fn from_str(text: &str) -> Result<Self, SiteIdError> {
        if text.len() != TEXT_LEN {
            return Err(SiteIdError::Length { found: text.len() });
        }
        let mut bytes = [0; 32];
        match ALPHABET.decode_mut(text.as_bytes(), &mut bytes) {
            Ok(_) => Ok(Self(bytes)),
            Err(partial) => Err(match partial.error.kind {
                DecodeKind::Symbol => SiteIdError::Letter { at: partial.error.position },
                DecodeKind::Length | DecodeKind::Trailing | DecodeKind::Padding => {
                    SiteIdError::Ending
                }
            }),
        }
    }
}

static ALPHABET: LazyLock<Encoding> = LazyLock::new(|| {
    let mut base32 = Specification::new();
    base32.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    base32.encoding().expect("32 distinct ASCII letters form an encoding")
});

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn texts_that_are_no_site_id_say_why() {
        let good = SiteId([7; 32]).to_string();
        let parse = |text: &str| text.parse::<SiteId>().expect_err("not a site id");
        assert_eq!(parse(&good[1..]), SiteIdError::Length { found: 51 });
        assert_eq!(parse(""), SiteIdError::Length { found: 0 });
        assert_eq!(parse(&good.to_uppercase()), SiteIdError::Letter { at: 0 });
        assert_eq!(
            parse(&format!("{}1{}", &good[..9], &good[10..])),
            SiteIdError::Letter { at: 9 }
        );
        assert_eq!(parse(&format!("{}b", &good[..51])), SiteIdError::Ending);
        assert_eq!(parse(&"é".repeat(26)), SiteIdError::Letter { at: 0 });
    }

    proptest! {
        #[test]
        fn a_site_id_survives_the_round_trip_as_text(bytes in any::<[u8; 32]>()) {
            let id = SiteId(bytes);
            let text = id.to_string();
            prop_assert_eq!(text.len(), TEXT_LEN);
            prop_assert_eq!(text.parse::<SiteId>(), Ok(id));
        }

        #[test]
        fn a_text_that_parses_is_the_only_one_for_its_id(text in "[a-z2-7]{52}") {
            if let Ok(id) = text.parse::<SiteId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
