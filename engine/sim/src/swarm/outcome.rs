//! What came of a run, in the units of the goals.

use super::cell::Bars;

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Sites that have everything, of those that were to have it.
    pub done: (usize, usize),
    /// The least time that physics allows, in seconds.
    pub bound: f64,
    /// When the last site was done, in seconds; of churning runs the last one that never left.
    pub last: f64,
    /// When half of the sites were, and 99 of 100.
    pub halves: (f64, f64),
    /// Bytes that left origins, in units of the file.
    pub egress: f64,
    /// Bytes that came over a WAN link, control included, in units of the file: the worst site.
    pub wan: f64,
    /// The part of all bytes that came which were in vain: bad, double or broken off.
    pub doubles: f64,
    /// Chunks with bad bytes that came, and were found to be bad.
    pub bad: u64,
    /// Chunks with bad bytes that a site believed: never any.
    pub believed: u64,
    /// Liars that the planner set aside, of all; honest sites that it did.
    pub aside: (usize, usize, usize),
    /// Parts that were given by somebody else in the end, asks that ran out, refusals.
    pub asks: (u64, u64, u64),
    /// When bytes left an origin last, in seconds.
    pub out_at: f64,
    /// Control messages and their bytes, of the whole run.
    pub control: (u64, u64),
    /// How busy uplinks of takers were until the last one was done, on average.
    pub busy: f64,
    /// Memory of the planner, and of the largest taker, in bytes.
    pub memory: (usize, usize),
}

impl Outcome {
    /// The last site's time in units of the bound.
    pub fn ratio(&self) -> f64 {
        self.last / self.bound
    }

    /// p99 by p50.
    pub fn spread(&self) -> f64 {
        self.halves.1 / self.halves.0
    }

    /// Which bars do not hold, each with its figure; `other` is the run beside which it is measured.
    pub fn broken(&self, bars: &Bars, other: Option<&Self>) -> Vec<String> {
        let mut broken = Vec::new();
        let mut most = |what: &str, figure: f64, bar: Option<f64>| {
            if let Some(bar) = bar.filter(|bar| figure > *bar || figure.is_nan()) {
                broken.push(format!("{what} {figure:.3} > {bar}"));
            }
        };
        most("last / bound", self.ratio(), bars.bound);
        most("egress", self.egress, bars.egress);
        most("WAN", self.wan, bars.wan);
        most("in vain", self.doubles, bars.doubles);
        most("p99 / p50", self.spread(), bars.spread);
        let believed = u32::try_from(self.believed).unwrap_or(u32::MAX);
        most("believed", f64::from(believed), Some(0.0));
        let unnamed = u32::try_from(self.aside.1 - self.aside.0).unwrap_or(u32::MAX);
        most("not named", f64::from(unnamed), bars.named.then_some(0.0));
        let (speed, longer) = self.beside(other);
        most("longer s", longer, bars.longer);
        most("slower", 1.0 / speed, bars.speed.map(|bar| 1.0 / bar));
        if self.done.0 < self.done.1 {
            broken.push(format!("{} sites not done", self.done.1 - self.done.0));
        }
        broken
    }

    /// Its speed in units of another run's, and how many seconds longer it took.
    pub fn beside(&self, other: Option<&Self>) -> (f64, f64) {
        other.map_or((f64::NAN, f64::NAN), |other| (other.last / self.last, self.last - other.last))
    }

    /// The row of a Markdown table, without its bars.
    pub fn row(&self) -> String {
        format!(
            "{} of {} | {:.1} | {:.1} | {:.3} | {:.3} | {:.3} | {:.2} % | {} / {} | {} of {}, {} | {:.2} | {:.0} %",
            self.done.0,
            self.done.1,
            self.bound,
            self.last,
            self.ratio(),
            self.egress,
            self.wan,
            100.0 * self.doubles,
            self.believed,
            self.bad,
            self.aside.0,
            self.aside.1,
            self.aside.2,
            self.spread(),
            100.0 * self.busy,
        )
    }
}

/// The head of that table.
pub const HEAD: &str = "| goal | cell | sites done | bound s | last s | last / bound | egress / F | WAN / F, worst | in vain | bad believed / found | liars aside, honest aside | p99 / p50 | uplinks busy | bars |\n\
                        |---|---|---|---|---|---|---|---|---|---|---|---|---|---|";
