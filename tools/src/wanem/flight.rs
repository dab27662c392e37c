//! The packets under way in one direction: their bytes, what is known of their frames, and when
//! each leaves.
//!
//! A frame's bytes are stored once; its segments (and duplicates) are small entries in the schedule
//! that count as references to it. Bounded in bytes and in frames.

use super::arena::{Arena, Piece};
use super::schedule::{Due, Schedule};
use super::segment::Frame;
use farhaul_proto::units::Timestamp;

/// Frames under way at most; with the smallest packets the table fills before the arena does.
const FRAMES_MAX: usize = 1 << 20;

/// Names a frame under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameId(usize);

/// One packet that waits for its time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Its frame.
    pub(crate) frame: FrameId,
    /// Its place in the frame.
    pub(crate) segment: u16,
    /// True if it is to be damaged on its way out.
    pub(crate) corrupt: bool,
    /// True for the second copy of a packet.
    pub(crate) duplicate: bool,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    frame: Frame,
    piece: Piece,
    header_len: usize,
    references: u32,
}

/// What waits in a [`Flight`]: part of one of its frames.
pub(crate) trait OfFrame {
    /// Its frame.
    fn frame(&self) -> FrameId;
}

impl OfFrame for Waiting {
    fn frame(&self) -> FrameId {
        self.frame
    }
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Flight<W = Waiting> {
    arena: Arena,
    frames: Vec<Option<Held>>,
    vacant: Vec<usize>,
    schedule: Schedule<W>,
}

impl<W: OfFrame> Flight<W> {
    /// Nothing under way; at most `bytes_max` ever will be.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            arena: Arena::new(bytes_max),
            frames: Vec::new(),
            vacant: Vec::new(),
            schedule: Schedule::new(),
        }
    }

    /// Room to read one frame into; `None` when the flight is full.
    pub(crate) fn space(&mut self) -> Option<&mut [u8]> {
        if self.vacant.is_empty() && self.frames.len() == FRAMES_MAX {
            return None;
        }
        self.arena.space()
    }

    /// Keeps what was read: `len` bytes, of which the first `header_len` are not the packet. The
    /// caller holds one reference, to be given back with [`Flight::release`].
    pub(crate) fn admit(&mut self, frame: Frame, len: usize, header_len: usize) -> FrameId {
        let piece = self.arena.commit(len);
        let held = Some(Held { frame, piece, header_len, references: 1 });
        if let Some(vacant) = self.vacant.pop() {
            self.frames[vacant] = held;
            return FrameId(vacant);
        }
        self.frames.push(held);
        FrameId(self.frames.len() - 1)
    }

    /// Lets one packet wait until `at`.
    pub(crate) fn hold(&mut self, at: Timestamp, waiting: W) {
        self.held_mut(waiting.frame()).references += 1;
        self.schedule.push(at, waiting);
    }

    /// The next packet that is due; its reference passes to the caller.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Due<W>> {
        self.schedule.pop_due(now)
    }

    /// When the next packet is due.
    pub(crate) fn next_at(&self) -> Option<Timestamp> {
        self.schedule.next_at()
    }

    /// Packets under way.
    pub(crate) fn len(&self) -> usize {
        self.schedule.len()
    }

    /// A frame and its packet.
    pub(crate) fn frame(&self, id: FrameId) -> (&Frame, &[u8]) {
        let held = self.frames[id.0].as_ref().expect("ids are used while a reference is held");
        (&held.frame, &self.arena.bytes(held.piece)[held.header_len..])
    }

    /// Gives `references` back; with the last one the frame's memory is free again.
    pub(crate) fn release(&mut self, id: FrameId, references: u32) {
        let held = self.held_mut(id);
        held.references =
            held.references.checked_sub(references).expect("references are given back once");
        if held.references == 0 {
            let piece = held.piece;
            self.arena.release(piece);
            self.frames[id.0] = None;
            self.vacant.push(id.0);
        }
    }

    fn held_mut(&mut self, id: FrameId) -> &mut Held {
        self.frames[id.0].as_mut().expect("ids are used while a reference is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wanem::vnet::VnetHeader;

    fn admit(flight: &mut Flight, byte: u8) -> FrameId {
        flight.space().expect("room")[..100].fill(byte);
        let frame = Frame::parse(VnetHeader::default(), &[byte; 90]).expect("not empty");
        flight.admit(frame, 100, 10)
    }

    #[test]
    fn a_frame_lives_until_its_last_packet_left() {
        let mut flight = Flight::new(1 << 20);
        let id = admit(&mut flight, 7);
        for at in [5, 9] {
            let waiting = Waiting { frame: id, segment: 0, corrupt: false, duplicate: false };
            flight.hold(Timestamp::from_nanos(at), waiting);
        }
        flight.release(id, 1);
        assert!(flight.pop_due(Timestamp::from_nanos(5)).is_some());
        flight.release(id, 1);
        let other = admit(&mut flight, 8);
        assert_ne!(id, other, "the id was reused while a packet still waits");
        assert_eq!(flight.frame(id).1, [7; 90]);
        assert!(flight.pop_due(Timestamp::from_nanos(9)).is_some());
        flight.release(id, 1);
        flight.release(other, 1);
        assert!(flight.frames.iter().all(Option::is_none));
        assert_eq!(flight.len(), 0);
    }

    #[test]
    fn a_frame_of_which_nothing_is_held_is_gone_at_once() {
        let mut flight = Flight::new(1 << 20);
        let id = admit(&mut flight, 7);
        flight.release(id, 1);
        assert_eq!(admit(&mut flight, 8), id);
    }
}
