//! Where a job takes from or puts to: a site, an export of it, and a path beneath that.

use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::{PathError, RelPath};
use minicbor::{Decode, Encode};
use std::fmt;
use std::str::FromStr;

/// Bytes of the name of a site, as in its configuration.
const LABEL_MAX: usize = 64;

/// What an export is called: 1 to 64 of a-z, 0-9, `.`, `_` and `-`, a letter or a digit first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportName(String);

impl ExportName {
    /// Checks a name; `None` if it is none.
    pub fn new(text: &str) -> Option<Self> {
        is_plain_name(text).then(|| Self(text.to_owned()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names of jobs and exports; those of folders are the same.
pub(super) fn is_plain_name(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(is_plain)
        && text.len() <= 64
        && text.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte))
}

/// A place in the words of a person: `SITE:EXPORT/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceText {
    /// What the site is called where this was written.
    pub site: String,
    /// Which of its exports.
    pub export: ExportName,
    /// Beneath it; `None`: the export itself.
    pub path: Option<RelPath>,
}

/// Why a text is no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlaceError {
    /// There is no colon, or nothing in front of it.
    #[error("no site stands in front: write SITE:EXPORT/PATH")]
    NoSite,
    /// The name of the export is none.
    #[error("`{0}` is no name of an export: write SITE:EXPORT/PATH")]
    Export(String),
    /// The path is none.
    #[error("the path in it is refused: {0}")]
    Path(#[from] PathError),
}

impl FromStr for PlaceText {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let (site, rest) = text.split_once(':').ok_or(PlaceError::NoSite)?;
        if !is_label(site) {
            return Err(PlaceError::NoSite);
        }
        let (export, path) = rest.split_once('/').unwrap_or((rest, ""));
        let named = ExportName::new(export).ok_or_else(|| PlaceError::Export(export.to_owned()))?;
        let path = path.trim_end_matches('/');
        let path = if path.is_empty() { None } else { Some(RelPath::parse(path.as_bytes())?) };
        Ok(Self { site: site.to_owned(), export: named, path })
    }
}

/// Letters, digits, `.`, `_` and `-`: what the configuration takes as the name of a site.
fn is_label(text: &str) -> bool {
    let fits = |c: char| c.is_alphanumeric() || "._-".contains(c);
    (1..=LABEL_MAX).contains(&text.len()) && text.chars().all(fits)
}

/// A place of a job, as all sites know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose.
    pub site: SiteId,
    /// What the leader calls that site: for people, and the name space of a source.
    pub label: String,
    /// Which of its exports.
    pub export: ExportName,
    /// Beneath it; `None`: the export itself.
    pub path: Option<RelPath>,
}

impl Place {
    /// The same place of a site that is known.
    pub fn of(text: PlaceText, site: SiteId) -> Self {
        Self { site, label: text.site, export: text.export, path: text.path }
    }

    /// A place beneath it.
    ///
    /// # Errors
    /// The path gets too long.
    pub fn beneath(&self, name: &str) -> Result<Self, PathError> {
        let path = match &self.path {
            Some(path) => path.join_name(name.as_bytes())?,
            None => RelPath::parse(name.as_bytes())?,
        };
        Ok(Self { path: Some(path), ..self.clone() })
    }

    /// Whether it is the same, whatever the site is called.
    pub fn is_same(&self, other: &Self) -> bool {
        (self.site, &self.export, &self.path) == (other.site, &other.export, &other.path)
    }

    /// Whether two places of one site are one, or one lies in the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        let (Some(mine), Some(theirs)) = (&self.path, &other.path) else {
            return self.site == other.site && self.export == other.export;
        };
        self.site == other.site
            && self.export == other.export
            && (mine.starts_with(theirs) || theirs.starts_with(mine))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.label, self.export.0)?;
        match &self.path {
            Some(path) => write!(f, "/{path}"),
            None => Ok(()),
        }
    }
}

/// As it travels.
#[derive(Encode, Decode)]
pub(super) struct PlaceWire {
    #[n(0)]
    #[cbor(with = "crate::cbor::name")]
    site: SiteId,
    #[n(1)]
    label: String,
    #[n(2)]
    export: String,
    #[n(3)]
    #[cbor(with = "minicbor::bytes")]
    path: Vec<u8>,
}

impl From<&Place> for PlaceWire {
    fn from(place: &Place) -> Self {
        Self {
            site: place.site,
            label: place.label.clone(),
            export: place.export.0.clone(),
            path: place.path.as_ref().map_or_else(Vec::new, |path| path.as_bytes().to_vec()),
        }
    }
}

impl PlaceWire {
    /// Checks what came.
    pub(super) fn check(self) -> Option<Place> {
        let path = if self.path.is_empty() { None } else { Some(RelPath::parse(&self.path).ok()?) };
        let export = ExportName::new(&self.export)?;
        let label = is_label(&self.label).then_some(self.label)?;
        Some(Place { site: self.site, label, export, path })
    }
}
