//! What a star tells about itself: counters of each access link and each way, and how well the
//! emulator kept up.

use crate::wanem::status::{LinkDrops, OwnDrops};
use serde::{Deserialize, Serialize};

/// One direction of a link; bytes are at IP level.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LegStatus {
    /// Packets offered.
    pub offered: u64,
    /// Bytes of those.
    pub offered_bytes: u64,
    /// Bytes that the link itself carried: what was lost behind its bottleneck is among them, what
    /// its queue did not take is not.
    pub wire_bytes: u64,
    /// Packets that came out at its other end.
    pub delivered: u64,
    /// Bytes of those.
    pub delivered_bytes: u64,
    /// Packets dropped on purpose.
    pub dropped: LinkDrops,
    /// Carried in the last whole second, in bits a second.
    pub rate_bps: u64,
    /// Delay that a packet would meet in the queue now, in microseconds.
    pub queue_us: u64,
    /// 95th percentile of the queue delay that packets met, in microseconds.
    pub queue_p95_us: u64,
    /// What it is like, as TOML.
    pub profile: String,
}

/// A site's access link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccessStatus {
    /// The site's name.
    pub name: String,
    /// From the site to the core.
    pub up: LegStatus,
    /// From the core to the site.
    pub down: LegStatus,
}

/// A way between two sites.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WayStatus {
    /// From which site.
    pub from: String,
    /// To which.
    pub to: String,
    /// Packets offered.
    pub offered: u64,
    /// Packets that came out at its other end.
    pub delivered: u64,
    /// What it is like, as TOML.
    pub profile: String,
}

/// The emulator itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HubStatus {
    /// Packets lost by the emulator's own fault.
    pub own_drops: OwnDrops,
    /// Packets to no site of the star, such as those to a multicast group; they end at the core.
    pub unrouted: u64,
    /// Packets under way now.
    pub in_flight: u64,
    /// Median of how late packets left, in microseconds.
    pub late_p50_us: u64,
    /// 99th percentile of how late packets left, in microseconds.
    pub late_p99_us: u64,
    /// The latest that a packet left, in microseconds.
    pub late_max_us: u64,
    /// Times that the machine kept the emulator from running for more than 1 ms while frames waited.
    pub standstills: u64,
    /// CPU time of its thread, with the kernel's receive work it triggers, in seconds.
    pub cpu_seconds: f64,
    /// True when the thread runs in the real-time class.
    pub real_time: bool,
}

/// The state of a star.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StarStatus {
    /// Its name.
    pub name: String,
    /// Seed of all its randomness.
    pub seed: u64,
    /// Seconds since it came up.
    pub up_seconds: f64,
    /// Its sites, in the order of their addresses.
    pub sites: Vec<AccessStatus>,
    /// The ways that have something of their own.
    pub ways: Vec<WayStatus>,
    /// The emulator.
    pub hub: HubStatus,
}

impl StarStatus {
    /// A site by its name.
    pub fn site(&self, name: &str) -> Option<&AccessStatus> {
        self.sites.iter().find(|site| site.name.eq_ignore_ascii_case(name))
    }
}
