//! Messages on a stream: each is one frame of the protocol (`spec: W-063`).
//!
//! Memory grows with what has arrived, not with what was announced. It does not look inside
//! messages.

use std::net::SocketAddr;
use std::sync::Arc;

use farhaul_proto::wire::control::{FrameReader, frame_prefix};
use quinn::{RecvStream, SendStream, VarInt};

use super::socket::Vouched;
use super::{ControlError, PeerFault};

/// Code with which a stream ends inside a message that its sender gave up.
pub const STREAM_ABANDONED: u32 = 2;

/// Sends messages in order.
#[derive(Debug)]
pub struct ControlSender {
    stream: SendStream,
    addr: SocketAddr,
    half_sent: bool,
    /// A stream keeps its connection open, so it keeps its address proven too.
    vouched: Arc<Vouched>,
}

impl ControlSender {
    pub(super) fn new(stream: SendStream, addr: SocketAddr, vouched: Arc<Vouched>) -> Self {
        Self { stream, addr, half_sent: false, vouched }
    }

    /// Sends one message; done when the library holds all of it, which waits while the peer's
    /// window is full.
    ///
    /// If the future is dropped before it is done, the stream is unusable from then on.
    ///
    /// Errors: `Length` above `CONTROL_MESSAGE_MAX` and for no bytes, before anything is sent.
    pub async fn send(&mut self, message: &[u8]) -> Result<(), ControlError> {
        let len = message.len();
        let prefix = frame_prefix(len).map_err(|_| ControlError::Length { len })?;
        if self.half_sent {
            return Err(ControlError::HalfSent);
        }
        self.half_sent = true;
        self.write(&prefix).await?;
        self.write(message).await?;
        self.half_sent = false;
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), ControlError> {
        let addr = self.addr;
        let written = self.stream.write_all(bytes).await;
        written.map_err(|error| self.vouched.explain(ControlError::of_write(error, addr)))
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
    frame: FrameReader,
    vouched: Arc<Vouched>,
}

impl ControlReceiver {
    pub(super) fn new(stream: RecvStream, addr: SocketAddr, vouched: Arc<Vouched>) -> Self {
        Self { stream, addr, frame: FrameReader::new(), vouched }
    }

    /// Receives the next message; `None` when the peer has finished the stream.
    ///
    /// May be dropped at any moment without losing anything: what has arrived is kept for the
    /// next call.
    ///
    /// Errors: `Peer` if the message is empty, too long or cut off; the stream is of no use then.
    pub async fn recv(&mut self) -> Result<Option<Vec<u8>>, ControlError> {
        loop {
            if let Some(message) = self.frame.pull() {
                return Ok(Some(message));
            }
            let wanted = self.frame.wanted();
            let read = self.stream.read_chunk(wanted, true).await;
            let of_read = |error| self.vouched.explain(ControlError::of_read(error, self.addr));
            match read.map_err(of_read)? {
                Some(chunk) => {
                    self.frame.push(&chunk.bytes).map_err(|_| PeerFault::MessageLength)?;
                }
                None if self.frame.is_idle() => return Ok(None),
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
