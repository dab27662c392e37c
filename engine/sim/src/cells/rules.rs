//! What must hold in a cell, as a letter in its file.
//!
//! ```text
//! A  alone         goodput >= 0.97 G*, mean queue <= max(5 ms, r/10)
//! B  beside TCP    share w/(w + n) +- 0.1 of what all carry, link >= 0.9 full
//! C  low alone     goodput >= 0.9, queue <= 10 ms at p95
//! Y  low yields    sends <= 0.1 C within 3 r after a queue of 10 ms stood for one r; the other
//!                  carries >= 0.9 C in the measured part
//! D  own flows     each within 5 % of its share by weight
//! R  high, fair    ratio 2 +- 0.3
//! E  policer       lost to it <= 1 %, goodput >= 0.9
//! F  odd queues    goodput >= 0.95, lost to load <= 1 %, queue as A
//! G  jitter        goodput >= 0.97, mean queue <= 10 ms
//! H  rate step     0.9 of the new rate and queue <= max(10 ms, r/5) within max(20 r, 1 s)
//! T  delay step    goodput >= 0.85 in the seconds 1 to 10 after it, >= 0.97 later
//! L  link returns  0.9 of the rate within 20 r + 2 s (it is asked once a second)
//! S  start-up      0.9 C sent within 4 r, lost to load in 10 r <= 0.05 BDP
//! ```

use super::{Cell, Outcome};
use core::time::Duration;
use farhaul_proto::congestion::Policy;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the head has them in one table")]
pub enum Rule {
    Alone,
    BesideTcp,
    LowAlone,
    LowYields,
    OwnFlows,
    HighAndFair,
    Policer,
    OddQueue,
    Jitter,
    RateStep,
    DelayStep,
    LinkReturns,
    StartUp,
}

/// One figure, and between what it must lie.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// What it is.
    pub what: &'static str,
    /// What it came to.
    pub figure: f64,
    /// The least allowed.
    pub least: f64,
    /// The most allowed.
    pub most: f64,
}

impl Check {
    fn at_least(what: &'static str, figure: f64, least: f64) -> Self {
        Self { what, figure, least, most: f64::INFINITY }
    }

    fn at_most(what: &'static str, figure: f64, most: f64) -> Self {
        Self { what, figure, least: f64::NEG_INFINITY, most }
    }

    /// True if the figure lies where it must.
    pub fn holds(&self) -> bool {
        self.figure >= self.least && self.figure <= self.most
    }

    /// How far the figure lies outside (positive) or inside, for finding the worst of several.
    pub fn excess(&self) -> f64 {
        (self.least - self.figure).max(self.figure - self.most)
    }

    /// The bar in words.
    pub fn bar(&self) -> String {
        match (self.least.is_finite(), self.most.is_finite()) {
            (true, true) => format!("{:.2} to {:.2}", self.least, self.most),
            (true, false) => format!(">= {}", self.least),
            _ => format!("<= {:.3}", self.most),
        }
    }
}

impl Rule {
    /// The rule of that letter.
    pub fn named(letter: &str) -> Option<Self> {
        Some(match letter {
            "A" => Self::Alone,
            "B" => Self::BesideTcp,
            "C" => Self::LowAlone,
            "Y" => Self::LowYields,
            "D" => Self::OwnFlows,
            "R" => Self::HighAndFair,
            "E" => Self::Policer,
            "F" => Self::OddQueue,
            "G" => Self::Jitter,
            "H" => Self::RateStep,
            "T" => Self::DelayStep,
            "L" => Self::LinkReturns,
            "S" => Self::StartUp,
            _ => return None,
        })
    }

    /// Every figure that the rule asks for.
    pub fn judge(self, cell: &Cell, outcome: &Outcome) -> Vec<Check> {
        let goodput = |least| Check::at_least("goodput", outcome.goodput(), least);
        let queue = Check::at_most("mean queue, ms", millis(outcome.queue_mean()), polite(outcome));
        let lost = Check::at_most("load loss", outcome.load_loss().get(), 0.01);
        match self {
            Self::Alone => vec![goodput(0.97), queue],
            Self::BesideTcp => beside_tcp(cell, outcome),
            Self::LowAlone => {
                let p95 = millis(outcome.queue_p95());
                vec![goodput(0.9), Check::at_most("p95 of queue, ms", p95, 10.0)]
            }
            Self::LowYields => low_yields(cell, outcome),
            Self::OwnFlows => {
                vec![Check::at_most("deviation", deviation(cell, outcome), 0.05)]
            }
            Self::HighAndFair => {
                let ratio = outcome.share(0) / outcome.share(1).max(1e-9);
                vec![Check { what: "ratio", figure: ratio, least: 1.7, most: 2.3 }]
            }
            Self::Policer => vec![goodput(0.9), lost],
            Self::OddQueue => vec![goodput(0.95), lost, queue],
            Self::Jitter => {
                let queue = millis(outcome.queue_mean());
                vec![goodput(0.97), Check::at_most("mean queue, ms", queue, 10.0)]
            }
            Self::RateStep => {
                let patience = (20.0 * outcome.rtt.as_secs_f64()).max(1.0);
                let bound = (outcome.rtt / 5).max(Duration::from_millis(10));
                let settled = settled_after(cell, outcome, bound);
                vec![Check::at_most("settled, s", settled, patience)]
            }
            Self::LinkReturns => {
                let patience = 20.0 * outcome.rtt.as_secs_f64() + 2.0;
                let settled = settled_after(cell, outcome, Duration::MAX);
                vec![Check::at_most("settled, s", settled, patience)]
            }
            Self::DelayStep => delay_step(cell, outcome),
            Self::StartUp => vec![
                Check::at_most(
                    "round trips to 90 %",
                    outcome.rtts_to_90().unwrap_or(f64::INFINITY),
                    4.0,
                ),
                Check::at_most("overshoot, BDP", outcome.overshoot_bdp(), 0.05),
            ],
        }
    }
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

fn polite(outcome: &Outcome) -> f64 {
    millis(outcome.rtt / 10).max(5.0)
}

fn weight(policy: Policy) -> f64 {
    if policy == Policy::High { 2.0 } else { 1.0 }
}

/// The first own flow against the rivals.
fn beside_tcp(cell: &Cell, outcome: &Outcome) -> Vec<Check> {
    let Some(own) = cell.flows.iter().position(|f| f.rival.is_none()) else { return Vec::new() };
    let all: f64 = cell.flows.iter().map(|f| weight(f.policy)).sum();
    let even = weight(cell.flows[own].policy) / all;
    let share = outcome.share(own) / outcome.goodput().max(1e-9);
    vec![
        Check { what: "share", figure: share, least: even - 0.1, most: even + 0.1 },
        Check::at_least("link used", outcome.goodput(), 0.9),
    ]
}

/// Largest deviation of a flow from its share by weight.
fn deviation(cell: &Cell, outcome: &Outcome) -> f64 {
    let all: f64 = cell.flows.iter().map(|f| weight(f.policy)).sum();
    let deviation = |(index, flow): (usize, &super::spec::FlowSpec)| {
        let even = weight(flow.policy) / all * outcome.goodput();
        (outcome.share(index) / even - 1.0).abs()
    };
    cell.flows.iter().enumerate().map(deviation).fold(0.0, f64::max)
}

/// Flow 0 is `low`, flow 1 the one it yields to.
fn low_yields(cell: &Cell, outcome: &Outcome) -> Vec<Check> {
    let window = per(outcome.rtt, outcome.bin).max(1);
    let from = per(cell.flows[1].start, outcome.bin);
    let standing = |at: usize| {
        let queue = outcome.queue.get(at..at + window);
        queue.is_some_and(|q| q.iter().all(|delay| *delay > Duration::from_millis(10)))
    };
    let stood = (from..outcome.queue.len()).find(|&at| standing(at)).map(|at| at + window);
    let little = outcome.rate.mul_f64(0.1).bytes_in(outcome.bin);
    let sent = &outcome.flows[0].sent;
    let ceded = stood.and_then(|at| {
        let quiet = |&bin: &usize| sent.get(bin).is_none_or(|bytes| *bytes <= little);
        (at..outcome.queue.len()).find(quiet).map(|bin| bin - at)
    });
    let ceded = ceded.map_or(f64::INFINITY, |bins| seconds(bins, outcome) / rtt(outcome));
    vec![
        Check::at_most("round trips to cede", ceded, 3.0),
        Check::at_least("the other's share", outcome.share(1), 0.9),
    ]
}

/// Seconds from the last step until, over one round trip, 0.9 of what the link then carries
/// arrives and the mean queue is at most `bound`.
fn settled_after(cell: &Cell, outcome: &Outcome, bound: Duration) -> f64 {
    let Some(step) = cell.steps.last() else { return f64::INFINITY };
    let window = per(outcome.rtt, outcome.bin).max(1);
    let from = per(step.at, outcome.bin);
    let enough = super::world::delivered(cell, &step.link).mul_f64(0.9);
    let good = |&at: &usize| {
        let begin = outcome.bin * u32::try_from(at).unwrap_or(u32::MAX);
        let end = begin + outcome.bin * u32::try_from(window).unwrap_or(1);
        let delays = outcome.queue.get(at..at + window).unwrap_or_default();
        let mean = delays.iter().sum::<Duration>() / u32::try_from(window).unwrap_or(1);
        let rate: f64 =
            (0..cell.flows.len()).map(|f| outcome.rate_between(f, begin, end).as_f64()).sum();
        !delays.is_empty() && mean <= bound && rate >= enough.as_f64()
    };
    let settled = (from..outcome.queue.len()).find(good);
    settled.map_or(f64::INFINITY, |at| seconds(at - from, outcome))
}

fn delay_step(cell: &Cell, outcome: &Outcome) -> Vec<Check> {
    let Some(step) = cell.steps.last() else { return Vec::new() };
    let best = super::world::delivered(cell, &step.link).as_f64();
    let at = |seconds| step.at + Duration::from_secs(seconds);
    let share = |from, to| outcome.rate_between(0, from, to).as_f64() / best;
    vec![
        Check::at_least("first seconds", share(at(1), at(10)), 0.85),
        Check::at_least("later", share(at(10), cell.duration), 0.97),
    ]
}

fn per(span: Duration, bin: Duration) -> usize {
    usize::try_from(span.as_nanos() / bin.as_nanos().max(1)).unwrap_or(usize::MAX)
}

fn seconds(bins: usize, outcome: &Outcome) -> f64 {
    outcome.bin.as_secs_f64() * f64::from(u32::try_from(bins).unwrap_or(u32::MAX))
}

fn rtt(outcome: &Outcome) -> f64 {
    outcome.rtt.as_secs_f64()
}
