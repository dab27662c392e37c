//! A record as columns: samples that lie closer than a picture can show are one.

use farhaul_proto::trace::flight::{Flight, FlightSample, What};
use farhaul_proto::trace::{Limit, Spent, longest};
use std::time::Duration;

/// Columns of a picture at most.
const COLUMNS_MAX: usize = 1000;
/// A pause of so many microseconds between samples is a gap.
const GAP_US: u64 = 500_000;

/// What was measured over one span of time. Times in seconds, rates in bits per second, delays in
/// milliseconds, shares in percent; `None` where it is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Column {
    pub(super) from: f64,
    pub(super) until: f64,
    pub(super) sent: f64,
    pub(super) delivered: f64,
    pub(super) arrived: f64,
    pub(super) written: f64,
    pub(super) wanted: Option<f64>,
    pub(super) ceiling: Option<f64>,
    pub(super) capacity: Option<f64>,
    pub(super) rtt: Option<f64>,
    pub(super) base_rtt: Option<f64>,
    pub(super) lost: Option<f64>,
    pub(super) again: Option<f64>,
    pub(super) redundant: Option<f64>,
    pub(super) limit: Option<Limit>,
    /// Nothing was measured for a while before it.
    pub(super) after_gap: bool,
}

/// The columns of a record, and what each limit added up to.
pub(super) fn columns(flight: &Flight) -> (Vec<Column>, Spent) {
    let width = (flight.end_us() / COLUMNS_MAX as u64).max(1);
    let mut columns = Vec::new();
    let mut spent = Spent::default();
    let mut group: Vec<&FlightSample> = Vec::new();
    for sample in &flight.samples {
        if let Some(limit) = sample.limit {
            spent[limit as usize] += Duration::from_micros(sample.span_us);
        }
        let begins = sample.at_us.saturating_sub(sample.span_us);
        let full = group.first().is_some_and(|first| {
            let gap = group.last().is_some_and(|last| begins > last.at_us + GAP_US);
            gap || sample.at_us.saturating_sub(first.at_us.saturating_sub(first.span_us)) > width
        });
        if full {
            columns.push(column(&group, columns.last()));
            group.clear();
        }
        group.push(sample);
    }
    if !group.is_empty() {
        columns.push(column(&group, columns.last()));
    }
    (columns, spent)
}

#[expect(clippy::cast_precision_loss, reason = "a record has no number beyond 2^53")]
fn column(group: &[&FlightSample], before: Option<&Column>) -> Column {
    let sum = |of: &dyn Fn(&FlightSample) -> u64| group.iter().map(|s| of(s)).sum::<u64>() as f64;
    let span = sum(&|s| s.span_us).max(1.0) / 1e6;
    let rate = |of: &dyn Fn(&FlightSample) -> u64| sum(of) * 8.0 / span;
    let last = |of: &dyn Fn(&FlightSample) -> Option<u64>| {
        group.iter().rev().find_map(|s| of(s)).map(|value| value as f64)
    };
    let some = |value: u64| (value > 0).then_some(value);
    let settled = sum(&|s| s.acked + s.lost);
    let share = |count: f64, of: f64| (of > 0.0).then(|| (count / of * 100.0).min(100.0));
    let mut limits = Spent::default();
    for sample in group {
        if let Some(limit) = sample.limit {
            limits[limit as usize] += Duration::from_micros(sample.span_us);
        }
    }
    let from = group.first().map_or(0, |s| s.at_us.saturating_sub(s.span_us)) as f64 / 1e6;
    let packets = sum(&|s| s.arrived) / 1473.0;
    Column {
        from,
        until: group.last().map_or(0, |s| s.at_us) as f64 / 1e6,
        sent: rate(&|s| s.sent),
        delivered: rate(&|s| s.delivered),
        arrived: rate(&|s| s.arrived),
        written: rate(&|s| s.written),
        wanted: last(&|s| some(s.rate_bps)),
        ceiling: last(&|s| s.ceiling_bps),
        capacity: last(&|s| s.capacity_bps),
        rtt: group.iter().filter_map(|s| some(s.rtt_us)).max().map(|us| us as f64 / 1e3),
        base_rtt: last(&|s| some(s.base_rtt_us)).map(|us| us / 1e3),
        lost: share(sum(&|s| s.lost), settled),
        again: share(sum(&|s| s.repair + s.resent), settled),
        redundant: share(sum(&|s| s.redundant), packets),
        limit: longest(&limits),
        after_gap: before.is_some_and(|before| from > before.until + GAP_US as f64 / 1e6),
    }
}

/// Round trips in milliseconds, and losses in percent, that a sender told, by second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ToldPoint {
    pub(super) at: f64,
    pub(super) rtt: f64,
    pub(super) base_rtt: f64,
    pub(super) lost: f64,
}

/// What the sender of requested files told.
#[expect(clippy::cast_precision_loss, reason = "times and shares, for display")]
pub(super) fn told(flight: &Flight) -> Vec<ToldPoint> {
    let points = flight.events.iter().filter_map(|event| match event.what {
        What::Told { loss_ppm, rtt_us, base_rtt_us, .. } => Some(ToldPoint {
            at: event.at_us as f64 / 1e6,
            rtt: rtt_us as f64 / 1e3,
            base_rtt: base_rtt_us as f64 / 1e3,
            lost: loss_ppm as f64 / 1e4,
        }),
        _ => None,
    });
    points.collect()
}

/// Times, in seconds, in which no report came.
#[expect(clippy::cast_precision_loss, reason = "times, for display")]
pub(super) fn silences(flight: &Flight) -> Vec<(f64, f64)> {
    let (mut silences, mut since) = (Vec::new(), None);
    for event in &flight.events {
        match event.what {
            What::Silent {} => since = Some(event.at_us),
            What::Restored { .. } => {
                silences.extend(since.take().map(|from| (from, event.at_us)));
            }
            _ => {}
        }
    }
    silences.extend(since.map(|from| (from, flight.end_us())));
    silences.into_iter().map(|(from, until)| (from as f64 / 1e6, until as f64 / 1e6)).collect()
}
