//! What a host sent of each flow, packet by packet: for whoever asks how a path is shared.

use super::{Failure, Packet, Speech, World};
use crate::report::Report;
use crate::scenario::{Scenario, Side};
use farhaul_proto::ids::{FlowId, ObjectId};
use farhaul_proto::session::PlanBody;
use farhaul_proto::units::{Bytes, Timestamp};

/// A packet with a symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When it left.
    pub at: Timestamp,
    /// What it belongs to.
    pub flow: FlowId,
    /// Of it.
    pub object: ObjectId,
    /// Its size at IP level.
    pub bytes: Bytes,
}

/// Plays a scenario to its end, and tells every symbol that the first host sent, in order.
///
/// # Errors
/// As [`super::run`].
pub fn run_watched(scenario: &Scenario) -> Result<(Report, Vec<Sent>), Failure> {
    let mut world = World::new(scenario.clone(), Speech::Silent);
    world.watch = Some(Vec::new());
    let world = world.play_to_end()?;
    let report = world.summary();
    Ok((report, world.watch.unwrap_or_default()))
}

impl World {
    pub(super) fn watch(&mut self, side: Side, packet: &Packet) {
        let (Some(watch), Side::A) = (&mut self.watch, side) else { return };
        let PlanBody::Symbol { data, .. } = packet.body else { return };
        let sender = self.hosts[side.index()].session.sender();
        let Some(object) = sender.object_of(data.block) else { return };
        let flows = &self.scenario.hosts[side.index()].flows;
        let flow = flows.get(&object).copied().unwrap_or_default();
        watch.push(Sent { at: self.now, flow, object, bytes: packet.bytes });
    }
}
