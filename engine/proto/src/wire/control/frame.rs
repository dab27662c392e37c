//! Cuts a byte stream into frames: a big-endian `u32` length, then that many bytes.
//!
//! Holds one unfinished frame and never more; what it does not take stays with the caller, who
//! so feels the back-pressure. Does not look into frames.

use super::ControlError;
use crate::limits::CONTROL_MESSAGE_MAX;

/// Bytes of a frame's length.
pub const FRAME_PREFIX_LEN: usize = 4;

/// What stands before a body of `len` bytes.
///
/// # Errors
/// No frame is empty or longer than [`CONTROL_MESSAGE_MAX`].
pub fn frame_prefix(len: usize) -> Result<[u8; FRAME_PREFIX_LEN], ControlError> {
    match u32::try_from(len) {
        Ok(0) => Err(ControlError::FrameEmpty),
        Ok(announced) if len <= CONTROL_MESSAGE_MAX => Ok(announced.to_be_bytes()),
        Ok(_) | Err(_) => Err(ControlError::FrameTooLong { len }),
    }
}

/// Collects the bytes of one frame at a time (`spec: W-063`).
///
/// ```
/// # use farhaul_proto::wire::control::{ControlError, FrameReader};
/// # fn main() -> Result<(), ControlError> {
/// let mut reader = FrameReader::new();
/// let mut input = &[0, 0, 0, 1, 7, 0, 0, 0, 2, 8][..];
/// let mut frames = Vec::new();
/// while !input.is_empty() {
///     let taken = reader.push(input)?;
///     input = &input[taken..];
///     frames.extend(reader.pull());
/// }
/// assert_eq!(frames, [[7]]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct FrameReader {
    prefix: [u8; FRAME_PREFIX_LEN],
    prefix_len: usize,
    /// Length of the body, known and checked once the prefix is whole.
    body_len: usize,
    body: Vec<u8>,
}

impl FrameReader {
    /// A reader at the start of a frame.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes up to the end of the current frame; returns how many. Takes none while a
    /// whole frame waits for [`Self::pull`].
    ///
    /// # Errors
    /// The frame announces no bytes, or more than [`CONTROL_MESSAGE_MAX`]; nothing of its body
    /// has been buffered. The stream has no further meaning.
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize, ControlError> {
        let head = bytes.len().min(FRAME_PREFIX_LEN - self.prefix_len);
        let (head, rest) = bytes.split_at(head);
        self.prefix[self.prefix_len..self.prefix_len + head.len()].copy_from_slice(head);
        self.prefix_len += head.len();
        if self.prefix_len < FRAME_PREFIX_LEN {
            return Ok(head.len());
        }
        self.body_len = announced(self.prefix)?;
        let body = rest.len().min(self.body_len - self.body.len());
        self.body.extend_from_slice(&rest[..body]);
        Ok(head.len() + body)
    }

    /// The frame's body, once it is whole.
    pub fn pull(&mut self) -> Option<Vec<u8>> {
        if self.body_len == 0 || self.body.len() < self.body_len {
            return None;
        }
        self.prefix_len = 0;
        self.body_len = 0;
        Some(core::mem::take(&mut self.body))
    }

    /// How many bytes the part of the frame that is under way still lacks: of its length, or of
    /// its body.
    pub const fn wanted(&self) -> usize {
        match FRAME_PREFIX_LEN - self.prefix_len {
            0 => self.body_len - self.body.len(),
            of_prefix => of_prefix,
        }
    }

    /// True between two frames: a stream that ends here ends cleanly.
    pub const fn is_idle(&self) -> bool {
        self.prefix_len == 0
    }

    /// Bytes held for the unfinished frame, its length included.
    pub fn buffered(&self) -> usize {
        self.prefix_len + self.body.len()
    }
}

/// The announced length of a frame, when it is allowed.
fn announced(prefix: [u8; FRAME_PREFIX_LEN]) -> Result<usize, ControlError> {
    match usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX) {
        0 => Err(ControlError::FrameEmpty),
        len if len > CONTROL_MESSAGE_MAX => Err(ControlError::FrameTooLong { len }),
        len => Ok(len),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(body: &[u8]) -> Vec<u8> {
        [&frame_prefix(body.len()).expect("small")[..], body].concat()
    }

    #[test]
    fn a_frame_that_would_be_refused_is_not_begun() {
        assert!(matches!(frame_prefix(0), Err(ControlError::FrameEmpty)));
        assert_eq!(frame_prefix(CONTROL_MESSAGE_MAX).expect("the largest"), [1, 0, 0, 0]);
        let too_long = frame_prefix(CONTROL_MESSAGE_MAX + 1);
        assert!(matches!(too_long, Err(ControlError::FrameTooLong { .. })));
    }

    #[test]
    fn a_frame_beyond_the_bound_is_refused_before_its_body_is_buffered() {
        let mut reader = FrameReader::new();
        let len = u32::try_from(CONTROL_MESSAGE_MAX + 1).expect("16 MiB and one");
        let stream = [&len.to_be_bytes()[..], &[1, 2, 3]].concat();
        assert!(matches!(reader.push(&stream), Err(ControlError::FrameTooLong { .. })));
        assert_eq!(reader.buffered(), FRAME_PREFIX_LEN);
        assert_eq!(reader.pull(), None);
    }

    #[test]
    fn the_largest_frame_is_taken_without_room_for_it_beforehand() {
        let mut reader = FrameReader::new();
        let len = u32::try_from(CONTROL_MESSAGE_MAX).expect("16 MiB");
        assert_eq!(reader.push(&len.to_be_bytes()).expect("allowed"), 4);
        assert_eq!(reader.body.capacity(), 0);
    }

    #[test]
    fn an_empty_frame_is_refused() {
        assert!(matches!(FrameReader::new().push(&[0; 4]), Err(ControlError::FrameEmpty)));
    }

    #[test]
    fn nothing_is_taken_while_a_whole_frame_waits() {
        let mut reader = FrameReader::new();
        assert_eq!(reader.push(&[0, 0, 0, 1, 9, 0]).expect("valid"), 5);
        assert_eq!(reader.push(&[0, 0, 0]).expect("valid"), 0);
        assert_eq!(reader.pull(), Some(vec![9]));
        assert!(reader.is_idle());
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting_of_the_stream(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..20),
            cuts in prop::collection::vec(1usize..40, 1..100),
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
            let mut reader = FrameReader::new();
            let mut frames = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let wanted = reader.wanted();
                let piece = &rest[..rest.len().min(*cut)];
                let taken = reader.push(piece).expect("valid stream");
                prop_assert!(taken > 0 && taken >= piece.len().min(wanted));
                rest = &rest[taken..];
                frames.extend(reader.pull());
            }
            prop_assert_eq!(frames, bodies);
            prop_assert!(reader.is_idle());
        }
    }
}
