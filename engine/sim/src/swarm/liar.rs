//! Sites that lie: what they say and give, without any of the product's own care.

use crate::rng::Rng;

/// How a site lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// It claims everything and gives other bytes.
    BadBytes,
    /// It claims everything and gives nothing.
    Silence,
    /// It names chunks that do not exist.
    Nonsense,
    /// It takes what origins show, keeps it, claims a huge uplink and accuses its neighbours.
    Slander,
}

impl Lie {
    /// One of them.
    pub(super) fn any(rng: &mut Rng) -> Self {
        match rng.below(4) {
            0 | 1 => Self::BadBytes,
            2 => Self::Silence,
            _ if rng.chance(0.5) => Self::Nonsense,
            _ => Self::Slander,
        }
    }
}
