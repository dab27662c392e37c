//! What can be wrong with a frame or a control message; always the peer's fault.

use thiserror::Error;

/// Why the control stream of a peer cannot be understood (`spec: W-062`).
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// A frame announces more than the protocol allows.
    #[error("control frame of {len} bytes is too long")]
    FrameTooLong {
        /// Its announced length.
        len: usize,
    },
    /// A frame without a message.
    #[error("control frame is empty")]
    FrameEmpty,
    /// The bytes are not one item of the CBOR that the protocol uses.
    #[error("at byte {at}: {source}")]
    Shape {
        /// Offset in the frame.
        at: usize,
        /// What is wrong there.
        source: ShapeError,
    },
    /// The CBOR is not a message: a field is missing or mistyped, a variant unknown.
    #[error("not a control message: {0}")]
    Content(#[from] minicbor::decode::Error),
    /// A string or list is longer than the protocol allows.
    #[error("{field:?} has length {len}, at most {max} are allowed")]
    TooLong {
        /// Which one.
        field: Field,
        /// Its length.
        len: usize,
        /// The bound.
        max: usize,
    },
    /// Something is empty or zero that must not be.
    #[error("{field:?} is empty")]
    Empty {
        /// What.
        field: Field,
    },
    /// A number passes the end of its space, or its bound.
    #[error("{field:?} is out of range")]
    OutOfRange {
        /// Which one.
        field: Field,
    },
    /// Ranges overlap or descend.
    #[error("{field:?} is not in ascending order")]
    OutOfOrder {
        /// Which ranges.
        field: Field,
    },
}

/// How bytes fail to be one item of the protocol's CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ShapeError {
    /// An item reaches beyond the frame.
    #[error("item is cut short")]
    Truncated,
    /// Bytes follow the item.
    #[error("bytes follow the message")]
    Trailing,
    /// A length or number is not in its shortest form, or has no definite length.
    #[error("head is not in its shortest definite form")]
    NotShortest,
    /// A kind of item that the protocol does not use: tags, floats, other simple values.
    #[error("kind of item is not used here")]
    Kind,
    /// Items nest deeper than any message does.
    #[error("items nest too deep")]
    Depth,
    /// A list is longer than any in a message.
    #[error("list is too long")]
    Count,
}

/// A part of a message, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "named like the fields of `Message`")]
pub enum Field {
    Agent,
    Reason,
    Dest,
    Manifest,
    Path,
    Want,
    Have,
    Reopen,
    Failed,
    FailedTotal,
    LeftOut,
    Rate,
}
