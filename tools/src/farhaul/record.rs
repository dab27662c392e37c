//! `--record` and `--record-dir`: which sessions are recorded, and what stands at the head of a
//! record.

use super::failure::{self, Failure};
use super::text;
use farhaul_engine::engine::{SessionHandle, SessionOptions};
use farhaul_engine::identity::SiteId;
use farhaul_engine::record::{FlightFile, FlightFolder, FlightPen, unix_us};
use farhaul_engine::transfer::Progress;
use farhaul_proto::trace::flight::{
    FlightEvent, FlightHeader, FlightLine, Role, SAMPLE_US, TEXT_MAX, VERSION, What,
};
use farhaul_proto::units::BitRate;
use farhaul_proto::wire::control::misleads;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often what the sender told of a `get` is written down.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// Who carries what.
pub(super) struct Named<'a> {
    pub(super) role: Role,
    pub(super) title: &'a str,
    pub(super) site: SiteId,
    pub(super) peer: SiteId,
}

/// A record of this command's transfer.
pub(super) struct Recording {
    pub(super) pen: FlightPen,
    file: FlightFile,
}

/// Begins a record in `path`.
pub(super) fn begin(
    path: &Path,
    named: &Named<'_>,
    options: SessionOptions,
) -> Result<Recording, Failure> {
    let begun = FlightFile::create(path, &header(named, options));
    let (pen, file) = begun.map_err(|error| failure::disk(path.display(), &error))?;
    Ok(Recording { pen, file })
}

impl Recording {
    /// Waits for the last lines. A transfer that is done is not undone by its record.
    pub(super) fn end(self) {
        let Self { pen, file } = self;
        drop(pen);
        let path = file.path().to_owned();
        if let Err(error) = file.finish() {
            let path = path.display();
            text::complain(format_args!("farhaul: the record {path} is not whole: {error}"));
        }
    }
}

/// Opens the directory of `--record-dir`.
pub(super) fn open(path: &Path) -> Result<FlightFolder, Failure> {
    FlightFolder::open(path).map_err(|error| failure::disk(path.display(), &error))
}

/// Records a session that a peer opened. Where that does not work, it is served all the same.
pub(super) async fn serving(
    folder: &Arc<FlightFolder>,
    session: &SessionHandle,
    (site, peer): (SiteId, SiteId),
    options: SessionOptions,
) {
    let named = Named { role: Role::Server, title: "serve", site, peer };
    let (folder, header) = (Arc::clone(folder), header(&named, options));
    let begin = move || folder.begin(&peer.to_string(), &header);
    match tokio::task::spawn_blocking(begin).await {
        // The file ends by itself with the session.
        Ok(Ok((pen, _file))) => session.record(pen),
        Ok(Err(error)) => tracing::warn!(%error, "a session is not recorded"),
        Err(error) => tracing::warn!(%error, "a session is not recorded"),
    }
}

/// Writes down what the sender tells of requested files, until nobody publishes it any more.
pub(super) async fn tell(mut progress: watch::Receiver<Progress>, pen: FlightPen) {
    let begun = Instant::now();
    let mut told: Option<Instant> = None;
    while progress.changed().await.is_ok() {
        let figures = progress.borrow_and_update().figures;
        let due = told.is_none_or(|at| at.elapsed() >= TOLD_EVERY);
        let Some(figures) = figures.filter(|_| due) else { continue };
        told = Some(Instant::now());
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 ..= 10^6")]
        let loss_ppm = (figures.loss.get() * 1e6) as u64;
        let what = What::Told {
            sent: figures.wire_sent.get(),
            loss_ppm,
            rtt_us: micros(figures.rtt),
            base_rtt_us: micros(figures.rtt_min),
            limit: figures.limited_by,
        };
        // Roughly then: the sender told it half a round trip ago.
        let event = FlightEvent { at_us: micros(begun.elapsed()), what };
        pen.write(FlightLine::Event(event));
    }
}

fn header(named: &Named<'_>, options: SessionOptions) -> FlightHeader {
    FlightHeader {
        farhaul_flight: VERSION,
        agent: concat!("farhaul ", env!("CARGO_PKG_VERSION")).to_owned(),
        role: named.role,
        site: named.site.to_string(),
        peer: named.peer.to_string(),
        title: plain(named.title),
        started_unix_us: unix_us(),
        policy: options.policy.name().to_owned(),
        cap_bps: options.bounds.cap().map(BitRate::get),
        floor_bps: options.bounds.floor().map(BitRate::get),
        sample_us: SAMPLE_US,
    }
}

/// A text that a header may hold.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in text.chars().map(|c| if misleads(c) { '?' } else { c }) {
        if plain.len() + c.len_utf8() > TEXT_MAX {
            break;
        }
        plain.push(c);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_cut_to_what_a_header_holds_and_steers_nothing() {
        let long = plain(&"ä".repeat(TEXT_MAX));
        assert_eq!(long.len(), TEXT_MAX);
        assert_eq!(plain("a\u{1b}[2J"), "a?[2J");
    }
}
