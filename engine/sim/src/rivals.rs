//! Rivals: models of the TCP senders that share links with ours, one congestion control a file.
//!
//! They are models, not kernels: data without end, packets of one size, exact retransmission (each
//! packet number is sent once; what is lost counts as sent again later), an acknowledgement for
//! every packet, smooth pacing. What a law is told and what it answers is [`Law`]; the rest of a
//! TCP sender (scoreboard, round trips, delivery rates, time-outs) is [`tcp`].

mod bbr1;
mod bbr3;
mod cubic;
mod max_filter;
pub mod tcp;

use core::fmt;

/// Which congestion control a rival uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RFC 9438.
    Cubic,
    /// BBR version 1, as in Linux since 4.9.
    Bbr1,
    /// BBR version 3, as in its Internet-Draft.
    Bbr3,
}

impl Kind {
    /// The kind of that name in files of cells.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "cubic" => Some(Self::Cubic),
            "bbr1" => Some(Self::Bbr1),
            "bbr3" => Some(Self::Bbr3),
            _ => None,
        }
    }

    fn law(self) -> Box<dyn Law> {
        match self {
            Self::Cubic => Box::new(cubic::Cubic::new()),
            Self::Bbr1 => Box::new(bbr1::Bbr1::new()),
            Self::Bbr3 => Box::new(bbr3::Bbr3::new()),
        }
    }
}

/// What one acknowledgement teaches. Packets and seconds.
#[derive(Clone, Copy, Debug)]
struct Ack {
    now: f64,
    /// Round trip of the newest packet that it acknowledges.
    rtt: f64,
    /// The smoothed round trip.
    srtt: f64,
    /// Packets newly acknowledged.
    acked: f64,
    /// Packets newly declared lost.
    lost: f64,
    /// A packet was lost that left after the last reduction: the window must react.
    congested: bool,
    /// A round trip has passed since this was last true.
    round: bool,
    /// Delivery rate over the flight of the acknowledged packet.
    bandwidth: f64,
    /// What was in flight when the acknowledged packet left, and what of it was lost since.
    flight_then: f64,
    lost_since: f64,
    /// In flight after this acknowledgement.
    in_flight: f64,
}

/// A congestion control.
trait Law: fmt::Debug {
    fn on_ack(&mut self, ack: &Ack);

    /// Nothing was acknowledged for so long that everything in flight counts as lost.
    fn on_timeout(&mut self, now: f64);

    /// Packets that may be in flight.
    fn window(&self) -> f64;

    /// Packets per second that may leave.
    fn pacing(&self) -> f64;
}
