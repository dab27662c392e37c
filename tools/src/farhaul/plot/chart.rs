//! The picture: three panels over one axis of time, and the band of what limited.

use super::columns::{Column, columns, silences, told};
use super::scale::{Scale, rate_unit};
use super::svg::Svg;
use farhaul_proto::trace::flight::{Flight, Role};
use farhaul_proto::trace::{Limit, Spent};
use std::time::Duration;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 64.0;
const PANEL: f64 = 190.0;
const GAP: f64 = 52.0;
const BAND: f64 = 18.0;
/// From the end of the last panel to the band, and from there to the end of the picture.
const BAND_GAP: f64 = 56.0;
const FOOT: f64 = 64.0;
const INNER: f64 = WIDTH - LEFT - RIGHT;

/// Colours that can be told apart by most eyes, and in grey.
const BLUE: &str = "#0072b2";
const ORANGE: &str = "#d55e00";
const GREEN: &str = "#009e73";
const GREY: &str = "#777777";
const BLACK: &str = "#000000";
const GRID: &str = "#dddddd";
const SILENT: &str = "#eeeeee";

/// One line of a panel.
struct Series {
    name: &'static str,
    colour: &'static str,
    dash: &'static str,
    /// Time in seconds and value; `None` is a gap.
    points: Vec<Option<(f64, f64)>>,
}

struct Panel {
    title: &'static str,
    unit: &'static str,
    class: &'static str,
    series: Vec<Series>,
}

/// Draws a record.
pub(super) fn draw(flight: &Flight) -> String {
    let (columns, spent) = columns(flight);
    let panels =
        [rate_panel(flight, &columns), delay_panel(flight, &columns), loss_panel(flight, &columns)];
    #[expect(clippy::cast_precision_loss, reason = "three panels, and a year in microseconds")]
    let (count, end) = (panels.len() as f64, flight.end_us() as f64 / 1e6);
    let bottom = TOP + count * PANEL + (count - 1.0) * GAP;
    let mut svg = Svg::new(WIDTH, bottom + BAND_GAP + BAND + FOOT);
    let time = Scale::new(end, 10.0);
    heading(&mut svg, flight, end);
    let mut top = TOP;
    for panel in &panels {
        draw_panel(&mut svg, panel, top, time, &silences(flight));
        top += PANEL + GAP;
    }
    svg.text((LEFT + INNER / 2.0, bottom + 34.0), "middle", "axis", "time, s");
    band(&mut svg, &columns, &spent, bottom + BAND_GAP, time);
    svg.finish()
}

fn heading(svg: &mut Svg, flight: &Flight, seconds: f64) {
    let header = &flight.header;
    let title = if header.title.is_empty() { "flight record" } else { &header.title };
    svg.text((LEFT, 22.0), "start", "title", title);
    let short = |site: &str| site.chars().take(12).collect::<String>();
    let bound = |word: &str, bps: Option<u64>| {
        let rate = as_f64(bps.unwrap_or(0));
        let (unit, per) = rate_unit(rate);
        bps.map_or(String::new(), |_| format!(", {word} {:.1} {unit}", rate / per))
    };
    let bounds = bound("at least", header.floor_bps) + &bound("at most", header.cap_bps);
    let line = format!(
        "{} to {}, policy {}{bounds}, {seconds:.1} s, by {}",
        short(&header.site),
        short(&header.peer),
        header.policy,
        header.agent
    );
    svg.text((LEFT, 40.0), "start", "subtitle", line);
}

#[expect(clippy::cast_precision_loss, reason = "a record has no number beyond 2^53")]
const fn as_f64(number: u64) -> f64 {
    number as f64
}

/// A line through what each column says, at its middle.
fn series(
    (name, colour, dash): (&'static str, &'static str, &'static str),
    columns: &[Column],
    of: impl Fn(&Column) -> Option<f64>,
) -> Series {
    let mut points = Vec::new();
    for column in columns {
        if column.after_gap {
            points.push(None);
        }
        points.push(of(column).map(|value| (column.from.midpoint(column.until), value)));
    }
    Series { name, colour, dash, points }
}

fn is_receiver(flight: &Flight) -> bool {
    flight.header.role == Role::Receiver
}

fn rate_panel(flight: &Flight, columns: &[Column]) -> Panel {
    let received = columns.iter().any(|column| column.arrived > column.sent);
    let mut all = if is_receiver(flight) || received {
        vec![
            series(("arrived", BLUE, ""), columns, |c| Some(c.arrived)),
            series(("written", ORANGE, "4 2"), columns, |c| Some(c.written)),
        ]
    } else {
        vec![
            series(("sent", ORANGE, ""), columns, |c| Some(c.sent)),
            series(("delivered", BLUE, ""), columns, |c| Some(c.delivered)),
            series(("wanted", BLACK, "2 2"), columns, |c| c.wanted),
            series(("ceiling", GREEN, "6 3"), columns, |c| c.ceiling),
            series(("capacity", GREY, "1 3"), columns, |c| c.capacity),
        ]
    };
    // What is wanted or believed may lie far beyond what was: it does not set the axis.
    let real = if all.len() > 2 { &all[..2] } else { &all[..] };
    let largest = real.iter().map(largest).fold(0.0, f64::max);
    let (unit, per) = rate_unit(largest);
    let room = largest * 1.5 / per;
    for point in all.iter_mut().flat_map(|series| series.points.iter_mut()) {
        *point = point.map(|(at, rate)| (at, rate / per)).filter(|&(_, rate)| rate <= room);
    }
    all.retain(|series| series.points.iter().any(Option::is_some));
    Panel { title: "Rate", unit, class: "rate", series: all }
}

fn delay_panel(flight: &Flight, columns: &[Column]) -> Panel {
    let mut all = vec![
        series(("round trip", BLUE, ""), columns, |c| c.rtt),
        series(("smallest", BLACK, "4 2"), columns, |c| c.base_rtt),
    ];
    if is_receiver(flight) {
        let told = told(flight);
        all[0].points = told.iter().map(|point| Some((point.at, point.rtt))).collect();
        all[1].points = told.iter().map(|point| Some((point.at, point.base_rtt))).collect();
    }
    Panel { title: "Delay", unit: "ms", class: "delay", series: all }
}

fn loss_panel(flight: &Flight, columns: &[Column]) -> Panel {
    let mut all = vec![
        series(("lost", ORANGE, ""), columns, |c| c.lost),
        series(("sent again or as repair", BLUE, "4 2"), columns, |c| c.again),
        series(("arrived in vain", GREY, ""), columns, |c| c.redundant),
    ];
    if is_receiver(flight) {
        all[0].name = "lost (mean so far, told by the sender)";
        all[0].points = told(flight).iter().map(|point| Some((point.at, point.lost))).collect();
    }
    all.retain(|series| series.points.iter().any(Option::is_some));
    Panel { title: "Loss and waste", unit: "% of packets", class: "loss", series: all }
}

fn largest(series: &Series) -> f64 {
    series.points.iter().flatten().map(|&(_, value)| value).fold(0.0, f64::max)
}

fn draw_panel(svg: &mut Svg, panel: &Panel, top: f64, time: Scale, silences: &[(f64, f64)]) {
    svg.begin(&format!("panel {}", panel.class));
    let value = Scale::new(panel.series.iter().map(largest).fold(0.0, f64::max), 5.0);
    let x = |at: f64| LEFT + at / time.max * INNER;
    let y = |v: f64| top + PANEL - (v / value.max).clamp(0.0, 1.0) * PANEL;
    for &(from, until) in silences {
        svg.rect((x(from), top), (x(until) - x(from), PANEL), SILENT, "silent");
    }
    svg.text((LEFT, top - 8.0), "start", "title", format!("{}, {}", panel.title, panel.unit));
    for (tick, label) in value.ticks() {
        svg.line((LEFT, y(tick)), (WIDTH - RIGHT, y(tick)), GRID, "grid");
        svg.text((LEFT - 6.0, y(tick) + 4.0), "end", "tick", label);
    }
    for (tick, label) in time.ticks() {
        svg.line((x(tick), top), (x(tick), top + PANEL), GRID, "grid");
        svg.text((x(tick), top + PANEL + 16.0), "middle", "tick", label);
    }
    svg.line((LEFT, top + PANEL), (WIDTH - RIGHT, top + PANEL), BLACK, "frame");
    svg.line((LEFT, top), (LEFT, top + PANEL), BLACK, "frame");
    let mut right = WIDTH - RIGHT;
    for series in panel.series.iter().rev() {
        let points = series.points.iter().map(|point| point.map(|(at, v)| (x(at), y(v))));
        svg.path(points, (series.colour, series.dash), "series");
        let width = 34.0 + 6.2 * as_f64(series.name.len() as u64);
        right -= width;
        let sample = [Some((right, top - 12.0)), Some((right + 22.0, top - 12.0))];
        svg.path(sample.into_iter(), (series.colour, series.dash), "key");
        svg.text((right + 27.0, top - 8.0), "start", "legend", series.name);
    }
    svg.end();
}

/// The colour of a limit in the band.
const fn colour(limit: Limit) -> &'static str {
    match limit {
        Limit::Link => "#56b4e9",
        Limit::Policy => "#cc79a7",
        Limit::Cap => "#aa4499",
        Limit::Share => "#882255",
        Limit::SourceDisk => "#e69f00",
        Limit::DestinationDisk => "#d55e00",
        Limit::Receiver => "#999933",
        Limit::Sender => "#ddcc77",
        Limit::Cpu => "#000000",
        Limit::Peer => "#999999",
        Limit::StartUp => "#009e73",
        Limit::Tail => "#f0e442",
        Limit::Carrier => "#0072b2",
    }
}

fn band(svg: &mut Svg, columns: &[Column], spent: &Spent, top: f64, time: Scale) {
    svg.begin("band");
    svg.text((LEFT, top - 6.0), "start", "title", "Limited by");
    let x = |at: f64| LEFT + at / time.max * INNER;
    let mut at = 0;
    while let Some(first) = columns.get(at) {
        let same =
            columns[at..].iter().skip(1).take_while(|c| c.limit == first.limit && !c.after_gap);
        let end = at + same.count();
        if let Some(limit) = first.limit {
            let width = (x(columns[end].until) - x(first.from)).max(0.3);
            svg.rect((x(first.from), top), (width, BAND), colour(limit), limit.name());
        }
        at = end + 1;
    }
    let total: Duration = spent.iter().sum();
    let mut shares: Vec<_> =
        Limit::ALL.into_iter().zip(spent).filter(|(_, s)| !s.is_zero()).collect();
    shares.sort_by(|a, b| b.1.cmp(a.1));
    let (mut left, mut line) = (LEFT, top + BAND + 18.0);
    for (limit, spent) in shares {
        let share = spent.as_secs_f64() / total.as_secs_f64() * 100.0;
        let label = format!("{} {share:.0} %", limit.name());
        let width = 34.0 + 6.5 * as_f64(label.len() as u64);
        if left + width > WIDTH - RIGHT {
            (left, line) = (LEFT, line + 18.0);
        }
        svg.rect((left, line - 10.0), (12.0, 12.0), colour(limit), "key");
        svg.text((left + 17.0, line), "start", "legend", label);
        left += width;
    }
    svg.end();
}

#[cfg(test)]
#[path = "chart_tests.rs"]
mod tests;
