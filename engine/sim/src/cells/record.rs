//! What a flow of a cell did, as a flight record. A bin of the cell is a sample; what a sender
//! without a session does not know (losses, bytes in flight, what limits) is left out.

use super::{Cell, Outcome};
use crate::world::record::header;
use farhaul_proto::congestion::Bounds;
use farhaul_proto::trace::flight::{Flight, FlightSample};
use farhaul_proto::units::{BitRate, Bytes};

/// The record of the flow at that place; empty where there is none.
pub fn flight(cell: &Cell, seed: u64, outcome: &Outcome, flow: usize) -> Flight {
    let spec = cell.flows.get(flow);
    let policy = spec.map(|spec| spec.policy).unwrap_or_default();
    let title = format!("{}: {}, flow {flow} (seed {seed})", cell.section, cell.name);
    let header = header(title, policy.name(), spec.map_or(Bounds::FREE, |spec| spec.bounds));
    let mut samples = Vec::new();
    if let Some(flow) = outcome.flows.get(flow) {
        let bin_us = micros(outcome.bin);
        for (at, view) in &flow.views {
            let begins = micros(*at);
            let bin = usize::try_from(begins / bin_us.max(1)).unwrap_or(usize::MAX);
            let of = |bins: &[Bytes]| bins.get(bin).map_or(0, |bytes| bytes.get());
            samples.push(FlightSample {
                at_us: begins + bin_us,
                span_us: bin_us,
                sent: of(&flow.sent),
                delivered: of(&flow.received),
                rtt_us: micros(view.rtt_min + view.queue_delay),
                base_rtt_us: micros(view.rtt_min),
                queue_us: micros(view.queue_delay),
                rate_bps: view.rate.get(),
                ceiling_bps: view.ceiling.map(BitRate::get),
                capacity_bps: view.capacity.map(BitRate::get),
                phase: view.phase.into(),
                ..FlightSample::default()
            });
        }
    }
    Flight { header, samples, events: Vec::new() }
}

fn micros(span: core::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
