//! `wanem selftest`: see [`crate::wanem::selftest`].

use super::SelftestArgs;
use crate::wanem::client::{LabProcess, Settings};
use crate::wanem::lab::Wire;
use crate::wanem::probe;
use crate::wanem::segmentation;
use crate::wanem::selftest::{self, Check};
use anyhow::Result;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

/// Runs all checks, one after the other; fails if one does.
pub(super) fn execute(args: &SelftestArgs) -> Result<ExitCode> {
    let program = std::env::current_exe()?;
    let directory = std::env::temp_dir().join(format!("wanem-selftest-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let wire = Wire::Emulated(Box::default());
    let lab = LabProcess::start(&program, &wire, Settings::default())?;
    let span = Duration::from_secs(args.seconds.into());
    let checks: [&dyn Fn() -> Result<Check>; 8] = [
        &|| Ok(selftest::check_round_trip(&lab)?),
        &|| Ok(selftest::check_rate(&lab, span)?),
        &|| Ok(selftest::check_loss(&lab, span)?),
        &|| Ok(selftest::check_mischief(&lab, span)?),
        &|| Ok(selftest::check_tcp(&lab, "cubic", &directory)?),
        &|| Ok(selftest::check_tcp(&lab, "bbr", &directory)?),
        &|| Ok(selftest::check_throughput(&lab, span, &directory)?),
        &|| Ok(segmentation::check(&program)?),
    ];
    let mut passed = true;
    for check in checks {
        let check = check();
        let check = check.inspect_err(|_| drop(fs::remove_dir_all(&directory)))?;
        passed &= check.passed;
        if args.json {
            probe::print_json(&check)?;
        } else {
            let verdict = if check.passed { "ok" } else { "FAILED" };
            println!("{verdict:6} {}: {}", check.name, check.finding);
        }
    }
    fs::remove_dir_all(&directory)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
