//! The progress line: how much, how fast, how long yet, what the link does, what limits.

use super::args::TransferArgs;
use super::text;
use super::traffic::Carriers;
use farhaul_engine::net::Traffics;
use farhaul_engine::transfer::{PROGRESS_EVERY, Progress};
use farhaul_proto::trace::Limit;
use farhaul_proto::units::{BitRate, Bytes};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The rate shown is that of the last seconds.
const RATE_WINDOW: Duration = Duration::from_secs(3);
/// How often a line is written where it cannot be drawn over.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// How often a JSON object tells progress.
const JSON_EVERY: Duration = Duration::from_secs(1);

/// Whom progress is shown to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    People,
    Programs,
    Nobody,
}

impl Shown {
    pub(super) const fn of(args: &TransferArgs) -> Self {
        if args.json_progress {
            Self::Programs
        } else if args.quiet || args.json {
            Self::Nobody
        } else {
            Self::People
        }
    }
}

/// Shows progress until the sender of it is gone: on standard error a line that is drawn over
/// and over on a terminal, and one now and then elsewhere; on standard output objects for
/// programs.
pub(super) async fn show(
    mut progress: watch::Receiver<Progress>,
    label: String,
    shown: Shown,
    traffic: impl Fn() -> Traffics,
) {
    let screen = Screen::of(&label, shown);
    let mut meter = RateMeter::default();
    let begun = Instant::now();
    let mut told = begun;
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        let rate = meter.update(now.bytes_done);
        match &screen {
            Screen::Bar(bar) => {
                bar.set_length(now.bytes_total.get().max(1));
                bar.set_position(now.bytes_done.get().min(now.bytes_total.get()));
                bar.set_message(describe(&now, rate));
            }
            Screen::Lines if told.elapsed() >= LINE_EVERY => {
                told = Instant::now();
                text::complain(format_args!("{label}: {}", describe(&now, rate)));
            }
            Screen::Json if told.elapsed() >= JSON_EVERY => {
                told = Instant::now();
                tell_json(&Told::new(&now, rate, begun.elapsed(), traffic()));
            }
            Screen::Lines | Screen::Json | Screen::Nothing => {}
        }
        tokio::time::sleep(PROGRESS_EVERY / 2).await;
    }
    if let Screen::Bar(bar) = screen {
        bar.finish_and_clear();
    }
}

/// How progress is shown.
enum Screen {
    /// On a terminal.
    Bar(ProgressBar),
    /// In a file or a pipe: plain lines.
    Lines,
    /// For programs.
    Json,
    Nothing,
}

impl Screen {
    fn of(label: &str, shown: Shown) -> Self {
        match shown {
            Shown::People => {}
            Shown::Programs => return Self::Json,
            Shown::Nobody => return Self::Nothing,
        }
        if !std::io::stderr().is_terminal() {
            return Self::Lines;
        }
        // A length of nothing would be shown as done.
        let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
        // What does not fit into the line is cut off: a line that wraps cannot be drawn over.
        let template = "{prefix} [{bar:12}] {percent:>3}% {wide_msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label.to_owned());
        Self::Bar(bar)
    }
}

/// A line of `--json-progress`; its fields are a contract, new ones may be added.
#[derive(Debug, Serialize)]
struct Told {
    progress: bool,
    seconds: f64,
    bytes_done: u64,
    bytes_total: u64,
    rate_bps: u64,
    rtt_ms: Option<f64>,
    loss_ratio: Option<f64>,
    limited_by: &'static str,
    carriers: Carriers,
}

impl Told {
    fn new(progress: &Progress, rate: BitRate, since: Duration, traffic: Traffics) -> Self {
        let figures = progress.figures.as_ref();
        Self {
            progress: true,
            seconds: since.as_secs_f64(),
            bytes_done: progress.bytes_done.get(),
            bytes_total: progress.bytes_total.get(),
            rate_bps: rate.get(),
            rtt_ms: figures.map(|figures| figures.rtt.as_secs_f64() * 1e3),
            loss_ratio: figures.map(|figures| figures.loss.get()),
            limited_by: figures.and_then(|f| f.limited_by).map_or("nothing", Limit::name),
            carriers: traffic.into(),
        }
    }
}

fn tell_json(told: &Told) {
    // Numbers and names are always JSON.
    if let Ok(line) = serde_json::to_string(told) {
        text::tell(line);
    }
}

/// What matters most first: on a narrow terminal the end is cut off.
fn describe(progress: &Progress, rate: BitRate) -> String {
    let left = progress.bytes_total.saturating_sub(progress.bytes_done);
    let mut line = rate.to_string();
    if rate > BitRate::ZERO {
        let _ = write!(line, " ETA {}", span(left.time_at(rate)));
    }
    if let Some(limit) = progress.figures.as_ref().and_then(|figures| figures.limited_by) {
        let _ = write!(line, " limit: {}", limit.name());
    }
    let _ = write!(line, " {} of {}", progress.bytes_done, progress.bytes_total);
    if let Some(figures) = &progress.figures {
        let (rtt, lost) = (figures.rtt.as_millis(), figures.loss.get() * 100.0);
        let _ = write!(line, " rtt {rtt} ms loss {lost:.1}%");
    }
    line
}

/// Minutes and seconds, with hours and days where there are any.
pub(super) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}:{seconds:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{seconds:02}"),
        _ => format!("{days}d {hours}h"),
    }
}

/// Bytes over the last few seconds.
#[derive(Default)]
struct RateMeter {
    points: VecDeque<(Instant, Bytes)>,
}

impl RateMeter {
    fn update(&mut self, done: Bytes) -> BitRate {
        let now = Instant::now();
        self.points.push_back((now, done));
        while self.points.len() > 2
            && self.points.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE_WINDOW)
        {
            self.points.pop_front();
        }
        let Some(&(from, bytes)) = self.points.front() else { return BitRate::ZERO };
        let span = now.duration_since(from);
        if span < Duration::from_millis(100) {
            return BitRate::ZERO;
        }
        done.saturating_sub(bytes).rate_over(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_engine::transfer::Figures;
    use farhaul_proto::units::Ratio;

    #[test]
    fn the_line_has_rate_eta_loss_and_what_limits() {
        let figures = Figures {
            wire_sent: Bytes::ZERO,
            source: 0,
            repair: 0,
            resent: 0,
            loss: Ratio::new(0.015),
            rtt: Duration::from_millis(200),
            rtt_min: Duration::ZERO,
            queue_delay_p95: Duration::ZERO,
            limited_by: Some(Limit::Link),
            limited_mostly: None,
            packed: Bytes::ZERO,
            packed_to: Bytes::ZERO,
            limited: Default::default(),
        };
        let progress = Progress {
            bytes_total: Bytes::new(3_000_000),
            bytes_done: Bytes::new(1_000_000),
            figures: Some(figures),
            ..Progress::default()
        };
        let line = describe(&progress, BitRate::mbps(8));
        let expected = "8.0 Mbit/s ETA 0:02 limit: link 976.6 KiB of 2.9 MiB rtt 200 ms loss 1.5%";
        assert_eq!(line, expected);
    }

    #[test]
    fn spans_grow_units_as_needed() {
        assert_eq!(span(Duration::from_secs(65)), "1:05");
        assert_eq!(span(Duration::from_secs(3 * 3600 + 62)), "3:01:02");
        assert_eq!(span(Duration::from_secs(90_000)), "1d 1h");
    }
}
