//! Names of versions: who published it, in which life of its index, as the how manyth.

use core::fmt;
use farhaul_proto::ids::SiteId;

/// A life of a site's index, drawn at random whenever the index is made, lost, restored or
/// suspected of having been rolled back: numbers given in one life are never given in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(u64);

impl Incarnation {
    /// Wraps a number that was drawn at random.
    pub const fn new(random: u64) -> Self {
        Self(random)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A site in one life of its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author {
    /// Whose key signs.
    pub site: SiteId,
    /// Which life.
    pub incarnation: Incarnation,
}

/// The how manyth version of its author in a folder; strictly increasing, the first is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(u64);

impl Serial {
    /// The first that an author gives.
    pub const FIRST: Self = Self(1);

    /// Wraps a number; `None` for 0, which no version has.
    pub const fn new(n: u64) -> Option<Self> {
        if n == 0 { None } else { Some(Self(n)) }
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one that follows; `None` at the end of the numbers.
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

/// The name of a version: no two versions ever have the same one, unless their author lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who published it.
    pub author: Author,
    /// As the how manyth.
    pub serial: Serial,
}

impl Dot {
    /// The name of what stands on a disk and no version says, where something has to be put in its
    /// place. No key has this site's id; nobody publishes it, and no context holds it.
    pub const NOBODY: Self = Self {
        author: Author { site: SiteId([0xff; 32]), incarnation: Incarnation(u64::MAX) },
        serial: Serial::FIRST,
    };
}

impl fmt::Debug for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let site = self.author.site.to_string();
        let life = self.author.incarnation.get();
        write!(f, "{}:{life:x}:{}", &site[..6], self.serial.get())
    }
}
