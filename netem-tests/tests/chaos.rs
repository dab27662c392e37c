//! Two daemons, their users and faults over an emulated WAN for half a minute: nothing is lost, and
//! both trees are equal. The long form is the binary `chaos`.

use farhaul_netem_tests::chaos::{ChaosError, Plan, run};
use farhaul_netem_tests::require;
use farhaul_netem_tests::turn::Turn;
use std::time::Duration;

#[test]
fn two_sites_under_faults_lose_nothing_and_come_to_agree() {
    let test = "two_sites_under_faults_lose_nothing_and_come_to_agree";
    let _turn = Turn::take();
    let mut directory = tempfile::tempdir().expect("a directory");
    let plan = Plan { patience: Duration::from_secs(120), ..Plan::new(Duration::from_secs(25), 1) };
    let verdict = match run(&plan, directory.path()) {
        Err(ChaosError::Unavailable(unavailable)) => require!(test, Err(unavailable)),
        verdict => verdict.expect("a verdict"),
    };
    if !verdict.is_clean() {
        directory.disable_cleanup(true);
        panic!("{verdict}all of it is in {}", directory.path().display());
    }
    println!("{verdict}");
    assert!(verdict.findings.values > 50, "hardly anything was written");
}
