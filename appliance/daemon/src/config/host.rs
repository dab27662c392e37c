//! What a configuration names and is not there on this host: for `farhauld check`. A site runs all the
//! same: a disk may be mounted later, and a state is made at the first start.

use super::calendars;
use super::fault::{Faults, shown};
use super::places::{self, Place, THE_STATE};
use super::{ApiPlace, Site};
use crate::http::{TOKEN_FILE, check_token};
use jiff::tz::TimeZone;
use std::io;
use std::path::{Path, PathBuf};

/// How much of this host is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Host {
    /// Where a path leads.
    pub(super) real: fn(&Path) -> PathBuf,
    /// Whether what is named has to be there.
    pub(super) is_checked: bool,
    /// Where the clocks of a place are looked up.
    pub(super) zone: fn(&str) -> Option<TimeZone>,
}

impl Host {
    /// None of it.
    pub(super) const UNSEEN: Self =
        Self { real: Path::to_path_buf, is_checked: false, zone: calendars::bundled };
    /// Links are followed.
    pub(super) const FOLLOWED: Self =
        Self { real: places::followed, is_checked: false, zone: calendars::zone };
    /// What is named has to be there.
    pub(super) const CHECKED: Self =
        Self { real: places::followed, is_checked: true, zone: calendars::zone };
}

/// Finds folders that are not there, and a token that lets nobody in.
pub(super) fn check(site: Option<&Site>, all: &[Place], faults: &mut Faults) {
    for place in all {
        if place.called == THE_STATE {
            check_state(site, place, faults);
        } else if let Some((what, advice)) = missing(&place.path) {
            let path = shown(&place.path.to_string_lossy());
            faults.add(place.at, format!("{}: {path} {what}", place.called), advice);
        }
    }
}

/// Why a folder cannot be kept at a place, and what to do.
fn missing(path: &Path) -> Option<(String, &'static str)> {
    let found = std::fs::metadata(path).and_then(|meta| match meta.is_dir() {
        true => std::fs::read_dir(path).map(drop),
        false => Err(io::ErrorKind::NotADirectory.into()),
    });
    let error = found.err()?;
    Some(match error.kind() {
        io::ErrorKind::NotFound => (
            "does not exist".to_owned(),
            "make it (mkdir), or mount its disk: until then the folder halts",
        ),
        io::ErrorKind::NotADirectory => {
            ("is no directory".to_owned(), "name a directory, or move away what stands there")
        }
        io::ErrorKind::PermissionDenied => (
            "cannot be read by this user".to_owned(),
            "give the user of the site access to it, or run the check as that user",
        ),
        _ => (format!("cannot be read: {error}"), "see what the system's log says of its disk"),
    })
}

fn check_state(site: Option<&Site>, place: &Place, faults: &mut Faults) {
    if std::fs::metadata(&place.path).is_ok_and(|meta| !meta.is_dir()) {
        let what = format!("`state`: {} is no directory", shown(&place.path.to_string_lossy()));
        faults.add(place.at, what, "name a directory, or one that is to be made");
        return;
    }
    // Whoever may open a socket needs no token.
    if !site.is_some_and(|site| matches!(site.api, ApiPlace::Tcp(_))) {
        return;
    }
    if let Err(error) = check_token(&place.path) {
        let file = place.path.join(TOKEN_FILE);
        let what = format!("the token of the API, {}: {error}", shown(&file.to_string_lossy()));
        faults.add(place.at, what, "remove that file: one is made at the next start");
    }
}
