//! The folder that a leg of a job is at this site: where it stands, what it may, with whom.

use super::JobsSetup;
use super::keep::Keep;
use super::switch::{NEXT, Target, is_file};
use crate::control::FolderSetup;
use crate::scan::{Rules, ScrubPlan};
use crate::store::retention::Retention;
use crate::store::{FolderMark, Store};
use crate::watch::{Limits, WatchMode};
use farhaul_engine::files::Root;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::{RESERVED_NAME, RelPath};
use farhaul_sync::folder::{Policy, Rights, Role};
use farhaul_sync::job::{Leg, Place, Spec};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long after a scan of its own the tree of a job is looked through again: a run says when.
const SCAN_EVERY: Duration = Duration::from_hours(30 * 24);
/// Versions of what a job replaced are not kept: what was visible before is.
const VERSIONS_AGE: Duration = Duration::from_hours(1);

/// Where a leg stands here.
pub(super) struct Standing {
    pub(super) setup: FolderSetup,
    /// Whether its source is a single file; of a target it is not known.
    pub(super) is_file: bool,
}

/// What users see of a target, and what the job keeps beside it.
pub(super) fn target_of(
    setup: &JobsSetup,
    (spec, leg): (&Spec, &Leg),
    me: SiteId,
) -> Result<Target, String> {
    let place = leg.place_of(me).ok_or("this site has no part in it")?;
    let export = export_path(setup, place)?;
    let live = place.path.clone().ok_or("it is an export itself")?;
    Target::open(&export, live, &kept_at(spec, leg)).map_err(|error| error.to_string())
}

/// The names, one in the other, beneath which a job keeps what it needs.
fn kept_at(spec: &Spec, leg: &Leg) -> [String; 3] {
    let id = spec.id.to_string();
    let job = format!("{}-{}", spec.name, id.get(..8).unwrap_or_default());
    ["jobs".to_owned(), job, leg.source.label.clone()]
}

/// Where that is, as a path.
fn next_of(
    setup: &JobsSetup,
    (spec, leg): (&Spec, &Leg),
    place: &Place,
) -> Result<PathBuf, String> {
    let kept = export_path(setup, place)?.join(OsStr::from_bytes(RESERVED_NAME));
    let kept = kept_at(spec, leg).into_iter().fold(kept, |kept, name| kept.join(name));
    Ok(kept.join(OsStr::from_bytes(NEXT)))
}

pub(super) fn export_path(setup: &JobsSetup, place: &Place) -> Result<PathBuf, String> {
    let export = setup.exports.iter().find(|export| export.name == place.export);
    let export = export.ok_or_else(|| format!("{place}: there is no export of that name"))?;
    if !export.path.is_dir() {
        return Err(format!("{place}: {} is no directory", export.path.display()));
    }
    Ok(export.path.clone())
}

/// A name for where a leg stands here: the same for the same directory only.
pub(super) fn at_of(setup: &JobsSetup, leg: &Leg, me: SiteId) -> String {
    let place = leg.place_of(me);
    let export =
        place.and_then(|place| setup.exports.iter().find(|export| export.name == place.export));
    let mut hasher = blake3::Hasher::new_derive_key("farhaul place of a job v1");
    hasher.update(export.map_or(&b""[..], |export| export.path.as_os_str().as_bytes()));
    hasher.update(&[0]);
    let path = place.and_then(|place| place.path.as_ref());
    hasher.update(path.map_or(&b""[..], |path| path.as_bytes()));
    hasher.finalize().to_hex().as_str().get(..16).unwrap_or_default().to_owned()
}

/// The folder of a leg.
///
/// # Errors
/// Why it cannot be one now, for people.
pub(super) fn standing(
    setup: &JobsSetup,
    keep: &Keep,
    (spec, leg): (&Spec, &Leg),
    me: SiteId,
) -> Result<Standing, String> {
    let place = leg.place_of(me).ok_or("this site has no part in it")?;
    let is_source = leg.source.site == me;
    let (path, rules, file) = if is_source {
        source_at(export_path(setup, place)?, place)?
    } else {
        let target = target_of(setup, (spec, leg), me)?;
        target.make_next().map_err(|error| error.to_string())?;
        (next_of(setup, (spec, leg), place)?, Rules::default(), false)
    };
    let at = at_of(setup, leg, me);
    let state = keep.leg(spec.id, (leg.source.site, &at)).map_err(|error| error.to_string())?;
    let role_of =
        |site: SiteId| if site == leg.source.site { Role::SourceOnly } else { Role::ReadOnly };
    let others: Vec<SiteId> = leg.sites().into_iter().filter(|site| *site != me).collect();
    let rights = Rights::new(role_of(me), others.iter().map(|site| (*site, role_of(*site))));
    let name = if spec.sources.len() > 1 {
        format!("job:{}:{}", spec.name, leg.source.label)
    } else {
        format!("job:{}", spec.name)
    };
    let setup = FolderSetup {
        name,
        key: leg.key,
        path,
        state,
        peers: others.into_iter().filter(|site| setup.peers.contains(site)).collect(),
        policy: Arc::new(Policy { rights, brake: None, keeps_deleted: false }),
        rules,
        scan_every: SCAN_EVERY,
        watch: WatchMode::Off,
        scrub: ScrubPlan { every: None, ..ScrubPlan::default() },
        retention: Retention { age: Some(VERSIONS_AGE), ..Retention::default() },
        watch_limits: Limits::default(),
        principals: Arc::clone(&setup.principals),
    };
    Ok(Standing { setup, is_file: file })
}

/// The directory that is read, and what of it is left out where it is one file.
pub(super) fn source_at(export: PathBuf, place: &Place) -> Result<(PathBuf, Rules, bool), String> {
    let Some(path) = &place.path else { return Ok((export, Rules::default(), false)) };
    let root = Root::open(&export).map_err(|error| error.to_string())?;
    let at = |path: &RelPath| export.join(OsStr::from_bytes(path.as_bytes()));
    match is_file(&root, path) {
        Some(false) => {
            // No link on the way may lead out of the export.
            root.open_dir(path).map_err(|error| format!("{place}: {error}"))?;
            Ok((at(path), Rules::default(), false))
        }
        Some(true) => {
            let name = std::str::from_utf8(path.file_name());
            let name = name.map_err(|_| format!("{place}: its name is no text"))?;
            let only = ["/*".to_owned(), format!("!/{}", escaped(name))];
            let rules = Rules::parse(&only).map_err(|error| format!("{place}: {error}"))?;
            Ok((path.parent().map_or(export.clone(), |parent| at(&parent)), rules, true))
        }
        None => Err(format!("{place}: there is no such file or directory")),
    }
}

/// Removes what marks a directory as the folder of a job, if it does.
pub(super) fn unmark(setup: &FolderSetup) -> Result<(), String> {
    let mark = FolderMark::load(&setup.state.join("mark")).map_err(|error| error.to_string())?;
    let Some(mark) = mark else { return Ok(()) };
    let store = Store::open(&setup.path, &mark, Arc::clone(&setup.principals));
    let store = store.map_err(|error| error.to_string())?;
    store.unmark().map_err(|error| error.to_string())
}

/// A name in which nothing is a pattern.
fn escaped(name: &str) -> String {
    let special = |c: char| "\\*?[]!# ".contains(c);
    name.chars().flat_map(|c| special(c).then_some('\\').into_iter().chain([c])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_single_file_nothing_else_is_read() {
        for name in ["golden.img", "a b", "x*[1]!#?", "\\odd"] {
            let rules = Rules::parse(&["/*".to_owned(), format!("!/{}", escaped(name))]);
            let rules = rules.expect("patterns");
            assert!(!rules.is_ignored(name.as_bytes(), false), "{name}");
            for other in ["golden.im", "other", "xx1!#?", "a"] {
                assert!(rules.is_ignored(other.as_bytes(), false), "{other} beside {name}");
            }
        }
    }
}
