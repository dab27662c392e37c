//! The end of a run: the last checks, and what it came to.

use super::World;
use crate::check::{End, Violation, same};
use crate::profile::Loss;
use crate::report::{Direction, Report};
use crate::scenario::Side;
use core::time::Duration;
use farhaul_proto::limits::SYMBOL_SIZE;
use farhaul_proto::path::mtu::packet_bytes;
use farhaul_proto::units::{BitRate, Timestamp};

impl World {
    /// Rules that hold when everything is over and the farewells are said.
    pub(super) fn check_end(&self) -> Result<(), Violation> {
        for side in Side::BOTH {
            let host = &self.hosts[side.index()];
            host.check_end()?;
            let packets = host.tally.packets - self.packets_at_end[side.index()];
            if self.farewell_said && packets > 0 {
                return Err(Violation::NotSilent { side, packets });
            }
            let truth = &self.truths[side.index()];
            let complete = truth.objects.values().filter(|o| o.target_end == Some(End::Complete));
            let (written, placed) = complete.fold((0, 0), |(written, placed), object| {
                (written + object.written.len() as u64, placed + u64::from(object.placed_at_target))
            });
            same(side.peer(), "blocks written", written, placed)?;
        }
        Ok(())
    }

    pub(super) fn summary(&self) -> Report {
        let objects = self.truths.iter().flat_map(|truth| truth.objects.values());
        let (mut abandoned, mut all) = (0, 0);
        for object in objects {
            all += 1;
            abandoned += usize::from(object.target_end == Some(End::Abandoned));
        }
        let over = self.over_since.unwrap_or(self.now);
        Report {
            name: self.scenario.name.clone(),
            seed: self.scenario.seed,
            directions: [self.direction(Side::A), self.direction(Side::B)],
            carried: Side::BOTH.map(|side| self.carried(side)),
            packets: self.hosts[0].tally.packets + self.hosts[1].tally.packets,
            abandoned: (abandoned, all),
            elapsed: over.since(Timestamp::ZERO),
            events: self.trace.events,
            hash: self.trace.hash(),
        }
    }

    fn carried(&self, source: Side) -> Vec<Duration> {
        let objects = self.truths[source.index()].objects.values();
        objects.filter_map(|object| Some(object.target_end_at?.since(object.source_at?))).collect()
    }

    fn direction(&self, source: Side) -> Direction {
        let (host, target) = (&self.hosts[source.index()], &self.hosts[source.peer().index()]);
        let truth = &self.truths[source.index()];
        let began = self.scenario.loads[source.index()].iter().map(|load| load.at).min();
        let (counters, sent) = (host.session.counters(), host.session.sender().counters());
        Direction {
            bytes: target.session.receiver().counters().written,
            elapsed: truth.last_byte.since(began.unwrap_or_default()),
            tail: truth.last_byte.since(truth.first_pass_end),
            limit: self.limit(source),
            rate: self.scenario.links[source.index()].rate.unwrap_or_default(),
            wire: host.tally.wire,
            queue_p95: self.links[source.index()].stats().queue.p95(),
            data_packets: host.tally.data_packets,
            needed: truth.needed,
            repair: sent.repair,
            resent: sent.resent,
            redundant: target.session.receiver().counters().redundant,
            refused: target.session.receiver().counters().refused,
            symbol_size: truth.symbol_size,
            spurious: counters.packets_spurious,
            rounds: truth.rounds_max,
            stall: truth.stall,
            coded: (host.tally.encodes, target.tally.decodes),
            limited: *host.session.limits().spent(),
            buffers: (host.buffers_most().0, target.buffers_most().1),
        }
    }

    /// G*: capacity, less random loss, less headers.
    fn limit(&self, source: Side) -> BitRate {
        let link = &self.scenario.links[source.index()];
        let loss = match link.loss {
            Loss::None => 0.0,
            Loss::Bernoulli(share) | Loss::GilbertElliott { mean: share, .. } => share.get(),
        };
        let share = f64::from(SYMBOL_SIZE) / f64::from(wire_size());
        link.rate.map_or(BitRate::ZERO, |rate| rate.mul_f64((1.0 - loss) * share))
    }
}

fn wire_size() -> u32 {
    u32::try_from(packet_bytes(SYMBOL_SIZE).get()).unwrap_or(u32::MAX)
}
