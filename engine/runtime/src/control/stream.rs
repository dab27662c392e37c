//! Messages on a stream: each is a length in 4 bytes, big-endian, and that many bytes.
//!
//! A length is checked before anything is kept for it, and memory grows with what has arrived, not
//! with what was announced. It does not look inside messages.

use std::net::SocketAddr;

use farhaul_proto::limits::CONTROL_MESSAGE_MAX;
use quinn::{RecvStream, SendStream, VarInt};

use super::{ControlError, PeerFault};

const PREFIX_LEN: usize = 4;
/// Code with which a stream ends inside a message that its sender gave up.
pub const STREAM_ABANDONED: u32 = 2;

/// Sends messages in order.
#[derive(Debug)]
pub struct ControlSender {
    stream: SendStream,
    addr: SocketAddr,
    half_sent: bool,
}

impl ControlSender {
    pub(super) fn new(stream: SendStream, addr: SocketAddr) -> Self {
        Self { stream, addr, half_sent: false }
    }

    /// Sends one message; done when the library holds all of it, which waits while the peer's
    /// window is full.
    ///
    /// If the future is dropped before it is done, the stream is unusable from then on.
    ///
    /// Errors: `TooLong` above `CONTROL_MESSAGE_MAX`, before anything is sent.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), ControlError> {
        let too_long = ControlError::TooLong { len: message.len() };
        let len = u32::try_from(message.len()).map_err(|_| too_long)?;
        if message.len() > CONTROL_MESSAGE_MAX {
            return Err(ControlError::TooLong { len: message.len() });
        }
        if self.half_sent {
            return Err(ControlError::HalfSent);
        }
        self.half_sent = true;
        self.write(&len.to_be_bytes()).await?;
        self.write(message).await?;
        self.half_sent = false;
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ControlError> {
        let addr = self.addr;
        self.stream.write_all(bytes).await.map_err(|error| ControlError::of_write(error, addr))
    }

    /// Says that no message follows; what was sent is still delivered.
    ///
    /// Errors: `ClosedHere` if that was said before; `HalfSent` if a message is incomplete, and the
    /// stream is given up then.
    pub fn finish(&mut self) -> Result<(), ControlError> {
        if self.half_sent {
            self.abort(STREAM_ABANDONED);
            return Err(ControlError::HalfSent);
        }
        self.stream.finish().map_err(|_| ControlError::ClosedHere)
    }

    /// Gives up the stream: what was not delivered yet is lost.
    pub fn abort(&mut self, code: u32) {
        // It fails only on a stream that has ended already, which is what is wanted.
        let _ = self.stream.reset(VarInt::from_u32(code));
    }
}

impl Drop for ControlSender {
    /// The library ends a dropped stream in order, which after half a message would look like a
    /// fault of ours.
    fn drop(&mut self) {
        if self.half_sent {
            self.abort(STREAM_ABANDONED);
        }
    }
}

/// Receives messages in order.
#[derive(Debug)]
pub struct ControlReceiver {
    stream: RecvStream,
    addr: SocketAddr,
    frame: Frame,
}

impl ControlReceiver {
    pub(super) fn new(stream: RecvStream, addr: SocketAddr) -> Self {
        Self { stream, addr, frame: Frame::default() }
    }

    /// Receives the next message; `None` when the peer has finished the stream.
    ///
    /// May be dropped at any moment without losing anything: what has arrived is kept for the
    /// next call.
    ///
    /// Errors: `Peer` if the message is too long or cut off; the stream is of no use then.
    pub async fn recv(&mut self) -> Result<Option<Vec<u8>>, ControlError> {
        loop {
            if let Some(message) = self.frame.take()? {
                return Ok(Some(message));
            }
            let wanted = self.frame.wanted();
            let read = self.stream.read_chunk(wanted, true).await;
            match read.map_err(|error| ControlError::of_read(error, self.addr))? {
                Some(chunk) => self.frame.push(&chunk.bytes),
                None if self.frame.is_empty() => return Ok(None),
                None => return Err(PeerFault::MessageCut.into()),
            }
        }
    }

    /// Tells the peer that no more of its messages are read.
    pub fn abort(&mut self, code: u32) {
        // It fails only on a stream that has ended already, which is what is wanted.
        let _ = self.stream.stop(VarInt::from_u32(code));
    }
}

/// A message in the course of arriving.
#[derive(Debug, Default)]
struct Frame {
    prefix: [u8; PREFIX_LEN],
    prefix_len: usize,
    body: Vec<u8>,
}

impl Frame {
    fn is_empty(&self) -> bool {
        self.prefix_len == 0
    }

    fn announced(&self) -> Option<u32> {
        (self.prefix_len == PREFIX_LEN).then(|| u32::from_be_bytes(self.prefix))
    }

    /// How many bytes of the stream belong to the part that is under way.
    fn wanted(&self) -> usize {
        match self.announced() {
            Some(len) => (len as usize).saturating_sub(self.body.len()),
            None => PREFIX_LEN - self.prefix_len,
        }
    }

    /// Takes in at most as many bytes as were wanted.
    fn push(&mut self, bytes: &[u8]) {
        if self.prefix_len == PREFIX_LEN {
            self.body.extend_from_slice(bytes);
            return;
        }
        let room = &mut self.prefix[self.prefix_len..];
        let len = bytes.len().min(room.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.prefix_len += len;
    }

    /// The message, once it is whole.
    fn take(&mut self) -> Result<Option<Vec<u8>>, PeerFault> {
        let Some(len) = self.announced() else { return Ok(None) };
        if len as usize > CONTROL_MESSAGE_MAX {
            return Err(PeerFault::MessageTooLong { len });
        }
        if self.body.len() < len as usize {
            return Ok(None);
        }
        self.prefix_len = 0;
        Ok(Some(std::mem::take(&mut self.body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let frame = |message: &Vec<u8>| {
            let len = u32::try_from(message.len()).expect("short");
            [&len.to_be_bytes(), &message[..]].concat()
        };
        messages.iter().flat_map(frame).collect()
    }

    #[test]
    fn a_length_beyond_the_limit_is_refused_before_anything_is_kept() {
        let mut frame = Frame::default();
        frame.push(&0x0100_0001u32.to_be_bytes());
        assert_eq!(frame.take(), Err(PeerFault::MessageTooLong { len: (16 << 20) + 1 }));
        assert_eq!(frame.body.capacity(), 0);
        let mut frame = Frame::default();
        frame.push(&0x0100_0000u32.to_be_bytes());
        assert_eq!(frame.take(), Ok(None));
        assert_eq!(frame.body.capacity(), 0);
    }

    proptest! {
        #[test]
        fn messages_survive_any_cutting_of_the_stream(
            messages in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20),
            cuts in proptest::collection::vec(1usize..30, 1..20),
        ) {
            let bytes = framed(&messages);
            let (mut rest, mut cuts) = (&bytes[..], cuts.iter().cycle());
            let (mut frame, mut seen) = (Frame::default(), Vec::new());
            loop {
                while let Some(message) = frame.take().expect("all are short") {
                    seen.push(message);
                }
                if rest.is_empty() {
                    break;
                }
                let cut = frame.wanted().min(*cuts.next().expect("a cycle")).min(rest.len());
                prop_assert!(cut > 0);
                frame.push(&rest[..cut]);
                rest = &rest[cut..];
            }
            prop_assert!(frame.is_empty());
            prop_assert_eq!(seen, messages);
        }
    }
}
