//! `farhaul doctor`: what of this host costs speed or does not work, why it matters, and the
//! command that mends it. It needs no privileges, and changes nothing that stays.

mod host;
mod kernel;
mod network;
mod storage;

use super::args::HomeArg;
use super::{setup, text};
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// What `farhaul doctor --help` says at its end.
pub const HELP: &str = "Exit codes: 0 nothing to mend, 10 something costs speed, 11 something does \
not work. A file of at most 256 MiB is written into DIR for at most 2 s, and removed.";

/// `farhaul doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The directory whose disk is tried.
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
    /// Where the host's state lives.
    #[command(flatten)]
    pub home: HomeArg,
}

/// How bad a finding is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// As it should be.
    Good,
    /// Worth knowing; nothing to mend, or it cannot be told.
    Note,
    /// It costs speed or safety.
    Slow,
    /// Something will not work.
    Broken,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    /// What is so.
    found: String,
    /// Why it matters; empty where all is well.
    why: &'static str,
    /// The command, or the deed, that mends it.
    mend: String,
}

impl Finding {
    fn good(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, level: Level::Good, found: found.into(), why: "", mend: String::new() }
    }

    fn note(check: &'static str, found: impl Into<String>) -> Self {
        Self { level: Level::Note, ..Self::good(check, found) }
    }

    fn slow(
        check: &'static str,
        found: impl Into<String>,
        why: &'static str,
        mend: impl Into<String>,
    ) -> Self {
        Self { check, level: Level::Slow, found: found.into(), why, mend: mend.into() }
    }

    fn broken(
        check: &'static str,
        found: impl Into<String>,
        why: &'static str,
        mend: impl Into<String>,
    ) -> Self {
        Self { level: Level::Broken, ..Self::slow(check, found, why, mend) }
    }
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    worst: Level,
    findings: &'a [Finding],
}

/// Examines the host; the exit code says the worst.
pub(super) fn run(args: &DoctorArgs) -> ExitCode {
    let mut findings = kernel::examine();
    findings.extend(network::examine());
    findings.extend(storage::examine(&args.dir));
    findings.extend(host::examine(setup::home(args.home.home.as_ref()).ok().as_deref()));
    let worst = worst(&findings);
    if args.json {
        let report = Report { worst, findings: &findings };
        match serde_json::to_string(&report) {
            Ok(json) => text::tell(json),
            Err(error) => text::complain(format_args!("farhaul: {error}")),
        }
    } else {
        for finding in &findings {
            text::tell(told(finding));
        }
    }
    ExitCode::from(code(worst))
}

fn worst(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Good)
}

const fn code(worst: Level) -> u8 {
    match worst {
        Level::Good | Level::Note => 0,
        Level::Slow => 10,
        Level::Broken => 11,
    }
}

fn told(finding: &Finding) -> String {
    let mark = match finding.level {
        Level::Good => "good",
        Level::Note => "note",
        Level::Slow => "SLOW",
        Level::Broken => "BROKEN",
    };
    let mut line = format!("{mark:<7} {:<22} {}", finding.check, finding.found);
    for more in [finding.why, &finding.mend] {
        if !more.is_empty() {
            line.push_str("\n        ");
            line.push_str(more);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_the_worst() {
        let good = Finding::good("a", "x");
        let slow = Finding::slow("b", "x", "because", "do this");
        let broken = Finding::broken("c", "x", "because", "do that");
        let code_of = |findings: &[Finding]| code(worst(findings));
        assert_eq!(code_of(&[]), 0);
        assert_eq!(code_of(&[good.clone(), Finding::note("d", "x")]), 0);
        assert_eq!(code_of(&[slow.clone(), good.clone()]), 10);
        assert_eq!(code_of(&[slow.clone(), broken, good]), 11);
        assert!(told(&slow).contains("\n        because\n        do this"));
    }
}
