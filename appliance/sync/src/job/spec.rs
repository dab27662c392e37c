//! What a job is to do: from where, to where, how urgent, how much of the link.

use super::place::{Place, PlaceWire, is_plain_name};
use super::times::Times;
use crate::seal::FolderKey;
use crate::shares::Class;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::PathError;
use farhaul_proto::units::BitRate;
use minicbor::{Decode, Encode};
use std::collections::BTreeSet;
use std::fmt;

/// Sites of a job.
const SITES_MAX: usize = 1024;
/// The largest weight.
const WEIGHT_MAX: u32 = 1000;

/// A job, among all jobs of all sites: random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub [u8; 16]);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// What a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One tree to many sites, again with each run.
    Distribute,
    /// Trees of many sites to one, each beneath the name of its site.
    Consolidate,
    /// One tree to one site, once.
    Copy,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Distribute, Self::Consolidate, Self::Copy];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Distribute => "distribute",
            Self::Consolidate => "consolidate",
            Self::Copy => "copy",
        }
    }
}

/// When what came becomes visible at a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activate {
    /// At each as soon as all of it is there.
    #[default]
    Each,
    /// At all of them at one instant, once it is everywhere.
    Together,
}

impl Activate {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Each, Self::Together];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Together => "together",
        }
    }
}

/// What a job is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Which job.
    pub id: JobId,
    /// Grows with each edit.
    pub revision: u64,
    /// What its leader calls it.
    pub name: String,
    /// What it does.
    pub kind: Kind,
    /// From where.
    pub sources: Vec<Place>,
    /// To where.
    pub targets: Vec<Place>,
    /// How urgent.
    pub class: Class,
    /// Its part of what its class gets: 1 to 1000.
    pub weight: u32,
    /// The most that it gets, of wire bytes; at each site in each direction.
    pub cap: Option<BitRate>,
    /// The calendar that it keeps to, by the name that each site knows.
    pub calendar: Option<String>,
    /// When what came becomes visible.
    pub activate: Activate,
    /// When it may begin, and when it is to be done by.
    pub times: Times,
}

/// Why a job cannot be so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// Its name.
    #[error(
        "`{0}` is no name of a job: write 1 to 64 of a-z, 0-9, `.`, `_` and `-`, a letter or a digit first"
    )]
    Name(String),
    /// Too few or many sources for its kind.
    #[error("a job that does `{kind}` has {wanted}, and not {found}")]
    Count {
        /// What it does.
        kind: &'static str,
        /// What it needs.
        wanted: &'static str,
        /// How many there are.
        found: usize,
    },
    /// A site takes part twice, or more of them than may.
    #[error("{0} takes part twice: a site is a source or a target of a job, once")]
    Twice(String),
    /// More of them than may.
    #[error("{0} sites take part: at most {SITES_MAX} may")]
    TooMany(usize),
    /// A target that is an export itself.
    #[error(
        "{0} is an export itself: write a directory or file beneath it, which the job puts in place as a whole"
    )]
    TargetIsExport(String),
    /// The weight.
    #[error("a weight of {0} is out of range: write 1 to {WEIGHT_MAX}")]
    Weight(u32),
    /// The cap.
    #[error("a cap of nothing would never end: pause the job, or write a rate")]
    Cap,
    /// The calendar.
    #[error("`{0}` is no name of a calendar")]
    Calendar(String),
    /// The deadline.
    #[error(
        "its deadline is not behind its start: write a later `deadline`, or an earlier `start`"
    )]
    Deadline,
    /// A path.
    #[error("a place gets too long: {0}")]
    Path(#[from] PathError),
}

/// What goes from one source to the targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leg {
    /// What it is called on the wire.
    pub key: FolderKey,
    /// From where.
    pub source: Place,
    /// To where.
    pub targets: Vec<Place>,
}

impl Leg {
    /// The part of a site in it, if it has one.
    pub fn place_of(&self, site: SiteId) -> Option<&Place> {
        core::iter::once(&self.source).chain(&self.targets).find(|place| place.site == site)
    }

    /// Who takes part in it.
    pub fn sites(&self) -> BTreeSet<SiteId> {
        core::iter::once(&self.source).chain(&self.targets).map(|place| place.site).collect()
    }
}

impl Spec {
    /// Checks everything that can be known without asking a site.
    ///
    /// # Errors
    /// [`SpecError`]: the first rule that it breaks.
    pub fn check(&self) -> Result<(), SpecError> {
        if !is_plain_name(&self.name) {
            return Err(SpecError::Name(self.name.clone()));
        }
        let (kind, sources, targets) = (self.kind.name(), self.sources.len(), self.targets.len());
        let count = |wanted, found| Err(SpecError::Count { kind, wanted, found });
        match self.kind {
            Kind::Distribute | Kind::Copy if sources != 1 => count("one source", sources)?,
            Kind::Copy | Kind::Consolidate if targets != 1 => count("one target", targets)?,
            Kind::Consolidate if sources == 0 => count("a source", sources)?,
            Kind::Distribute if targets == 0 => count("a target", targets)?,
            _ => {}
        }
        if sources + targets > SITES_MAX {
            return Err(SpecError::TooMany(sources + targets));
        }
        let mut seen = BTreeSet::new();
        for place in self.sources.iter().chain(&self.targets) {
            if !seen.insert(place.site) {
                return Err(SpecError::Twice(place.label.clone()));
            }
        }
        let whole = self.targets.iter().find(|place| place.path.is_none());
        if let Some(whole) = whole.filter(|_| self.kind != Kind::Consolidate) {
            return Err(SpecError::TargetIsExport(whole.to_string()));
        }
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return Err(SpecError::Weight(self.weight));
        }
        if self.cap == Some(BitRate::bps(0)) {
            return Err(SpecError::Cap);
        }
        if let Some(calendar) = self.calendar.as_ref().filter(|name| !is_plain_name(name)) {
            return Err(SpecError::Calendar(calendar.clone()));
        }
        self.times.check()?;
        self.legs().map(|_| ())
    }

    /// What goes where: one for each source.
    ///
    /// # Errors
    /// [`SpecError::Path`].
    pub fn legs(&self) -> Result<Vec<Leg>, SpecError> {
        let legs = self.sources.iter().map(|source| {
            let targets = match self.kind {
                Kind::Distribute | Kind::Copy => self.targets.clone(),
                Kind::Consolidate => {
                    let beneath = self.targets.iter().map(|to| to.beneath(&source.label));
                    beneath.collect::<Result<_, _>>()?
                }
            };
            // No id of a configured folder has a colon in it.
            let key = FolderKey::of_id(&format!("job:{}:{}", self.id, source.site));
            Ok(Leg { key, source: source.clone(), targets })
        });
        legs.collect()
    }

    /// Who takes part.
    pub fn sites(&self) -> BTreeSet<SiteId> {
        self.sources.iter().chain(&self.targets).map(|place| place.site).collect()
    }

    /// What the leader calls a site.
    pub fn label_of(&self, site: SiteId) -> Option<&str> {
        let mut places = self.sources.iter().chain(&self.targets);
        places.find(|place| place.site == site).map(|place| place.label.as_str())
    }
}

/// As it travels and is kept (spec: S-231).
#[derive(Encode, Decode)]
pub(super) struct SpecWire {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    id: [u8; 16],
    #[n(1)]
    revision: u64,
    #[n(2)]
    name: String,
    #[n(3)]
    kind: u8,
    #[n(4)]
    sources: Vec<PlaceWire>,
    #[n(5)]
    targets: Vec<PlaceWire>,
    #[n(6)]
    class: u8,
    #[n(7)]
    weight: u32,
    #[n(8)]
    cap: Option<u64>,
    #[n(9)]
    calendar: Option<String>,
    #[n(10)]
    together: bool,
    /// Who kept an order without these has none.
    #[n(11)]
    start: Option<u64>,
    #[n(12)]
    deadline: Option<u64>,
}

impl From<&Spec> for SpecWire {
    fn from(spec: &Spec) -> Self {
        let places = |all: &[Place]| all.iter().map(PlaceWire::from).collect();
        Self {
            id: spec.id.0,
            revision: spec.revision,
            name: spec.name.clone(),
            kind: match spec.kind {
                Kind::Distribute => 0,
                Kind::Consolidate => 1,
                Kind::Copy => 2,
            },
            sources: places(&spec.sources),
            targets: places(&spec.targets),
            class: match spec.class {
                Class::Urgent => 0,
                Class::Normal => 1,
                Class::Background => 2,
            },
            weight: spec.weight,
            cap: spec.cap.map(BitRate::get),
            calendar: spec.calendar.clone(),
            together: spec.activate == Activate::Together,
            start: spec.times.start_millis,
            deadline: spec.times.deadline_millis,
        }
    }
}

impl SpecWire {
    /// Checks what came; `None` if no site made it so.
    pub(super) fn check(self) -> Option<Spec> {
        if self.sources.len().saturating_add(self.targets.len()) > SITES_MAX {
            return None;
        }
        let places = |all: Vec<PlaceWire>| -> Option<Vec<Place>> {
            all.into_iter().map(PlaceWire::check).collect()
        };
        let spec = Spec {
            id: JobId(self.id),
            revision: self.revision,
            name: self.name,
            kind: match self.kind {
                0 => Kind::Distribute,
                1 => Kind::Consolidate,
                2 => Kind::Copy,
                _ => return None,
            },
            sources: places(self.sources)?,
            targets: places(self.targets)?,
            class: Class::ALL.get(usize::from(self.class)).copied()?,
            weight: self.weight,
            cap: self.cap.map(BitRate::bps),
            calendar: self.calendar,
            activate: if self.together { Activate::Together } else { Activate::Each },
            times: Times { start_millis: self.start, deadline_millis: self.deadline },
        };
        spec.check().is_ok().then_some(spec)
    }
}
