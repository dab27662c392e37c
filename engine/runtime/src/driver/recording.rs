//! A session that is recorded: what the core measured and wrote down, as lines for the pen.

use super::session::SessionBody;
use crate::record::FlightPen;
use farhaul_proto::trace::TraceRecord;
use farhaul_proto::trace::flight::{FlightEvent, FlightLine, Recorder, What};
use farhaul_proto::units::Timestamp;

/// See the module.
pub(super) struct Recording {
    recorder: Recorder,
    pen: FlightPen,
    /// Lines that found no room since that was last told, and when the newest was.
    missing: u64,
    missing_at_us: u64,
}

impl Recording {
    fn write(&mut self, line: Option<FlightLine>) {
        let Some(line) = line else { return };
        let at_us = line.at_us();
        if self.missing > 0 {
            let what = What::Missing { lines: self.missing };
            let event = FlightEvent { at_us: self.missing_at_us, what };
            if self.pen.write(FlightLine::Event(event)) {
                self.missing = 0;
            }
        }
        if self.missing > 0 || !self.pen.write(line) {
            self.missing += 1;
            self.missing_at_us = at_us;
        }
    }

    pub(super) fn take(&mut self, record: &TraceRecord) {
        let line = self.recorder.event(record);
        self.write(line);
    }
}

impl SessionBody {
    /// From now on the session is recorded; what it wrote down already begins the record.
    pub(super) fn begin_recording(&mut self, pen: FlightPen, now: Timestamp) {
        let recorder = Recorder::new(&self.core, self.began, now);
        let mut recording = Recording { recorder, pen, missing: 0, missing_at_us: 0 };
        for record in self.flight.records() {
            recording.take(record);
        }
        self.recording = Some(Box::new(recording));
    }

    /// Measures, if the session is recorded and it is time to.
    pub(super) fn record(&mut self, now: Timestamp) {
        if let Some(recording) = &mut self.recording {
            let line = recording.recorder.sample(&self.core, now);
            recording.write(line);
        }
    }

    /// The last measurements of a record.
    pub(super) fn end_recording(&mut self, now: Timestamp) {
        if let Some(recording) = &mut self.recording {
            let line = recording.recorder.last_sample(&self.core, now);
            recording.write(line);
        }
    }
}
