//! What each carrier moved, as scripts read it; the fields are a part of the contract of `--json`.

use farhaul_engine::net::{Traffic, Traffics};
use serde::Serialize;

/// By carrier.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Carriers {
    udp: Moved,
    tcp: Moved,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Moved {
    packets_sent: u64,
    bytes_sent: u64,
    packets_received: u64,
    bytes_received: u64,
    /// Calls that brought something.
    reads: u64,
}

impl From<Traffics> for Carriers {
    fn from(traffics: Traffics) -> Self {
        Self { udp: traffics.udp.into(), tcp: traffics.tcp.into() }
    }
}

impl From<Traffic> for Moved {
    fn from(traffic: Traffic) -> Self {
        let Traffic { packets_sent, bytes_sent, packets_received, bytes_received, reads } = traffic;
        Self { packets_sent, bytes_sent, packets_received, bytes_received, reads }
    }
}
