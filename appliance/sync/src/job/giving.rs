//! How fast something of a job goes from one site to another, and what limits it.

use farhaul_proto::ids::SiteId;
use farhaul_proto::units::BitRate;
use minicbor::{Decode, Encode};

/// Sites that a report names at most.
pub(super) const GIVES_MAX: usize = 1024;

/// What keeps a job from going faster to a site (spec: S-209).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobLimit {
    /// What the link of the giving site carries.
    Link,
    /// Others of its class have their share of that link.
    Share,
    /// The cap of the job, or one of the session.
    Cap,
    /// A calendar: of the job, of its class, or of the link.
    Calendar,
    /// What its class may have of the link, or a class that comes before it.
    Class,
    /// Somebody paused it.
    Paused,
    /// Reading at the giving site.
    SourceDisk,
    /// Writing at the taking site, or its room for what comes.
    Target,
    /// The way between them: what their session finds there.
    Path,
}

impl JobLimit {
    /// All of them, in the order of their numbers on the wire.
    pub const ALL: [Self; 9] = [
        Self::Link,
        Self::Share,
        Self::Cap,
        Self::Calendar,
        Self::Class,
        Self::Paused,
        Self::SourceDisk,
        Self::Target,
        Self::Path,
    ];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Share => "share",
            Self::Cap => "cap",
            Self::Calendar => "calendar",
            Self::Class => "class",
            Self::Paused => "paused",
            Self::SourceDisk => "source disk",
            Self::Target => "target",
            Self::Path => "path",
        }
    }
}

/// What a site gives of a job to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Giving {
    /// To whom.
    pub to: SiteId,
    /// How fast, in wire bytes.
    pub rate: BitRate,
    /// Why not faster.
    pub limit: JobLimit,
}

#[derive(Encode, Decode)]
pub(super) struct GivingWire {
    #[n(0)]
    #[cbor(with = "crate::cbor::name")]
    to: SiteId,
    #[n(1)]
    rate: u64,
    #[n(2)]
    limit: u8,
}

impl GivingWire {
    pub(super) const fn of(giving: &Giving) -> Self {
        Self { to: giving.to, rate: giving.rate.get(), limit: giving.limit as u8 }
    }

    /// `None` for a limit that is not known here: it is left out.
    pub(super) fn giving(&self) -> Option<Giving> {
        let limit = JobLimit::ALL.get(usize::from(self.limit)).copied()?;
        Some(Giving { to: self.to, rate: BitRate::bps(self.rate), limit })
    }
}
