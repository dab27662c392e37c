//! What a message of a comparison is made of.

use super::place::Range;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// Most names of records in one part.
pub(crate) const IDS_MAX: usize = 256;
/// Most parts of one message.
pub(crate) const PARTS_MAX: usize = 1024;
/// Into how many children a range may be divided: 2^4 or 2^8.
pub(super) const STEPS: [u8; 2] = [4, 8];

/// Something about a range (spec: S-124).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(flat)]
pub enum Part {
    /// What each of its children is here.
    #[n(0)]
    Split {
        /// Of which range.
        #[n(0)]
        range: Range,
        /// A salted sum of each, 0 where nothing is.
        #[n(1)]
        #[cbor(with = "words")]
        prints: Vec<u64>,
    },
    /// All records that are here.
    #[n(1)]
    List {
        /// In which range.
        #[n(0)]
        range: Range,
        /// Their salted names, ascending.
        #[n(1)]
        #[cbor(with = "words")]
        ids: Vec<u64>,
    },
    /// Those of the hearer's records, which it listed, that are not here.
    #[n(2)]
    Want {
        /// In which range.
        #[n(0)]
        range: Range,
        /// Their salted names, ascending.
        #[n(1)]
        #[cbor(with = "words")]
        ids: Vec<u64>,
    },
}

impl Part {
    /// Of which range.
    pub const fn range(&self) -> Range {
        match self {
            Self::Split { range, .. } | Self::List { range, .. } | Self::Want { range, .. } => {
                *range
            }
        }
    }

    /// About how many bytes it takes.
    pub(super) fn len(&self) -> usize {
        let (Self::Split { prints: words, .. }
        | Self::List { ids: words, .. }
        | Self::Want { ids: words, .. }) = self;
        words.len() * 8 + 16
    }

    /// The step of a division into so many.
    pub(super) fn step_of(prints: usize) -> Option<u8> {
        STEPS.into_iter().find(|step| prints == 1 << step)
    }

    fn is_valid(&self) -> bool {
        let is_ids = |ids: &[u64]| ids.len() <= IDS_MAX && ids.windows(2).all(|w| w[0] < w[1]);
        self.range().is_valid()
            && match self {
                Self::Split { range, prints } => {
                    Self::step_of(prints.len()).is_some_and(|step| range.divides_by(step))
                }
                Self::List { ids, .. } => is_ids(ids),
                Self::Want { ids, .. } => !ids.is_empty() && is_ids(ids),
            }
    }

    /// Whether they can stand in one message: each valid, their ranges ascending and apart.
    pub(crate) fn are_valid(parts: &[Self]) -> bool {
        let apart = |w: &[Self]| w[0].range().last() < w[1].range().first();
        parts.len() <= PARTS_MAX && parts.iter().all(Self::is_valid) && parts.windows(2).all(apart)
    }
}

/// Numbers of 8 bytes, big-endian, in one byte string.
mod words {
    use super::*;

    pub(super) fn encode<C, W: Write>(
        words: &[u64],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        e.bytes(&bytes)?.ok()
    }

    pub(super) fn decode<C>(d: &mut Decoder<'_>, _: &mut C) -> Result<Vec<u64>, decode::Error> {
        let at = d.position();
        let (words, rest) = d.bytes()?.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(decode::Error::message("not whole numbers of 8 bytes").at(at));
        }
        Ok(words.iter().copied().map(u64::from_be_bytes).collect())
    }
}
