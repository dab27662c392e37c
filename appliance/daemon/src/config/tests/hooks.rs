//! Hooks of exports as people write them.

use super::*;

fn export(lines: &str) -> String {
    let export = "[[export]]\nname = \"images\"\npath = \"/srv/images\"\n";
    format!("{}{export}{lines}", with(&folder("photos", "/srv/photos")))
}

#[test]
fn a_hook_is_a_program_and_its_arguments() {
    let none = config(&export("")).exports[0].hooks.clone();
    assert!(!none.are_any() && none.limit == Duration::from_secs(600));
    assert_eq!(config(&export("before = []\nafter = []\n")).exports[0].hooks, none);
    let hooks = "before = [\"/bin/a\", \"b c\"]\nafter = [\"/bin/d\"]\nhook-limit = \"30 s\"\n";
    let hooks = config(&export(hooks)).exports[0].hooks.clone();
    assert_eq!((hooks.before.len(), &*hooks.before[1], &*hooks.after[0]), (2, "b c", "/bin/d"));
    assert_eq!(hooks.limit, Duration::from_secs(30));
}

#[test]
fn a_hook_that_cannot_be_is_a_fault_with_what_to_write() {
    for (lines, what) in [
        ("before = [\"rm\"]", "`before`: \"rm\" is no absolute path"),
        ("after = [\"/srv/images/x\"]", "lies in export images"),
        ("before = [\"/srv/photos/x\"]", "lies in folder photos"),
        ("before = \"/bin/a\"", "`before`"),
        ("before = [\"/bin/a\", \"\\u0000\"]", "zero byte"),
        ("hook-limit = \"2 d\"", "write 1 s to 24 h"),
    ] {
        let fault = fault(&export(&format!("{lines}\n")));
        assert!(fault.contains(what), "{lines}: {fault}");
    }
    let many = format!("before = [\"/bin/a\"{}]\n", ", \"b\"".repeat(64));
    assert!(fault(&export(&many)).contains("`before` has 65 texts"));
}
