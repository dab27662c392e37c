//! What sites say to each other about a content that spreads: on the wire only sites and pieces have
//! names, so that nobody has to know how another one numbers its neighbours (spec: S-223).

use super::{Fault, NEIGHBOURS_MAX, RUNS_MAX, Run};
use farhaul_proto::ids::SiteId;
use minicbor::{Decode, Encode};

/// Sites named in one word at most.
pub const NAMED_MAX: usize = 2 * NEIGHBOURS_MAX;

/// A site, as it is named on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Named(
    #[n(0)]
    #[cbor(with = "crate::cbor::name")]
    pub SiteId,
);

/// Verified bytes that came from a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Given {
    /// From whom.
    #[n(0)]
    #[cbor(with = "crate::cbor::name")]
    pub site: SiteId,
    /// How many, since that was last said.
    #[n(1)]
    pub bytes: u64,
}

/// What is said of one content.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Word {
    /// The first one: this site takes part from now on, has these, and knows nothing of what was said
    /// to it before.
    #[n(0)]
    Hello {
        /// Pieces that it has, as many as there is room for.
        #[n(0)]
        runs: Vec<Run>,
    },
    /// These are there as well. Of the source: these may be asked for by whom it says it to.
    #[n(1)]
    Have {
        /// Which.
        #[n(0)]
        runs: Vec<Run>,
    },
    /// To the source, each second: what is new, and from whom it came.
    #[n(2)]
    Report {
        /// Pieces that are new.
        #[n(0)]
        runs: Vec<Run>,
        /// From whom how much came.
        #[n(1)]
        given: Vec<Given>,
    },
    /// Of the source: whom to hear of, and who is set aside.
    #[n(3)]
    Plan {
        /// Whom to hear of.
        #[n(0)]
        neighbours: Vec<Named>,
        /// Who lies, or gives bytes that are something else.
        #[n(1)]
        aside: Vec<Named>,
    },
    /// To the source: a site is accused.
    #[n(4)]
    Blame {
        /// Which.
        #[n(0)]
        #[cbor(with = "crate::cbor::name")]
        site: SiteId,
        /// Of what.
        #[n(1)]
        fault: Fault,
    },
    /// The last one: nothing is asked for or given here any more.
    #[n(5)]
    Left,
}

impl Word {
    /// Whether it says no more than one may hold.
    pub(crate) const fn is_bounded(&self) -> bool {
        match self {
            Self::Hello { runs } | Self::Have { runs } => runs.len() <= RUNS_MAX,
            Self::Report { runs, given } => runs.len() <= RUNS_MAX && given.len() <= NAMED_MAX,
            Self::Plan { neighbours, aside } => {
                neighbours.len() <= NAMED_MAX && aside.len() <= NAMED_MAX
            }
            Self::Blame { .. } | Self::Left => true,
        }
    }
}
