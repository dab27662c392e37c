//! Cells as text: a TOML file of single cells and of grids.
//!
//! A `[[cell]]` is written out; a `[[grid]]` gives lists of RTTs and losses and stands for every
//! combination. Unknown keys are errors, every quantity has a unit.

use super::liar::Lie;
use super::medium::{Bunch, Medium};
use super::rules::Rule;
use crate::profile::{LinkProfile, QuantityError, parse_rate, parse_ratio, parse_span};
use crate::rivals::Kind;
use core::fmt;
use core::time::Duration;
use farhaul_proto::congestion::{Bounds, BoundsError, Policy};
use farhaul_proto::units::{BitRate, Ratio};
use serde::Deserialize;

/// Why a file of cells was refused.
#[derive(Debug)]
#[non_exhaustive]
pub enum CellFileError {
    /// Not TOML, an unknown key, or a link that is refused.
    Syntax(toml::de::Error),
    /// A quantity outside a link.
    Quantity {
        /// In which cell or grid.
        name: String,
        /// What is wrong with it.
        error: QuantityError,
    },
    /// A word that is not known.
    Word {
        /// In which cell or grid.
        name: String,
        /// The word.
        word: String,
    },
    /// A floor above the cap.
    Bounds {
        /// In which cell or grid.
        name: String,
        /// What is wrong with them.
        error: BoundsError,
    },
}

impl fmt::Display for CellFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => error.fmt(f),
            Self::Quantity { name, error } => write!(f, "{name}: {error}"),
            Self::Bounds { name, error } => write!(f, "{name}: {error}"),
            Self::Word { name, word } => write!(f, "{name}: {word:?} is not known here"),
        }
    }
}

impl core::error::Error for CellFileError {}

/// One sender of a cell.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowSpec {
    /// Its policy.
    pub policy: Policy,
    /// When it begins.
    pub start: Duration,
    /// Its floor, and its cap (the target of `fixed`).
    pub bounds: Bounds,
    /// A remembered rate.
    pub hint: Option<BitRate>,
    /// Largest rate at which its application has data; `None` is a full disk.
    pub app: Option<BitRate>,
    /// It is not ours: a model of another sender.
    pub rival: Option<Kind>,
    /// The rate of its access link; ten times the bottleneck if absent.
    pub access: Option<BitRate>,
    /// Its data goes the other way, through the queue in which our reports wait.
    pub backward: bool,
    /// It passes the second bottleneck only.
    pub second_only: bool,
    /// What its receiver says of time instead of the truth.
    pub lie: Option<Lie>,
}

/// Stalls of a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalls {
    /// Mean distance between them.
    pub every: Duration,
    /// The shortest.
    pub min: Duration,
    /// The longest.
    pub max: Duration,
}

/// A change of the forward link.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// When.
    pub at: Duration,
    /// The whole link from then on.
    pub link: LinkProfile,
}

/// A cell, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    /// Its name in reports.
    pub name: String,
    /// The group it is reported in.
    pub section: String,
    /// The bottleneck.
    pub link: LinkProfile,
    /// The way back.
    pub reverse: LinkProfile,
    /// Senders.
    pub flows: Vec<FlowSpec>,
    /// Virtual time of the run.
    pub duration: Duration,
    /// Goodput and queue are measured from here to the end.
    pub measure_from: Duration,
    /// Half width of the receiver's timestamp noise.
    pub noise: Duration,
    /// The receiver looks at its socket this often; zero is at once.
    pub poll: Duration,
    /// The sender's host.
    pub sender_stalls: Option<Stalls>,
    /// The receiver's host.
    pub receiver_stalls: Option<Stalls>,
    /// Changes of the link.
    pub steps: Vec<Step>,
    /// A further bottleneck behind the first.
    pub second: Option<LinkProfile>,
    /// Resolution of the receiver's clock; zero is exact.
    pub tick: Duration,
    /// How much faster the receiver's clock runs, in millionths.
    pub skew: f64,
    /// Own flows mirror rivals (the mode is off in the product).
    pub mirror: bool,
    /// A medium behind the link that is shared, and served in bursts.
    pub medium: Option<Medium>,
    /// What becomes of reports on their way.
    pub bunch: Option<Bunch>,
    /// What must hold.
    pub rule: Option<Rule>,
}

impl Cell {
    /// Base round trip.
    pub fn rtt(&self) -> Duration {
        self.link.delay + self.reverse.delay
    }
}

/// A file of cells, in order.
#[derive(Clone, Debug)]
pub struct CellFile {
    /// The cells; grids expanded.
    pub cells: Vec<Cell>,
}

impl CellFile {
    /// Reads a file of cells.
    ///
    /// # Errors
    /// If the text is not TOML, has unknown keys or words, or a quantity without unit.
    pub fn from_toml(text: &str) -> Result<Self, CellFileError> {
        let written: WrittenFile = toml::from_str(text).map_err(CellFileError::Syntax)?;
        let mut cells = Vec::new();
        for cell in written.cell {
            cells.push(cell.resolve()?);
        }
        for grid in &written.grid {
            grid.expand(&mut cells)?;
        }
        Ok(Self { cells })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFile {
    #[serde(default)]
    cell: Vec<WrittenCell>,
    #[serde(default)]
    grid: Vec<WrittenGrid>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCell {
    name: String,
    section: String,
    /// Splits evenly between the two directions.
    rtt: String,
    link: LinkProfile,
    #[serde(default)]
    reverse: LinkProfile,
    #[serde(default)]
    flows: Vec<WrittenFlow>,
    #[serde(default = "default_duration")]
    duration: String,
    #[serde(default = "default_measure")]
    measure_from: String,
    noise: Option<String>,
    poll: Option<String>,
    sender_stalls: Option<WrittenStalls>,
    receiver_stalls: Option<WrittenStalls>,
    #[serde(default)]
    steps: Vec<WrittenStep>,
    second: Option<LinkProfile>,
    tick: Option<String>,
    #[serde(default)]
    skew_ppm: f64,
    #[serde(default)]
    mirror: bool,
    medium: Option<WrittenMedium>,
    bunch: Option<WrittenBunch>,
    rule: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFlow {
    #[serde(default = "default_policy")]
    policy: String,
    /// "cubic", "bbr1" or "bbr3"; ours if absent.
    rival: Option<String>,
    /// So many flows of this kind.
    #[serde(default = "default_count")]
    count: u32,
    /// Time between their starts.
    apart: Option<String>,
    access: Option<String>,
    #[serde(default)]
    backward: bool,
    #[serde(default)]
    second_only: bool,
    lie: Option<WrittenLie>,
    start: Option<String>,
    floor: Option<String>,
    cap: Option<String>,
    hint: Option<String>,
    app: Option<String>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStalls {
    every: String,
    min: String,
    max: String,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    at: String,
    /// Round trip from then on, if it changes.
    rtt: Option<String>,
    link: LinkProfile,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLie {
    base: String,
    late: Option<String>,
    #[serde(default)]
    squeeze: f64,
    #[serde(default)]
    fall: f64,
    from: Option<String>,
    every: Option<String>,
    #[serde(default)]
    even: u32,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMedium {
    turn: String,
    #[serde(default)]
    there: f64,
    #[serde(default)]
    back: f64,
    #[serde(default)]
    both: f64,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBunch {
    every: String,
    #[serde(default)]
    newest: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenGrid {
    section: String,
    rate: String,
    rtt: Vec<String>,
    /// Shares, or "GE 2%": runs of mean 10.
    loss: Vec<String>,
    /// Queue; one round trip if absent.
    queue: Option<String>,
    noise: Option<String>,
    #[serde(default = "default_duration")]
    duration: String,
    #[serde(default = "default_measure")]
    measure_from: String,
    rule: Option<String>,
}

fn default_policy() -> String {
    "fair".to_owned()
}

fn default_count() -> u32 {
    1
}

fn default_duration() -> String {
    "30s".to_owned()
}

fn default_measure() -> String {
    "5s".to_owned()
}

impl WrittenCell {
    fn resolve(self) -> Result<Cell, CellFileError> {
        let name = self.name.clone();
        let wrong = |error| CellFileError::Quantity { name: name.clone(), error };
        let rtt = parse_span(&self.rtt).map_err(wrong)?;
        let optional = |text: Option<&String>| text.map_or(Ok(Duration::ZERO), |t| parse_span(t));
        let steps = self.steps.iter().map(|s| s.resolve(rtt)).collect::<Result<_, _>>();
        let mut flows = Vec::new();
        for flow in &self.flows {
            flow.resolve(&name, &mut flows)?;
        }
        let rule = read_rule(self.rule.as_deref(), &name)?;
        if flows.is_empty() {
            flows.push(FlowSpec::fair());
        }
        Ok(Cell {
            section: self.section,
            link: LinkProfile { delay: rtt / 2, ..self.link },
            reverse: LinkProfile { delay: rtt / 2, ..self.reverse },
            flows,
            duration: parse_span(&self.duration).map_err(wrong)?,
            measure_from: parse_span(&self.measure_from).map_err(wrong)?,
            noise: optional(self.noise.as_ref()).map_err(wrong)?,
            poll: optional(self.poll.as_ref()).map_err(wrong)?,
            sender_stalls: self.sender_stalls.map(|s| s.resolve()).transpose().map_err(wrong)?,
            receiver_stalls: self
                .receiver_stalls
                .map(|s| s.resolve())
                .transpose()
                .map_err(wrong)?,
            steps: steps.map_err(wrong)?,
            second: self.second,
            tick: optional(self.tick.as_ref()).map_err(wrong)?,
            skew: self.skew_ppm / 1e6,
            mirror: self.mirror,
            medium: self.medium.map(|m| m.resolve()).transpose().map_err(wrong)?,
            bunch: self.bunch.map(|b| b.resolve()).transpose().map_err(wrong)?,
            rule,
            name: self.name,
        })
    }
}

impl FlowSpec {
    /// A flow that begins at once and is fair.
    pub fn fair() -> Self {
        Self {
            policy: Policy::Fair,
            start: Duration::ZERO,
            bounds: Bounds::FREE,
            hint: None,
            app: None,
            rival: None,
            access: None,
            backward: false,
            second_only: false,
            lie: None,
        }
    }
}

impl WrittenFlow {
    fn resolve(&self, name: &str, flows: &mut Vec<FlowSpec>) -> Result<(), CellFileError> {
        let wrong = |error| CellFileError::Quantity { name: name.to_owned(), error };
        let unknown =
            |word: &str| CellFileError::Word { name: name.to_owned(), word: word.to_owned() };
        let rate = |text: Option<&String>| text.map(|t| parse_rate(t)).transpose().map_err(wrong);
        let span = |text: Option<&String>| {
            text.map_or(Ok(Duration::ZERO), |t| parse_span(t)).map_err(wrong)
        };
        let policy = match self.policy.as_str() {
            "fixed" => Policy::Fixed,
            "high" => Policy::High,
            "fair" => Policy::Fair,
            "low" => Policy::Low,
            word => return Err(unknown(word)),
        };
        let rival = |word: &String| Kind::named(word).ok_or_else(|| unknown(word));
        let (start, apart) = (span(self.start.as_ref())?, span(self.apart.as_ref())?);
        let (floor, cap) = (rate(self.floor.as_ref())?, rate(self.cap.as_ref())?);
        let bounds = Bounds::new(floor, cap)
            .map_err(|error| CellFileError::Bounds { name: name.to_owned(), error })?;
        let flow = FlowSpec {
            policy,
            start,
            bounds,
            hint: rate(self.hint.as_ref())?,
            app: rate(self.app.as_ref())?,
            rival: self.rival.as_ref().map(rival).transpose()?,
            access: rate(self.access.as_ref())?,
            backward: self.backward,
            second_only: self.second_only,
            lie: self.lie.as_ref().map(WrittenLie::resolve).transpose().map_err(wrong)?,
        };
        let begins = (0..self.count).map(|n| start + apart * n);
        flows.extend(begins.map(|start| FlowSpec { start, ..flow.clone() }));
        Ok(())
    }
}

fn read_rule(word: Option<&str>, name: &str) -> Result<Option<Rule>, CellFileError> {
    let known = |word: &str| {
        let error = || CellFileError::Word { name: name.to_owned(), word: word.to_owned() };
        Rule::named(word).ok_or_else(error)
    };
    word.map(known).transpose()
}

impl WrittenStalls {
    fn resolve(&self) -> Result<Stalls, QuantityError> {
        let (min, max) = (parse_span(&self.min)?, parse_span(&self.max)?);
        if max < min {
            return Err(QuantityError::Range { text: self.max.clone(), allowed: "max above min" });
        }
        Ok(Stalls { every: parse_span(&self.every)?, min, max })
    }
}

impl WrittenLie {
    fn resolve(&self) -> Result<Lie, QuantityError> {
        let optional =
            |text: Option<&String>| text.map_or(Ok(Duration::ZERO), |text| parse_span(text));
        let (late, from) = (optional(self.late.as_ref())?, optional(self.from.as_ref())?);
        let (squeeze, fall) = (self.squeeze.clamp(0.0, 1.0), self.fall.max(0.0));
        let every = self.every.as_deref().map(parse_span).transpose()?;
        let base = parse_span(&self.base)?;
        Ok(Lie { base, late, squeeze, fall, from, every, even: self.even })
    }
}

impl WrittenMedium {
    fn resolve(&self) -> Result<Medium, QuantityError> {
        let turn = parse_span(&self.turn)?;
        let Self { there, back, both, .. } = *self;
        let medium = Medium { turn, there, back, both };
        let range = |allowed| QuantityError::Range { text: self.turn.clone(), allowed };
        medium.is_served().then_some(medium).ok_or_else(|| range("turns that both ways get"))
    }
}

impl WrittenBunch {
    fn resolve(&self) -> Result<Bunch, QuantityError> {
        Ok(Bunch { every: parse_span(&self.every)?, newest: self.newest })
    }
}

impl WrittenStep {
    fn resolve(&self, rtt: Duration) -> Result<Step, QuantityError> {
        let rtt_after = self.rtt.as_deref().map_or(Ok(rtt), parse_span)?;
        // The way back keeps its delay: all of the change is on the forward link.
        let delay = rtt_after.saturating_sub(rtt / 2);
        Ok(Step { at: parse_span(&self.at)?, link: LinkProfile { delay, ..self.link.clone() } })
    }
}

impl WrittenGrid {
    fn expand(&self, cells: &mut Vec<Cell>) -> Result<(), CellFileError> {
        for rtt in &self.rtt {
            for loss in &self.loss {
                cells.push(self.cell(rtt, loss)?.resolve()?);
            }
        }
        Ok(())
    }

    fn cell(&self, rtt: &str, loss: &str) -> Result<WrittenCell, CellFileError> {
        let name = format!("{} x {rtt} x {loss}", self.rate);
        let wrong = |error| CellFileError::Quantity { name: name.clone(), error };
        let queue = self.queue.clone().unwrap_or_else(|| rtt.to_owned());
        let queue = LinkProfile::from_toml(&format!("queue = {queue:?}"))
            .map_err(CellFileError::Syntax)?
            .queue;
        let link = LinkProfile {
            rate: Some(parse_rate(&self.rate).map_err(wrong)?),
            queue,
            loss: read_loss(loss).map_err(wrong)?,
            ..LinkProfile::default()
        };
        Ok(WrittenCell {
            name,
            section: self.section.clone(),
            rtt: rtt.to_owned(),
            link,
            reverse: LinkProfile::default(),
            flows: Vec::new(),
            duration: self.duration.clone(),
            measure_from: self.measure_from.clone(),
            noise: self.noise.clone(),
            poll: None,
            sender_stalls: None,
            receiver_stalls: None,
            steps: Vec::new(),
            second: None,
            tick: None,
            skew_ppm: 0.0,
            mirror: false,
            medium: None,
            bunch: None,
            rule: self.rule.clone(),
        })
    }
}

fn read_loss(text: &str) -> Result<crate::profile::Loss, QuantityError> {
    use crate::profile::Loss;
    Ok(match text.strip_prefix("GE ") {
        Some(share) => Loss::GilbertElliott { mean: parse_ratio(share)?, burst: 10.0 },
        None => match parse_ratio(text)? {
            Ratio::ZERO => Loss::None,
            share => Loss::Bernoulli(share),
        },
    })
}
