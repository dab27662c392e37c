//! From what somebody found on disk to a version, or to the insight that there is none to publish.

use super::item::{Found, Item, Placed};
use crate::version::{
    Author, Content, Context, Dot, Meta, Serial, Shown, Stamp, TooManyVersions, Version,
    successor_context, view,
};

/// Gives out dots and stamps for one author.
///
/// Whoever owns it keeps [`Publisher::next`] durable before a version leaves the site: a number that
/// was given twice would make two versions one (invariant I12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    author: Author,
    next: Option<Serial>,
}

/// What a look at the disk came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Nothing new.
    Same,
    /// The content is that of a version which was not known to stand there: nobody edited anything.
    Adopted(Dot),
    /// Somebody edited, created or deleted: the version that says so, to be stored and sent.
    Published {
        /// What is new.
        version: Version,
        /// What it covers.
        covered: Vec<Version>,
    },
}

/// Why an edit has no version; it stays on disk, and what is there is not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unpublished {
    /// The path has too many versions.
    #[error(transparent)]
    Crowded(#[from] TooManyVersions),
    /// An author has no numbers left; a new incarnation has.
    #[error("this index has given all its numbers")]
    NumbersUsedUp,
}

impl Publisher {
    /// An author that gives `next` as its next number.
    pub const fn new(author: Author, next: Serial) -> Self {
        Self { author, next: Some(next) }
    }

    /// Who publishes.
    pub const fn author(&self) -> Author {
        self.author
    }

    /// The number of the next version.
    pub const fn next(&self) -> Option<Serial> {
        self.next
    }

    /// Takes in what was found at a path; `None`: nothing stands there. `wall_millis` is the time by
    /// the site's clock.
    ///
    /// # Errors
    /// [`Unpublished`]; the item is as it was.
    pub fn observe(
        &mut self,
        item: &mut Item,
        found: Option<Found>,
        wall_millis: u64,
    ) -> Result<Observed, Unpublished> {
        let found = found.map(Found::without_noise);
        match (found, item.placed.take()) {
            (None, None) => Ok(Observed::Same),
            (None, Some(placed)) => {
                let gone =
                    self.publish(item, Content::Gone, Meta::default(), Some(&placed), wall_millis);
                item.placed = gone.is_err().then_some(placed);
                gone
            }
            (Some(found), Some(placed)) if is_unchanged(&found, &placed) => {
                item.placed = Some(Placed { identity: found.identity, ..placed });
                Ok(Observed::Same)
            }
            (Some(found), placed) => self.observe_change(item, found, placed, wall_millis),
        }
    }

    fn observe_change(
        &mut self,
        item: &mut Item,
        found: Found,
        placed: Option<Placed>,
        wall_millis: u64,
    ) -> Result<Observed, Unpublished> {
        let Found { content, meta, identity } = found;
        if let Some(version) = standing(item, &content, &meta, placed.is_some()) {
            let dot = version.dot;
            item.placed = Some(Placed { version, meta, identity });
            return Ok(Observed::Adopted(dot));
        }
        let wall_millis = match &placed {
            Some(_) => wall_millis,
            // Nobody knows when this came here; when it was last modified tells more than when it
            // was found, and an index that was lost does not make old files new.
            None => wall_millis.min(millis_of(&meta)),
        };
        let published = self.publish(item, content, meta.clone(), placed.as_ref(), wall_millis);
        item.placed = match &published {
            Ok(Observed::Published { version, .. }) => {
                Some(Placed { version: version.clone(), meta, identity })
            }
            Ok(_) | Err(_) => placed,
        };
        published
    }

    fn publish(
        &mut self,
        item: &mut Item,
        content: Content,
        meta: Meta,
        placed: Option<&Placed>,
        wall_millis: u64,
    ) -> Result<Observed, Unpublished> {
        let shown: Vec<&Version> = placed.iter().map(|placed| &placed.version).collect();
        let context = successor_context(&item.versions, &shown, self.author);
        let (version, covered) =
            self.publish_over(item, context, (content, meta), &shown, wall_millis)?;
        Ok(Observed::Published { version, covered })
    }

    /// Puts a version over what `context` names; `shown` may have left the item's set.
    pub(super) fn publish_over(
        &mut self,
        item: &mut Item,
        context: Context,
        (content, meta): (Content, Meta),
        shown: &[&Version],
        wall_millis: u64,
    ) -> Result<(Version, Vec<Version>), Unpublished> {
        let serial = self.next.ok_or(Unpublished::NumbersUsedUp)?;
        let seen = item.versions.iter().filter(|version| context.contains(version.dot));
        let latest = seen.chain(shown.iter().copied()).map(|version| version.stamp).max();
        let stamp = match latest {
            Some(latest) => Stamp::after(latest, wall_millis),
            None => Stamp { millis: wall_millis, count: 0 },
        };
        let dot = Dot { author: self.author, serial };
        let version = Version { dot, context, stamp, content, meta };
        let covered = item.versions.insert(version.clone())?.into_covered();
        self.next = serial.next();
        Ok((version, covered))
    }
}

/// The version that already says what was found. Where this site knew of something at the path, that
/// is the one shown; any other that a user put there by hand is a choice to be published. Where it
/// knew of nothing, as after the loss of its index, it is whichever has that content: what else is
/// known of the path stays as it is (spec: S-006).
fn standing(item: &Item, content: &Content, meta: &Meta, was_placed: bool) -> Option<Version> {
    let shown = match view(&item.versions, item.has_children).shown {
        Shown::Version(version) => Some(version),
        Shown::Absent => item.copy.as_ref().map(|(_, loser)| loser),
        Shown::ImpliedDir => None,
    };
    let is_that = |version: &&Version| version.content == *content;
    let version = if was_placed {
        shown.filter(|version| is_that(version) && version.meta == *meta)
    } else {
        shown.filter(is_that).or_else(|| item.versions.iter().find(is_that))
    };
    version.cloned()
}

/// Whether nobody did anything.
fn is_unchanged(found: &Found, placed: &Placed) -> bool {
    found.content == placed.version.content && found.meta == placed.meta
}

/// The modification time in milliseconds since 1970; 0 before that.
fn millis_of(meta: &Meta) -> u64 {
    let seconds = u64::try_from(meta.mtime.secs).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(u64::from(meta.mtime.nanos / 1_000_000))
}
