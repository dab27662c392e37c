//! From what somebody found on disk to a version, or to the insight that there is none to publish.

use super::item::{Found, Item, Placed};
use crate::version::{
    Author, Content, Context, Dot, Meta, Serial, Shown, Stamp, TooManyVersions, Version,
    bounded_context, successor_context, view,
};

/// Gives out dots and stamps for one author.
///
/// Whoever owns it keeps [`Publisher::next`] durable before a version leaves the site: a number that
/// was given twice would make two versions one (invariant I12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    author: Author,
    next: Option<Serial>,
    /// Nothing is published: neighbours are heard first (spec: S-024).
    is_silent: bool,
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
        Self { author, next: Some(next), is_silent: false }
    }

    /// Publishes nothing until it is told otherwise: what would be published is to be remembered.
    #[must_use]
    pub const fn silent(self, is_silent: bool) -> Self {
        Self { is_silent, ..self }
    }

    /// Whether it publishes nothing.
    pub const fn is_silent(&self) -> bool {
        self.is_silent
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
        match judge(item, found.as_ref()) {
            Judged::Same(placed) => {
                item.placed = placed;
                return Ok(Observed::Same);
            }
            Judged::Adopted(placed) => {
                let dot = placed.version.dot;
                item.placed = Some(placed);
                return Ok(Observed::Adopted(dot));
            }
            Judged::New => {}
        }
        let placed = item.placed.take();
        let published = match &found {
            None => {
                self.publish(item, (Content::Gone, Meta::default()), placed.as_ref(), wall_millis)
            }
            Some(Found { content, meta, .. }) => {
                let wall_millis = match &placed {
                    Some(_) => wall_millis,
                    // Nobody knows when this came here; when it was last modified tells more than
                    // when it was found, and a lost index does not make old files new.
                    None => wall_millis.min(millis_of(meta)),
                };
                self.publish(item, (content.clone(), meta.clone()), placed.as_ref(), wall_millis)
            }
        };
        item.placed = match (&published, found) {
            (Ok(Observed::Published { version, .. }), Some(Found { meta, identity, .. })) => {
                Some(Placed { version: version.clone(), meta, identity })
            }
            (Ok(_), _) => None,
            (Err(_), _) => placed,
        };
        published
    }

    fn publish(
        &mut self,
        item: &mut Item,
        what: (Content, Meta),
        placed: Option<&Placed>,
        wall_millis: u64,
    ) -> Result<Observed, Unpublished> {
        let shown: Vec<&Version> = placed.iter().map(|placed| &placed.version).collect();
        let context = successor_context(&item.versions, &shown, self.author);
        let (version, covered) = self.publish_over(item, context, what, &shown, wall_millis)?;
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
        let context = bounded_context(context, &item.versions, shown);
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

/// What a look says, before anything is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    /// Nothing new; what stands there from now on.
    Same(Option<Placed>),
    /// What was found is what some version says.
    Adopted(Placed),
    /// Somebody did something.
    New,
}

/// What a look at the path of `item` says. `found` is without noise.
pub(super) fn judge(item: &Item, found: Option<&Found>) -> Judged {
    match (found, &item.placed) {
        (None, None) => Judged::Same(None),
        // What others deleted as well is nothing to be published.
        (None, Some(_)) if view(&item.versions, item.has_children).shown == Shown::Absent => {
            Judged::Same(None)
        }
        (None, Some(_)) => Judged::New,
        (Some(found), Some(placed)) if is_unchanged(found, placed) => {
            let identity = found.identity;
            Judged::Same(Some(Placed { identity, ..placed.clone() }))
        }
        (Some(found), placed) => {
            let Found { content, meta, identity } = found;
            let is_seen_off = placed.as_ref().is_some_and(|placed| is_left(item, placed, content));
            match standing(item, content, meta, placed.is_some()) {
                Some(version) if !is_seen_off => {
                    Judged::Adopted(Placed { version, meta: meta.clone(), identity: *identity })
                }
                _ => Judged::New,
            }
        }
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

/// Whether some version still says what stood there before `content` was put in its place. Then that
/// has to be said, also where others put the same there: somebody destroyed what may have stood
/// nowhere else, and sites would go on to ask each other for it.
fn is_left(item: &Item, placed: &Placed, content: &Content) -> bool {
    let stood = &placed.version.content;
    stood != content && item.versions.iter().any(|version| version.content == *stood)
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
