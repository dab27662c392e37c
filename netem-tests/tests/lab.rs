//! The lab itself: commands run where they should, changes take effect, nothing stays behind.

use farhaul_netem_tests::{Lab, LabProfile, Site, cell, require};
use farhaul_tools::wanem::script::Way;
use farhaul_tools::wanem::selftest;
use std::path::PathBuf;
use std::process::Command;

#[test]
fn a_command_sees_its_own_site_and_its_cost_is_measured() {
    let lab =
        require!("a_command_sees_its_own_site_and_its_cost_is_measured", Lab::start(&cell('a')));
    for site in Site::BOTH {
        let mut command = Command::new("cat");
        let routes = lab.run(site, command.arg("/proc/net/fib_trie")).expect("it runs");
        let routes = routes.succeeded().expect("it succeeds");
        assert!(routes.stdout.contains(&site.ipv4().to_string()));
        assert!(routes.stdout.contains("10.77.0.0/16"));
        assert!(routes.usage.resident_bytes_max > 0);
    }
}

#[test]
fn a_link_that_is_down_passes_nothing_until_it_is_up_again() {
    let lab = require!(
        "a_link_that_is_down_passes_nothing_until_it_is_up_again",
        Lab::start(&LabProfile::default())
    );
    lab.change(Way::Ab, "down = true").expect("a running lab");
    assert!(selftest::round_trips(lab.process(), 1).is_err());
    assert!(lab.status().expect("a running lab").a_to_b.dropped.down > 0);
    lab.change(Way::Ab, "down = false").expect("a running lab");
    assert_eq!(selftest::round_trips(lab.process(), 1).expect("an answer").answers, 1);
}

#[test]
fn a_change_that_no_link_takes_is_refused_and_changes_nothing() {
    let lab = require!(
        "a_change_that_no_link_takes_is_refused_and_changes_nothing",
        Lab::start(&cell('b'))
    );
    let before = lab.status().expect("a running lab").a_to_b.profile;
    assert!(lab.change(Way::Both, "rate = '500'").is_err());
    assert!(lab.change(Way::Both, "speed = '500Mbit/s'").is_err());
    assert_eq!(lab.status().expect("a running lab").a_to_b.profile, before);
}

#[test]
fn a_veth_lab_joins_the_sites_and_has_no_emulator() {
    let lab = require!("a_veth_lab_joins_the_sites_and_has_no_emulator", Lab::start_veth());
    assert_eq!(selftest::round_trips(lab.process(), 3).expect("answers").answers, 3);
    assert!(lab.status().is_err());
}

#[test]
fn a_lab_ends_with_its_owner() {
    let lab = require!("a_lab_ends_with_its_owner", Lab::start(&LabProfile::default()));
    let process = PathBuf::from(format!("/proc/{}", lab.process().pid()));
    assert!(process.exists());
    drop(lab);
    assert!(!process.exists());
}
