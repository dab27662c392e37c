//! Where folders and the state lie: none in another, not even by way of a link.
//!
//! A folder within a folder would be kept identical twice, and a state within a folder would travel.

use super::fault::{Faults, shown};
use std::path::{Component, Path, PathBuf};

/// A place of this host, and where the configuration names it.
pub(super) struct Place {
    /// The byte in the text.
    pub(super) at: usize,
    /// In messages: `folder x`.
    pub(super) called: String,
    /// As written, without what stands for nothing.
    pub(super) path: PathBuf,
}

/// What the state is called in messages.
pub(super) const THE_STATE: &str = "the state";
/// Longer paths the kernel does not take.
const PATH_MAX: usize = 4095;

/// A path as it may stand in a configuration, without `.` and doubled slashes; else why not.
pub(super) fn absolute(text: &str) -> Result<PathBuf, &'static str> {
    let path = Path::new(text);
    if !path.is_absolute() {
        return Err("is no absolute path");
    }
    if text.len() > PATH_MAX || text.contains('\0') {
        return Err("is too long or has a zero byte");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("has `..` in it");
    }
    let plain: PathBuf = path.components().collect();
    if plain.parent().is_none() {
        return Err("is the root of the system");
    }
    Ok(plain)
}

/// Where a path leads once its links are followed, as far as it exists.
pub(super) fn followed(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), path.strip_prefix(above)) {
            // A rest of nothing would leave a slash at the end.
            return real.components().chain(rest.components()).collect();
        }
    }
    path.to_owned()
}

/// Finds places in each other; `real` says where a path leads.
pub(super) fn check_apart(
    places: Vec<Place>,
    real: &dyn Fn(&Path) -> PathBuf,
    faults: &mut Faults,
) {
    let mut places: Vec<(PathBuf, Place)> =
        places.into_iter().map(|place| (real(&place.path), place)).collect();
    // By names, so that what lies beneath a place stands right behind it.
    places.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.at.cmp(&b.1.at)));
    let mut above: Vec<&(PathBuf, Place)> = Vec::new();
    for inner in &places {
        while above.pop_if(|outer| !inner.0.starts_with(&outer.0)).is_some() {}
        if let Some(outer) = above.last() {
            let is_same = inner.0 == outer.0;
            let how = if is_same { "is the same directory as" } else { "lies within" };
            let what = format!("{} {how} {}", described(inner), described(outer));
            faults.add(inner.1.at, what, "name places of which none lies in another");
        }
        above.push(inner);
    }
}

fn described((real, place): &(PathBuf, Place)) -> String {
    let path = |path: &Path| shown(&path.to_string_lossy());
    if *real == place.path {
        return format!("{} ({})", place.called, path(&place.path));
    }
    format!("{} ({}, which is {})", place.called, path(&place.path), path(real))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(paths: &[&str]) -> usize {
        let place = |(at, path): (usize, &&str)| Place {
            at,
            called: format!("place {at}"),
            path: PathBuf::from(path),
        };
        let mut faults = Faults::default();
        let places = paths.iter().enumerate().map(place).collect();
        check_apart(places, &Path::to_path_buf, &mut faults);
        faults.placed("").len()
    }

    #[test]
    fn names_that_only_begin_alike_are_apart() {
        assert_eq!(found(&["/a", "/ab", "/a-b", "/b/a"]), 0);
        assert_eq!(found(&["/a/b", "/a-b", "/a"]), 1);
        assert_eq!(found(&["/a", "/a", "/a/b/c"]), 2);
    }

    proptest! {
        #[test]
        fn what_lies_in_each_other_is_found_and_nothing_else(
            paths in prop::collection::vec("(/[ab.-]{1,2}){1,3}", 0..8),
        ) {
            let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
            let paths: Vec<&str> =
                paths.into_iter().filter(|path| absolute(path).is_ok_and(|plain| plain.as_os_str() == *path)).collect();
            let is_inside = |inner: usize, outer: usize| {
                inner != outer && Path::new(paths[inner]).starts_with(paths[outer])
                    && (paths[inner] != paths[outer] || outer < inner)
            };
            let all = 0..paths.len();
            let expected =
                all.clone().filter(|&inner| all.clone().any(|outer| is_inside(inner, outer)));
            prop_assert_eq!(found(&paths), expected.count());
        }
    }
}
