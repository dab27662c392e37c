//! The goals as a table: what was wanted, what came out, with which seed it came out worst.
//!
//! [`rate`] runs cells of rate control by their rules, [`transfer`] whole transfers by the sessions
//! of the product, [`fec`] the same with and without repair symbols. A bar is what the goal says, never what the code reaches.

pub mod decoder;
pub mod fec;
pub mod rate;
pub mod transfer;

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// The goal's name.
    pub goal: &'static str,
    /// What was looked at.
    pub what: String,
    /// The worst figure.
    pub figure: f64,
    /// Where it was found: a cell, and a seed.
    pub at: String,
    /// Between what it must lie.
    pub least: f64,
    /// See `least`.
    pub most: f64,
    /// So many runs hold, of so many.
    pub held: (u32, u32),
}

impl Line {
    /// No figures yet.
    pub fn new(goal: &'static str, what: impl Into<String>, least: f64, most: f64) -> Self {
        let (what, at) = (what.into(), String::new());
        Self { goal, what, figure: f64::NAN, at, least, most, held: (0, 0) }
    }

    /// Takes in the figure of one run.
    pub fn note(&mut self, figure: f64, at: impl FnOnce() -> String) {
        self.note_within(figure, (self.least, self.most), at);
    }

    /// The same where every run has bounds of its own; those of the worst are shown.
    pub fn note_within(
        &mut self,
        figure: f64,
        (least, most): (f64, f64),
        at: impl FnOnce() -> String,
    ) {
        let outside = |figure: f64, least: f64, most: f64| (least - figure).max(figure - most);
        let holds = figure >= least && figure <= most;
        self.held = (self.held.0 + u32::from(holds), self.held.1 + 1);
        let worst = outside(self.figure, self.least, self.most);
        if self.figure.is_nan() || outside(figure, least, most) > worst {
            (self.figure, self.at, self.least, self.most) = (figure, at(), least, most);
        }
    }

    /// True if every run held.
    pub fn passes(&self) -> bool {
        self.held.0 == self.held.1 && self.held.1 > 0
    }

    /// The line as a row of a Markdown table.
    pub fn row(&self) -> String {
        let bar = match (self.least.is_finite(), self.most.is_finite()) {
            (true, true) => format!("{:.2} to {:.2}", self.least, self.most),
            (true, false) => format!(">= {:.3}", self.least),
            _ => format!("<= {:.3}", self.most),
        };
        let pass = if self.passes() { "yes" } else { "**no**" };
        format!(
            "| {} | {} | {:.3} | {} | {bar} | {} of {} | {pass} |",
            self.goal, self.what, self.figure, self.at, self.held.0, self.held.1
        )
    }
}

/// The head of the table.
pub const HEAD: &str = "| goal | what | worst figure | where (seed) | bar | runs that hold | pass |\n\
                        |---|---|---|---|---|---|---|";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_run_that_is_farthest_off() {
        let mut line = Line::new("G0", "goodput", 0.97, f64::INFINITY);
        for (figure, at) in [(0.99, "a"), (0.90, "b"), (0.95, "c")] {
            line.note(figure, || at.to_owned());
        }
        assert!(!line.passes() && line.at == "b" && line.held == (1, 3));
    }

    #[test]
    fn a_line_without_runs_does_not_pass() {
        assert!(!Line::new("G0", "nothing", 0.0, 1.0).passes());
    }
}
