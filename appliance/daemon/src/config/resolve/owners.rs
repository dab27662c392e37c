//! Names of owners that are others here than elsewhere.

use super::super::raw::{At, Key, Section};
use super::{Faults, shown};
use farhaul_files::digits_of;
use farhaul_files::people::{NameMap, can_travel};

const MAP_USERS: Key = Key { name: "map-users", example: "{ \"alice\" = \"al\" }" };
const MAP_GROUPS: Key = Key { name: "map-groups", example: "{ \"staff\" = \"users\" }" };

/// Which users of versions are which users here.
pub(super) fn users(section: &mut Section<'_>, faults: &mut Faults) -> NameMap {
    map(section, MAP_USERS, faults)
}

/// Which groups of versions are which groups here.
pub(super) fn groups(section: &mut Section<'_>, faults: &mut Faults) -> NameMap {
    map(section, MAP_GROUPS, faults)
}

fn map(section: &mut Section<'_>, key: Key, faults: &mut Faults) -> NameMap {
    let pairs = section.pairs(key, faults).unwrap_or_default();
    let mut is_wrong = false;
    for (said, here) in &pairs {
        // Digits are a number that has no name elsewhere.
        let is_said =
            can_travel(said.value.as_bytes()) || digits_of(said.value.as_bytes()).is_some();
        for (name, is_name) in [(said, is_said), (here, can_travel(here.value.as_bytes()))] {
            if !is_name {
                let what = format!("`{}`: \"{}\" is no name", key.name, shown(name.value));
                let advice = "write one as `getent` prints it: 1 to 255 bytes, no `:`, and on the \
                              right not only digits";
                faults.add(name.at, what, advice);
                is_wrong = true;
            }
        }
    }
    if is_wrong {
        return NameMap::default();
    }
    let bytes = |name: &At<&str>| name.value.as_bytes().into();
    match NameMap::new(pairs.iter().map(|(said, here)| (bytes(said), bytes(here)))) {
        Ok(map) => map,
        Err(two) => {
            // What is found to be one's is called by one name.
            let at = pairs.get(two.number).map_or(section.at(), |(_, here)| here.at);
            let name = String::from_utf8_lossy(&two.name).into_owned();
            let what = format!("`{}`: \"{}\" is two at once", key.name, shown(&name));
            faults.add(at, what, "give each name one that no other one has");
            NameMap::default()
        }
    }
}
