//! The progress line: how much, how fast, how long yet, what the link does, what limits.

use farhaul_engine::transfer::{PROGRESS_EVERY, Progress};
use farhaul_proto::units::{BitRate, Bytes, Ratio};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The rate shown is that of the last seconds.
const RATE_WINDOW: Duration = Duration::from_secs(3);

/// Draws progress until the sender of it is gone.
pub(super) async fn show(mut progress: watch::Receiver<Progress>, label: String, quiet: bool) {
    let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:24}] {percent:>3}% {msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(label);
    let mut meter = RateMeter::default();
    while progress.changed().await.is_ok() {
        let now = progress.borrow_and_update().clone();
        bar.set_length(now.bytes_total.get().max(1));
        bar.set_position(now.bytes_done.get().min(now.bytes_total.get()));
        let rate = meter.update(now.bytes_done);
        bar.set_message(describe(&now, rate));
        tokio::time::sleep(PROGRESS_EVERY / 2).await;
    }
    bar.finish_and_clear();
}

fn describe(progress: &Progress, rate: BitRate) -> String {
    let left = progress.bytes_total.saturating_sub(progress.bytes_done);
    let mut line = format!("{} of {} {rate}", progress.bytes_done, progress.bytes_total);
    if rate > BitRate::ZERO {
        line.push_str(&format!(" ETA {}", span(left.time_at(rate))));
    }
    if let Some(stats) = &progress.stats {
        let lost = stats.counters.loss();
        line.push_str(&format!(" rtt {} ms", stats.rtt.as_millis()));
        if lost > Ratio::ZERO {
            line.push_str(&format!(" loss {:.1}%", lost.get() * 100.0));
        }
        if let Some(limit) = stats.limited_by {
            line.push_str(&format!(" limit: {}", limit.name()));
        }
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

    #[test]
    fn spans_grow_units_as_needed() {
        assert_eq!(span(Duration::from_secs(65)), "1:05");
        assert_eq!(span(Duration::from_secs(3 * 3600 + 62)), "3:01:02");
        assert_eq!(span(Duration::from_secs(90_000)), "1d 1h");
    }
}
