//! Programs that run around what jobs do.

use super::super::*;
use std::os::unix::fs::PermissionsExt;

/// A program that says in the file `said` beside it that it ran and for what, shows whether a tree is visible, and fails
/// while there is a file `no`.
fn hook() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let script = "#!/bin/sh\n\
        dir=$1\n\
        seen=$(cat \"$FARHAUL_PATH/one\" 2>/dev/null)\n\
        echo \"$FARHAUL_HOOK $FARHAUL_ROLE $FARHAUL_ACT $FARHAUL_JOB $FARHAUL_RUN $seen\" >> \"$dir/said\"\n\
        if [ \"$FARHAUL_ROLE\" = source ]; then echo \"made$FARHAUL_RUN\" > \"$FARHAUL_PATH/one\"; fi\n\
        ! [ -e \"$dir/no-$FARHAUL_HOOK\" ]\n";
    let path = dir.path().join("hook");
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("made executable");
    dir
}

fn lines(dir: &TempDir, keys: &[&str]) -> String {
    let at = dir.path().display();
    keys.iter().map(|key| format!("{key} = [\"{at}/hook\", \"{at}\"]\n")).collect()
}

fn said(dir: &TempDir) -> Vec<String> {
    let said = fs::read_to_string(dir.path().join("said")).unwrap_or_default();
    said.lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn hooks_run_around_what_a_job_does_and_may_forbid_it() {
    let [source, target, open] = [hook(), hook(), hook()];
    let write = "write = [\"berlin\"]\n";
    let [berlin, tokyo, austin] = three_with([
        &format!("read = [\"tokyo\", \"austin\"]\n{}", lines(&source, &["before"])),
        &format!("{write}{}", lines(&target, &["before", "after"])),
        &format!("{write}{}", lines(&open, &["before"])),
    ]);
    // What others may write is not run.
    fs::set_permissions(open.path().join("hook"), fs::Permissions::from_mode(0o777)).expect("set");
    fs::create_dir(berlin.at("tree")).expect("made");
    fs::write(target.path().join("no-before"), "").expect("written");
    let job = berlin.job(
        "hooked",
        "kind = \"distribute\"\nsource = \"berlin:images/tree\"\n\
         targets = [\"tokyo:images/tree\", \"austin:images/tree\"]\n",
    );
    berlin.order(&["job", "create", &job]);
    let reason = |site: &str| part(&berlin.show("hooked"), site)["reason"].to_string();
    until("the hooks forbid it", || {
        reason("tokyo").contains("its `before` hook: ended with exit status: 1")
            && reason("tokyo").contains("it is tried again at ")
            && reason("austin").contains("may be written")
    });
    assert_eq!(said(&source), ["before source read hooked 1"]);
    assert!(said(&target).iter().all(|line| line == "before target switch hooked 1"));
    assert!(!tokyo.at("tree").exists() && !austin.at("tree").exists() && said(&open).is_empty());
    // Whoever sees to it has it tried at once.
    fs::set_permissions(open.path().join("hook"), fs::Permissions::from_mode(0o755)).expect("set");
    fs::remove_file(target.path().join("no-before")).expect("removed");
    fs::write(target.path().join("no-after"), "").expect("written");
    fs::remove_file(target.path().join("said")).expect("removed");
    berlin.order(&["job", "pause", "hooked"]);
    until("it is paused", || berlin.show("hooked")["state"] == "paused");
    berlin.order(&["job", "resume", "hooked"]);
    berlin.until("hooked", 1, "done");
    for site in [&tokyo, &austin] {
        assert_eq!(fs::read_to_string(site.at("tree/one")).expect("there"), "made1\n");
    }
    assert!(reason("tokyo").contains("its `after` hook: ended with"), "{}", reason("tokyo"));
    assert_eq!(
        said(&target),
        ["before target switch hooked 1", "after target switch hooked 1 made1"]
    );
    // The next run, and the way back.
    fs::remove_file(target.path().join("no-after")).expect("removed");
    berlin.order(&["job", "run", "hooked"]);
    berlin.until("hooked", 2, "done");
    assert_eq!(fs::read_to_string(tokyo.at("tree/one")).expect("there"), "made2\n");
    berlin.order(&["job", "back", "hooked"]);
    until("what stood before stands again", || reason("tokyo").contains("stands again"));
    assert_eq!(fs::read_to_string(tokyo.at("tree/one")).expect("there"), "made1\n");
    assert_eq!(
        said(&target)[2..],
        [
            "before target switch hooked 2 made1",
            "after target switch hooked 2 made2",
            "before target back hooked 2 made2",
            "after target back hooked 2 made1",
        ]
    );
    assert_eq!(said(&source), ["before source read hooked 1", "before source read hooked 2 made1"]);
}
