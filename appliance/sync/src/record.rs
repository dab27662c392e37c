//! A record: one version of one path, as it is signed, stored and sent.
//!
//! The encoded bytes are what its author signs, so whoever passes a record on passes on these very
//! bytes. They are a CBOR map (RFC 8949) with numbered fields; numbers that a reader does not know
//! are left alone, so a record can gain fields without breaking the signature for older readers.

mod wire;

use crate::limits::RECORD_MAX;
use crate::version::Version;
use core::convert::Infallible;
use farhaul_proto::path_name::{PathError, RelPath};
use minicbor::{Decoder, decode, encode};

/// One version of one path (spec: S-020).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where, in its folder.
    pub path: RelPath,
    /// What its author says of it.
    pub version: Version,
}

/// Why bytes are no record; whoever signed them is at fault, or who sent them if nobody did.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// More bytes than [`RECORD_MAX`].
    #[error("a record of {len} bytes is refused")]
    TooLong {
        /// How many.
        len: usize,
    },
    /// Not the CBOR that is expected here.
    #[error("malformed record")]
    Malformed(#[from] decode::Error),
    /// Bytes after the end.
    #[error("bytes after the end of the record")]
    TrailingBytes,
    /// The path breaks a rule.
    #[error("the record's path is refused")]
    Path(#[from] PathError),
    /// A field is out of its range.
    #[error("the record's {field} is out of range")]
    Range {
        /// Which.
        field: &'static str,
    },
    /// Something stands at the path that this side knows no form of.
    #[error("the record is of no known kind ({kind})")]
    Kind {
        /// Its number.
        kind: u8,
    },
}

impl Record {
    /// The bytes to sign, store and send.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let encoded: Result<(), encode::Error<Infallible>> =
            encode(wire::Record::from(self), &mut bytes);
        match encoded {
            Ok(()) => bytes,
            Err(error) => unreachable!("encoding into memory: {error}"),
        }
    }

    /// Reads and checks what a peer sent.
    ///
    /// # Errors
    /// [`RecordError`] names the first rule that it breaks.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        if bytes.len() > RECORD_MAX {
            return Err(RecordError::TooLong { len: bytes.len() });
        }
        let mut decoder = Decoder::new(bytes);
        let record: wire::Record<'_> = decoder.decode()?;
        if decoder.position() != bytes.len() {
            return Err(RecordError::TrailingBytes);
        }
        record.check()
    }
}

#[cfg(test)]
mod tests;
