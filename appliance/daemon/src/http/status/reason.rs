//! Why a folder is at what it is at: everything that is left undone, with counts and what to do next.

use crate::control::FolderFacts;
use crate::http::look::Counted;
use crate::told;
use farhaul_api::FolderState;
use farhaul_sync::folder::Trip;

/// In words; `None` where there is nothing to say.
pub(super) fn of(facts: &FolderFacts, counted: Option<&Counted>) -> Option<String> {
    let name = &facts.name;
    let mut reasons: Vec<String> = Vec::new();
    match (facts.state, facts.troubles.first()) {
        // What is said of it says what to do as well.
        (FolderState::Halted, Some(trouble)) => return Some(trouble.why.clone()),
        // Counts are a few seconds old.
        (FolderState::InSync, _) => return facts.reason.clone(),
        _ => reasons.extend(facts.reason.clone()),
    }
    for (origin, Trip { deleted, rewritten, of, .. }) in &facts.trips {
        let (files, paths) =
            (told::count(*deleted, "file", "files"), told::count(*of, "path", "paths"));
        reasons.push(format!(
            "a mass change ({origin}) is held, {files} deleted and {rewritten} rewritten of \
             {paths}: `farhaul folder show {name}`, then `farhaul folder confirm {name} {origin}` \
             or `refuse`"
        ));
    }
    let count = |read: fn(&Counted) -> u64| counted.map_or(0, read);
    for (count, one, more, next) in [
        (
            count(|counted| counted.waiting),
            "path is not published",
            "paths are not published",
            "folder waiting",
        ),
        (
            count(|counted| counted.set_aside),
            "version is set aside",
            "versions are set aside",
            "aside list",
        ),
        (
            facts.failing,
            "path failed when it was last tried",
            "paths failed when they were last tried",
            "folder missing",
        ),
    ] {
        if count > 0 {
            let what = told::count(count, one, more);
            reasons.push(format!("{what}: `farhaul {next} {name}`"));
        }
    }
    if let Some(first) = facts.troubles.first() {
        let count = facts.troubles.len() as u64;
        let count = told::count(count, "thing does not work", "things do not work");
        let what = format!("{count}, first `{}`", first.what);
        reasons.push(format!("{what}: `farhaul folder show {name}`"));
    }
    if reasons.is_empty() && facts.state == FolderState::Waiting {
        reasons.push(format!("something waits: `farhaul folder show {name}`"));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Watching;
    use farhaul_api::{KeptStatus, ScrubStatus, Trouble};
    use farhaul_sync::folder::Origin;
    use std::time::Duration;

    fn facts(state: FolderState) -> FolderFacts {
        FolderFacts {
            name: "docs".to_owned(),
            path: "/docs".into(),
            opened: 1,
            state,
            reason: None,
            fetching: 0,
            fetching_bytes: 0,
            is_scanning: false,
            scan_ended_millis: None,
            next_scan: Duration::ZERO,
            watching: Watching::default(),
            scrub: ScrubStatus::default(),
            kept: KeptStatus::default(),
            troubles: Vec::new(),
            failing: 0,
            trips: Vec::new(),
            unheard: Vec::new(),
            peers: Vec::new(),
        }
    }

    #[test]
    fn what_is_left_undone_is_told_with_counts_and_the_next_command() {
        assert_eq!(of(&facts(FolderState::InSync), None), None);
        let mut waiting = facts(FolderState::Waiting);
        assert!(of(&waiting, None).expect("never nothing").contains("farhaul folder show docs"));
        let trip = Trip {
            since_millis: 5,
            deleted: 90,
            rewritten: 2,
            passed: 0,
            of: 100,
            is_all: false,
            examples: Vec::new(),
        };
        waiting.trips.push((Origin::Disk, trip));
        waiting.failing = 3;
        let trouble = Trouble {
            what: "cannot be scanned".to_owned(),
            why: "EIO".to_owned(),
            since: String::new(),
        };
        waiting.troubles.push(trouble.clone());
        let told = of(&waiting, None).expect("much");
        for part in [
            "90 files deleted and 2 rewritten of 100 paths",
            "`farhaul folder confirm docs disk`",
            "3 paths failed",
            "`farhaul folder missing docs`",
            "1 thing does not work, first `cannot be scanned`",
        ] {
            assert!(told.contains(part), "{told}");
        }
        let halted = FolderFacts { troubles: vec![trouble], ..facts(FolderState::Halted) };
        assert_eq!(of(&halted, None).as_deref(), Some("EIO"));
    }
}
