//! G1, G6, G7, G8 and G12 from the cells of rate control.

use super::Line;
use crate::cells::rules::Check;
use crate::cells::{Cell, CellFile, Outcome, run};
use crate::profile::Loss;

const GOALS: &str = include_str!("../../cells/goals.toml");
const FAST: &str = include_str!("../../cells/fast.toml");
const SECTIONS: &str = include_str!("../../cells/sections.toml");
const RIVALS: &str = include_str!("../../cells/rivals.toml");
const SHAPES: &str = include_str!("../../cells/shapes.toml");
const HELD_OUT: &str = include_str!("../../cells/held_out.toml");

/// A section of a file, the goal it belongs to, and what it shows.
const JUDGED: [(&str, &str, &str, &str); 12] = [
    ("G6", "start-up without a hint", SECTIONS, "S start-up"),
    ("G7", "`low` alone", SECTIONS, "C low alone"),
    ("G7", "`low` beside CUBIC", RIVALS, "low beside TCP"),
    ("G7", "`fair` beside 1 or 3 CUBIC, BBRv1", RIVALS, "rivals"),
    ("G7", "`fair` beside BBRv3", RIVALS, "rivals, BBRv3"),
    ("G7", "`high` beside TCP", RIVALS, "rivals of high"),
    ("G7", "own flows", SECTIONS, "D own flows"),
    ("G8", "policers", SECTIONS, "E policers"),
    ("G8", "jitter, feedback", SECTIONS, "G jitter and feedback"),
    ("G8", "steps", SECTIONS, "H steps"),
    ("G7", "queue of `fair` alone", SECTIONS, "A other rates"),
    ("G12", "links that go away", HELD_OUT, "held out: flaps"),
];

/// Plays all parts that show `goal`, or all, with seeds 1 to `seeds`; `fast` adds the links of
/// 10 Gbit/s. Each line is also given to `show` as soon as it is known: all of it takes long.
pub fn lines(seeds: u64, fast: bool, goal: Option<&str>, mut show: impl FnMut(&Line)) -> Vec<Line> {
    let wanted = |goals: &[&str]| goal.is_none_or(|goal| goals.contains(&goal));
    let mut lines = Vec::new();
    let mut known = |part: Vec<Line>| {
        part.iter().for_each(&mut show);
        lines.extend(part);
    };
    if wanted(&["G1", "G7"]) {
        known(goodput("100 Mbit/s", GOALS, "G1 100 Mbit/s", seeds));
        known(goodput("1 Gbit/s", GOALS, "G1 1 Gbit/s", seeds));
        if fast {
            known(goodput("10 Gbit/s", FAST, "10 Gbit/s", 1));
        }
    }
    if wanted(&["G6"]) {
        known(vec![hint(seeds)]);
    }
    for (goal, what, file, section) in JUDGED {
        if wanted(&[goal]) {
            known(judged(goal, what, file, section, seeds));
        }
    }
    lines
}

fn cells(file: &str, section: &str) -> Vec<Cell> {
    let all = CellFile::from_toml(file).map(|file| file.cells).unwrap_or_default();
    all.into_iter().filter(|cell| cell.section == section).collect()
}

fn played(cell: &Cell, seeds: u64) -> impl Iterator<Item = (u64, Outcome)> {
    (1..=seeds.max(1)).map(move |seed| (seed, run(cell, seed)))
}

fn share_lost(cell: &Cell) -> f64 {
    match cell.link.loss {
        Loss::None => 0.0,
        Loss::Bernoulli(share) | Loss::GilbertElliott { mean: share, .. } => share.get(),
    }
}

/// G1: one line for each round trip and bar, and one for the queue.
fn goodput(rate: &str, file: &str, section: &str, seeds: u64) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for cell in cells(file, section) {
        let loss = share_lost(&cell);
        let (kind, bar) = match loss {
            p if p > 0.25 => ("30 %", 0.85),
            p if p > 0.15 => ("20 %", 0.93),
            _ => ("0 to 10 %", 0.97),
        };
        let what = format!("goodput/G*, {rate}, {:?}, loss {kind}", cell.rtt());
        let queue = format!("mean queue / max(5 ms, r/10), {rate}");
        for (seed, outcome) in played(&cell, seeds) {
            let at = || format!("{} ({seed})", cell.name);
            line(&mut lines, "G1", &what, (bar, f64::INFINITY)).note(outcome.goodput(), at);
            let bound = (outcome.rtt / 10).as_secs_f64().max(0.005);
            let figure = outcome.queue_mean().as_secs_f64() / bound;
            line(&mut lines, "G7", &queue, (f64::NEG_INFINITY, 1.0)).note(figure, at);
        }
    }
    lines
}

fn line<'a>(
    lines: &'a mut Vec<Line>,
    goal: &'static str,
    what: &str,
    (least, most): (f64, f64),
) -> &'a mut Line {
    let known = lines.iter().position(|line| line.what == what);
    let index = known.unwrap_or_else(|| {
        lines.push(Line::new(goal, what, least, most));
        lines.len() - 1
    });
    &mut lines[index]
}

/// G6: 90 % of the rate in two round trips with a right hint.
fn hint(seeds: u64) -> Line {
    let mut line = Line::new("G6", "round trips to 90 % with a hint", f64::NEG_INFINITY, 2.0);
    let name = "hint 450 of 500 Mbit/s, 100 ms";
    for cell in cells(SHAPES, "start").iter().filter(|cell| cell.name == name) {
        for (seed, outcome) in played(cell, seeds) {
            // Nine tenths of what the hint promises.
            let wanted = outcome.rate.mul_f64(0.81);
            let at = outcome.first_bin_at(wanted, core::time::Duration::ZERO);
            let trips = at.map_or(f64::INFINITY, |at| at.as_secs_f64() / outcome.rtt.as_secs_f64());
            line.note(trips, || format!("{name} ({seed})"));
        }
    }
    line
}

/// A line for each figure that the rules of a section ask for.
fn judged(goal: &'static str, what: &str, file: &str, section: &str, seeds: u64) -> Vec<Line> {
    let mut lines = Vec::new();
    for cell in cells(file, section) {
        let Some(rule) = cell.rule else { continue };
        for (seed, outcome) in played(&cell, seeds) {
            for Check { what: figure_of, figure, least, most } in rule.judge(&cell, &outcome) {
                let what = format!("{what}: {figure_of}");
                let at = || format!("{} ({seed})", cell.name);
                line(&mut lines, goal, &what, (least, most)).note_within(figure, (least, most), at);
            }
        }
    }
    lines
}
