//! A flight record of a run, by the product's own recorder: the first host that sends.

use crate::host::Host;
use crate::scenario::{Scenario, Side};
use farhaul_proto::congestion::Bounds;
use farhaul_proto::trace::TraceRecord;
use farhaul_proto::trace::flight::{
    Flight, FlightHeader, FlightLine, Recorder, Role, SAMPLE_US, VERSION,
};
use farhaul_proto::units::{BitRate, Timestamp};

/// See the module.
pub(super) struct Record {
    side: Side,
    recorder: Recorder,
    flight: Flight,
}

/// The head of every record that the simulator writes.
pub(crate) fn header(title: String, policy: &str, bounds: Bounds) -> FlightHeader {
    FlightHeader {
        farhaul_flight: VERSION,
        agent: concat!("farhaul-sim ", env!("CARGO_PKG_VERSION")).to_owned(),
        role: Role::Simulated,
        site: "a".to_owned(),
        peer: "b".to_owned(),
        title,
        // Virtual time: there is no wall clock.
        started_unix_us: 0,
        policy: policy.to_owned(),
        cap_bps: bounds.cap().map(BitRate::get),
        floor_bps: bounds.floor().map(BitRate::get),
        sample_us: SAMPLE_US,
    }
}

impl Record {
    pub(super) fn new(scenario: &Scenario, hosts: &[Host; 2]) -> Self {
        let side = if scenario.loads[0].is_empty() { Side::B } else { Side::A };
        let profile = &scenario.hosts[side.index()];
        let title = format!("{} (seed {})", scenario.name, scenario.seed);
        let header = header(title, profile.policy.name(), profile.bounds);
        let session = &hosts[side.index()].session;
        let recorder = Recorder::new(session, Timestamp::ZERO, Timestamp::ZERO);
        let flight = Flight { header, samples: Vec::new(), events: Vec::new() };
        Self { side, recorder, flight }
    }

    pub(super) fn note(&mut self, side: Side, record: &TraceRecord) {
        if side == self.side
            && let Some(FlightLine::Event(event)) = self.recorder.event(record)
        {
            self.flight.events.push(event);
        }
    }

    pub(super) fn look(&mut self, side: Side, host: &Host, now: Timestamp) {
        if side == self.side
            && let Some(FlightLine::Sample(sample)) = self.recorder.sample(&host.session, now)
        {
            self.flight.samples.push(sample);
        }
    }

    pub(super) fn finish(self) -> Flight {
        self.flight
    }
}
