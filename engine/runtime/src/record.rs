//! The flight recorder's pen: lines from the driver, over a bounded queue, into a file.
//!
//! The format is [`farhaul_proto::trace::flight`]. The driver hands over lines of fixed size and
//! never waits: what finds no room is counted, and the record says how many lines it lacks. A
//! thread of its own writes. Nobody who does not record pays for it.

mod folder;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use farhaul_proto::trace::flight::{
    FlightEvent, FlightHeader, FlightLine, LINE_MAX, LINES_MAX, What, encode_line,
};
use farhaul_proto::units::Bytes;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use folder::{FOLDER_FILES_MAX, FOLDER_MAX, FlightFolder};

/// Lines waiting for the file: some seconds' worth.
const QUEUE_MAX: usize = 1024;
/// A record grows no longer than this.
pub const FILE_MAX: Bytes = Bytes::mib(64);
/// How often what was written is given to the system.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How long the last lines may take to get into the file.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// Where the lines of a record go. The record ends when all of them are gone.
#[derive(Clone, Debug)]
pub struct FlightPen {
    lines: Sender<FlightLine>,
}

impl FlightPen {
    /// Hands a line over; false when there is no room for it.
    pub fn write(&self, line: FlightLine) -> bool {
        self.lines.try_send(line).is_ok()
    }
}

/// A record that is being written.
#[derive(Debug)]
pub struct FlightFile {
    path: PathBuf,
    thread: JoinHandle<io::Result<()>>,
    ended: Receiver<()>,
}

impl FlightFile {
    /// Begins a record in `path`, in place of whatever was there.
    ///
    /// # Errors
    /// What opening and writing the file says, or starting a thread.
    pub fn create(path: &Path, header: &FlightHeader) -> io::Result<(FlightPen, Self)> {
        Self::begin(path, File::create(path)?, header)
    }

    fn begin(path: &Path, file: File, header: &FlightHeader) -> io::Result<(FlightPen, Self)> {
        let mut first = Vec::with_capacity(LINE_MAX);
        encode_line(header, &mut first);
        let mut out = BufWriter::new(file);
        out.write_all(&first)?;
        out.flush()?;
        let (lines, queue) = bounded(QUEUE_MAX);
        let (ending, ended) = bounded(1);
        let mut sheet =
            Sheet { out, text: first, at_us: 0, began_us: 0, lines: 1, bytes: 0, missing: 0 };
        let run = move || {
            let written = sheet.write_all(&queue);
            let _ = ending.send(());
            written
        };
        let thread = std::thread::Builder::new().name("flight".to_owned()).spawn(run)?;
        Ok((FlightPen { lines }, Self { path: path.to_owned(), thread, ended }))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until everything is in the file, once all pens are gone.
    ///
    /// # Errors
    /// The first failure of writing; `TimedOut` when the last lines do not come.
    pub fn finish(self) -> io::Result<()> {
        if self.ended.recv_timeout(FINISH_MAX).is_err() && !self.thread.is_finished() {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the record did not end"));
        }
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))
    }
}

/// The wall clock for a header, in microseconds since 1970.
pub fn unix_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The writing end.
struct Sheet {
    out: BufWriter<File>,
    /// The line that is being made, in memory that is used again.
    text: Vec<u8>,
    /// Of the newest line: lines of two writers may cross.
    at_us: u64,
    /// When the session began whose lines come now.
    began_us: u64,
    lines: usize,
    bytes: u64,
    /// Lines for which the file had no room.
    missing: u64,
}

impl Sheet {
    fn write_all(&mut self, queue: &Receiver<FlightLine>) -> io::Result<()> {
        loop {
            match queue.recv_timeout(FLUSH_EVERY) {
                Ok(line) => self.write(line)?,
                Err(RecvTimeoutError::Timeout) => self.out.flush()?,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if self.missing > 0 {
            let what = What::Missing { lines: self.missing };
            self.put(&FlightLine::Event(FlightEvent { at_us: self.at_us, what }))?;
        }
        self.out.flush()
    }

    fn write(&mut self, mut line: FlightLine) -> io::Result<()> {
        // The last line may say that others are missing.
        let room = Bytes::new(self.bytes + 2 * LINE_MAX as u64) <= FILE_MAX;
        if !room || self.lines + 1 >= LINES_MAX {
            self.missing += 1;
            return Ok(());
        }
        // A transfer that goes on in another session begins at zero again.
        let what = if let FlightLine::Event(event) = &line { Some(&event.what) } else { None };
        if matches!(what, Some(What::Started { .. })) {
            self.began_us = self.at_us;
        }
        let told = matches!(what, Some(What::Told { .. }));
        let at_us = line.at_us().saturating_add(if told { 0 } else { self.began_us });
        self.at_us = self.at_us.max(at_us);
        line.set_at_us(self.at_us);
        self.put(&line)
    }

    fn put(&mut self, line: &FlightLine) -> io::Result<()> {
        self.text.clear();
        encode_line(line, &mut self.text);
        self.lines += 1;
        self.bytes += self.text.len() as u64;
        self.out.write_all(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::trace::flight::{Flight, FlightSample, Role, SAMPLE_US, VERSION};

    pub(super) fn header() -> FlightHeader {
        FlightHeader {
            farhaul_flight: VERSION,
            agent: "test".to_owned(),
            role: Role::Sender,
            site: String::new(),
            peer: String::new(),
            title: String::new(),
            started_unix_us: unix_us(),
            policy: "fair".to_owned(),
            cap_bps: None,
            floor_bps: None,
            sample_us: SAMPLE_US,
        }
    }

    fn sample(at_us: u64) -> FlightLine {
        FlightLine::Sample(FlightSample { at_us, ..FlightSample::default() })
    }

    #[test]
    fn what_is_recorded_is_in_the_file_in_the_order_of_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.flight");
        let (pen, file) = FlightFile::create(&path, &header()).unwrap();
        let other = pen.clone();
        for at in [1, 5, 3, 9] {
            assert!(pen.write(sample(at)));
        }
        drop((pen, other));
        file.finish().unwrap();
        let flight = Flight::parse(&std::fs::read(&path).unwrap()).unwrap();
        let times: Vec<u64> = flight.samples.iter().map(|sample| sample.at_us).collect();
        assert_eq!(times, [1, 5, 5, 9]);
    }

    #[test]
    fn a_second_session_goes_on_where_the_first_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.flight");
        let (pen, file) = FlightFile::create(&path, &header()).unwrap();
        let begins = What::Started {
            policy: "fair".into(),
            cap_bps: None,
            floor_bps: None,
            hint_bps: None,
            initial_rtt_us: 1,
        };
        for _ in 0..2 {
            let event = FlightEvent { at_us: 0, what: begins.clone() };
            assert!(pen.write(FlightLine::Event(event)));
            assert!(pen.write(sample(100)) && pen.write(sample(200)));
        }
        drop(pen);
        file.finish().unwrap();
        let flight = Flight::parse(&std::fs::read(&path).unwrap()).unwrap();
        let times: Vec<u64> = flight.samples.iter().map(|sample| sample.at_us).collect();
        assert_eq!(times, [100, 200, 300, 400]);
    }

    #[test]
    fn a_full_record_says_what_is_missing_and_stays_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.flight");
        let file = File::create(&path).unwrap();
        let mut out = BufWriter::new(file);
        let mut text = Vec::new();
        encode_line(&header(), &mut text);
        out.write_all(&text).unwrap();
        let bytes = FILE_MAX.get() - 3 * LINE_MAX as u64;
        let mut sheet = Sheet { out, text, at_us: 0, began_us: 0, lines: 1, bytes, missing: 0 };
        let (lines, queue) = bounded(QUEUE_MAX);
        for at in 0..100 {
            lines.send(sample(at)).unwrap();
        }
        drop(lines);
        sheet.write_all(&queue).unwrap();
        let flight = Flight::parse(&std::fs::read(&path).unwrap()).unwrap();
        let What::Missing { lines } = flight.events.last().unwrap().what else { panic!() };
        assert_eq!(flight.samples.len() as u64 + lines, 100);
        assert!(lines > 50, "{lines}");
    }
}
