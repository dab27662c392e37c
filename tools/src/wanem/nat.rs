//! Network address translation at the edge of a site, as home routers and carriers do it.
//!
//! UDP and TCP packets that leave the site get the translator's address and a port of its own; what
//! comes back is rewritten the other way, and what belongs to no mapping is dropped. A mapping is
//! for one source, whatever the destination (RFC 4787, endpoint-independent), and is forgotten when
//! it was idle for long, or at once on a *rebind*: the next packet gets another port, and answers to
//! the old one find nobody. Other protocols pass as they are.

use super::checksum;
use super::segment::locate_ports;
use farhaul_proto::units::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long a mapping lives without packets unless told otherwise (RFC 4787 asks for two minutes at
/// least; many devices know half a minute).
pub const IDLE: Duration = Duration::from_secs(30);
/// External ports are taken from here on, in order.
const PORT_FIRST: u16 = 40_000;
/// Number of external ports.
const PORTS: u16 = 20_000;

/// What a translator is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatSettings {
    /// How long a mapping lives without packets.
    pub idle: Duration,
    /// The address outside, for packets of its family; the site's own one otherwise.
    pub address: Option<IpAddr>,
}

impl Default for NatSettings {
    fn default() -> Self {
        Self { idle: IDLE, address: None }
    }
}

/// A change of a site's translator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NatOrder {
    /// Translate from now on, or with other settings; with another address outside, mappings are
    /// forgotten.
    On {
        /// As text with a unit; the usual one if missing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        idle: Option<String>,
        /// See [`NatSettings::address`].
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<IpAddr>,
    },
    /// Forget all mappings.
    Rebind,
    /// Translate no more.
    Off,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crossing {
    /// It goes on, rewritten or not.
    Passed,
    /// No mapping, or no port left for one.
    Dropped,
}

/// A source behind the translator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Inside {
    protocol: u8,
    address: IpAddr,
    port: u16,
}

/// What stands for it outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Outside {
    protocol: u8,
    address: IpAddr,
    port: u16,
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    outside: Outside,
    used_at: Timestamp,
}

/// The mappings of a translator.
#[derive(Debug)]
struct Table {
    settings: NatSettings,
    by_inside: HashMap<Inside, Mapping>,
    by_outside: HashMap<Outside, Inside>,
    /// Ports given out so far; also across a rebind, so that no mapping is given anew at once.
    given: u16,
}

/// The translator of one site; both directions share it.
#[derive(Debug, Default)]
pub(crate) struct Nat {
    on: AtomicBool,
    table: Mutex<Option<Table>>,
    dropped_inward: AtomicU64,
}

impl Nat {
    /// True while it translates.
    pub(crate) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Packets towards the site that belonged to no mapping.
    pub(crate) fn dropped_inward(&self) -> u64 {
        self.dropped_inward.load(Ordering::Relaxed)
    }

    /// Translates from now on.
    pub(crate) fn enable(&self, settings: NatSettings) {
        let mut table = self.table();
        match &mut *table {
            Some(table) if table.settings.address == settings.address => table.settings = settings,
            Some(table) => {
                table.settings = settings;
                table.forget();
            }
            None => *table = Some(Table::new(settings)),
        }
        self.on.store(true, Ordering::Relaxed);
    }

    /// Forgets all mappings.
    pub(crate) fn rebind(&self) {
        if let Some(table) = &mut *self.table() {
            table.forget();
        }
    }

    /// Translates no more.
    pub(crate) fn disable(&self) {
        self.on.store(false, Ordering::Relaxed);
        *self.table() = None;
    }

    fn table(&self) -> MutexGuard<'_, Option<Table>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rewrites the source of a packet that leaves the site. `unfinished` says that its checksum
    /// field holds the pseudo header's sum only.
    pub(crate) fn outward(&self, packet: &mut [u8], unfinished: bool, now: Timestamp) -> Crossing {
        let Some(ports) = locate_ports(packet) else { return Crossing::Passed };
        let Some(source) = ports.source(packet) else { return Crossing::Passed };
        let (address, port) = source;
        let inside = Inside { protocol: ports.protocol, address, port };
        let mut table = self.table();
        let Some(table) = &mut *table else { return Crossing::Passed };
        let Some(outside) = table.map(inside, now) else { return Crossing::Dropped };
        ports.set_source(packet, (outside.address, outside.port), unfinished);
        Crossing::Passed
    }

    /// Gives a finished packet that left the source back that it had inside.
    pub(crate) fn restore_source(&self, packet: &mut [u8]) {
        let Some(ports) = locate_ports(packet) else { return };
        let Some((address, port)) = ports.source(packet) else { return };
        let outside = Outside { protocol: ports.protocol, address, port };
        let inside =
            self.table().as_ref().and_then(|table| table.by_outside.get(&outside).copied());
        if let Some(inside) = inside {
            ports.set_source(packet, (inside.address, inside.port), false);
        }
    }

    /// Rewrites the destination of a packet that comes to the site.
    pub(crate) fn inward(&self, packet: &mut [u8], unfinished: bool, now: Timestamp) -> Crossing {
        let Some(ports) = locate_ports(packet) else { return Crossing::Passed };
        let Some((address, port)) = ports.destination(packet) else { return Crossing::Passed };
        let outside = Outside { protocol: ports.protocol, address, port };
        let mut table = self.table();
        let Some(table) = &mut *table else { return Crossing::Passed };
        let Some(inside) = table.unmap(outside, now) else {
            self.dropped_inward.fetch_add(1, Ordering::Relaxed);
            return Crossing::Dropped;
        };
        ports.set_destination(packet, (inside.address, inside.port), unfinished);
        Crossing::Passed
    }
}

impl Table {
    fn new(settings: NatSettings) -> Self {
        Self { settings, by_inside: HashMap::new(), by_outside: HashMap::new(), given: 0 }
    }

    fn forget(&mut self) {
        self.by_inside.clear();
        self.by_outside.clear();
    }

    /// What stands for `inside`; a new mapping if it has none that is alive.
    fn map(&mut self, inside: Inside, now: Timestamp) -> Option<Outside> {
        let idle = self.settings.idle;
        if let Some(mapping) = self.by_inside.get_mut(&inside) {
            if now.since(mapping.used_at) <= idle {
                mapping.used_at = now;
                return Some(mapping.outside);
            }
            self.by_outside.remove(&mapping.outside);
            self.by_inside.remove(&inside);
        }
        let address = self.settings.address.filter(|to| to.is_ipv4() == inside.address.is_ipv4());
        let address = address.unwrap_or(inside.address);
        for _ in 0..PORTS {
            let port = PORT_FIRST + self.given;
            self.given = (self.given + 1) % PORTS;
            let outside = Outside { protocol: inside.protocol, address, port };
            if let std::collections::hash_map::Entry::Vacant(e) = self.by_outside.entry(outside) {
                e.insert(inside);
                self.by_inside.insert(inside, Mapping { outside, used_at: now });
                return Some(outside);
            }
        }
        None
    }

    /// For whom `outside` stands.
    fn unmap(&mut self, outside: Outside, now: Timestamp) -> Option<Inside> {
        let inside = *self.by_outside.get(&outside)?;
        let mapping = self.by_inside.get_mut(&inside)?;
        let alive = now.since(mapping.used_at) <= self.settings.idle;
        if alive {
            mapping.used_at = now;
        }
        alive.then_some(inside)
    }
}

/// Where the addresses and ports of a UDP or TCP packet lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ports {
    /// 6 or 17.
    pub(crate) protocol: u8,
    /// Where the source address lies; the destination's follows it.
    pub(crate) addresses_at: usize,
    /// 4 or 16.
    pub(crate) address_len: usize,
    /// Where the source port lies; the destination's follows it.
    pub(crate) ports_at: usize,
    /// Where the checksum of the transport header lies.
    pub(crate) checksum_at: usize,
}

/// An address and a port.
type Endpoint = (IpAddr, u16);

impl Ports {
    fn source(&self, packet: &[u8]) -> Option<Endpoint> {
        self.read(packet, 0)
    }

    fn destination(&self, packet: &[u8]) -> Option<Endpoint> {
        self.read(packet, 1)
    }

    fn set_source(&self, packet: &mut [u8], to: Endpoint, unfinished: bool) {
        self.write(packet, 0, to, unfinished);
    }

    fn set_destination(&self, packet: &mut [u8], to: Endpoint, unfinished: bool) {
        self.write(packet, 1, to, unfinished);
    }

    fn read(&self, packet: &[u8], which: usize) -> Option<Endpoint> {
        let address = packet.get(self.addresses_at + which * self.address_len..)?;
        let address = match self.address_len {
            4 => IpAddr::from(*address.first_chunk::<4>()?),
            _ => IpAddr::from(*address.first_chunk::<16>()?),
        };
        let port = packet.get(self.ports_at + which * 2..)?.first_chunk::<2>()?;
        Some((address, u16::from_be_bytes(*port)))
    }

    fn write(&self, packet: &mut [u8], which: usize, to: Endpoint, unfinished: bool) {
        let mut old = [0; 16];
        let mut new = [0; 16];
        match to.0 {
            IpAddr::V4(v4) => new[..4].copy_from_slice(&v4.octets()),
            IpAddr::V6(v6) => new = v6.octets(),
        }
        let (old, new) = (&mut old[..self.address_len], &new[..self.address_len]);
        let place = self.addresses_at + which * self.address_len;
        old.copy_from_slice(&packet[place..place + self.address_len]);
        packet[place..place + self.address_len].copy_from_slice(new);
        if self.address_len == 4 {
            // The sum over the IPv4 header is always finished.
            checksum::amend(&mut packet[10..12], old, new, false);
        }
        let place = self.ports_at + which * 2;
        let old_port = [packet[place], packet[place + 1]];
        let new_port = to.1.to_be_bytes();
        packet[place..place + 2].copy_from_slice(&new_port);
        let field = self.checksum_at..self.checksum_at + 2;
        let absent = self.protocol == 17 && !unfinished && packet[field.clone()] == [0, 0];
        if absent {
            return;
        }
        checksum::amend(&mut packet[field.clone()], old, new, unfinished);
        if !unfinished {
            checksum::amend(&mut packet[field.clone()], &old_port, &new_port, false);
            if self.protocol == 17 && packet[field.clone()] == [0, 0] {
                packet[field].fill(0xff);
            }
        }
    }
}

#[cfg(test)]
mod tests;
