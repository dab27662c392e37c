//! Jobs that begin at a moment, and that are to be done by one.

use super::super::*;

const COPY: &str =
    "kind = \"copy\"\nsource = \"berlin:images/one.img\"\ntarget = \"tokyo:images/one.img\"\n";

/// A moment so far ahead, as `date` writes it.
fn ahead(span: &str) -> String {
    let told = Command::new("date").args(["-u", "-d", span, "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8(told.expect("it starts").stdout).expect("text").trim().to_owned()
}

#[test]
fn a_job_waits_for_its_start_and_says_early_that_it_will_be_late() {
    let [berlin, tokyo, _austin] = three();
    let image = noise(1 << 20);
    fs::write(berlin.at("one.img"), &image).expect("written");
    // Nothing is done for it before.
    let later = berlin.job("one", &format!("{COPY}start = \"9000-01-01T00:00[Europe/Berlin]\"\n"));
    berlin.order(&["job", "create", &later]);
    until("the target knows of it", || {
        part(&berlin.show("one"), "tokyo")["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("begins at 8999-12-31T23:00:00Z"))
    });
    let job = berlin.show("one");
    assert_eq!((job["state"].as_str(), job["late"].as_str()), (Some("waiting"), None), "{job}");
    assert_eq!(job["job"]["start"], "8999-12-31T23:00:00Z");
    assert!(!tokyo.at(".farhaul").exists() && !tokyo.at("one.img").exists());
    // What takes two minutes is not done in one.
    let slow = format!(
        "{COPY}cap = \"80 kbit/s\"\nstart = \"2020-01-01T00:00Z\"\ndeadline = \"{}\"\n",
        ahead("1 minute")
    );
    let slow = berlin.job("one", &slow);
    let Output { status, stdout, stderr } = berlin.run(&["job", "plan", &slow, "--json"]);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let plan: Value = serde_json::from_slice(&stdout).expect("an object");
    let late = part(&plan, "tokyo")["late"].as_str().expect("it says so");
    assert!(late.contains("after its deadline"), "{late}");
    berlin.order(&["job", "edit", &slow]);
    until("it is late", || {
        let late = &berlin.show("one")["late"];
        late.as_str().is_some_and(|late| late.starts_with("tokyo is "))
    });
    until("it is an event", || {
        let events = berlin.run(&["events", "--since", "start", "--once", "--json"]).stdout;
        String::from_utf8_lossy(&events).contains("one will miss its deadline: tokyo ")
    });
    // It goes on all the same.
    let fast = berlin.job("one", &format!("{COPY}deadline = \"{}\"\n", ahead("10 years")));
    berlin.order(&["job", "edit", &fast]);
    let done = berlin.until("one", 1, "done");
    assert_eq!(done["late"].as_str(), None, "{done}");
    assert!(fs::read(tokyo.at("one.img")).expect("there") == image);
}

#[test]
fn a_moment_that_cannot_be_is_refused_with_what_to_write() {
    let [berlin, ..] = three();
    for (lines, why) in [
        ("start = \"2026-11-25T22:00\"", "write one with an offset or a zone"),
        ("deadline = \"tomorrow\"", "is no moment"),
        ("deadline = \"2020-01-01T00:00Z\"", "is over: write a later one"),
        (
            "start = \"9000-01-01T00:00Z\"\ndeadline = \"8000-01-01T00:00Z\"",
            "its deadline is not behind its start",
        ),
    ] {
        let file = berlin.job("one", &format!("{COPY}{lines}\n"));
        let Output { status, stderr, .. } = berlin.run(&["job", "create", &file]);
        let said = String::from_utf8_lossy(&stderr).into_owned();
        assert!(status.code() == Some(2) && said.contains(why), "{lines}: {said}");
    }
    assert_eq!(berlin.run(&["job", "show", "one"]).status.code(), Some(2));
}
