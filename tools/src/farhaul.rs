//! The `farhaul` command, verb by verb.
//!
//! Exit codes are a contract: 0 done, 1 transfer failed, 2 usage, 3 peer refused or not
//! authenticated, 4 local disk. Verbs that speak to a running site: see [`manage::HELP`].

pub mod args;
mod carrier;
mod connect;
mod demo;
mod demo_tcp;
pub mod doctor;
mod failure;
mod id;
pub mod manage;
pub mod plot;
pub mod probe;
mod progress;
mod record;
mod relay;
mod report;
mod serve;
mod setup;
mod signals;
mod target;
mod text;
mod traffic;
mod transfer;

use args::{Cli, Verb};
use failure::{Failure, Kind};
use std::process::ExitCode;

/// Tells of a command line that cannot be understood, in words and, to those who asked for it, as
/// the object that `--json` prints. Returns the exit code.
pub fn misused(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    // Help and version go to standard output and are no mistake.
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let words: Vec<_> = std::env::args_os().skip(1).take_while(|word| word != "--").collect();
    let carries = words.first().is_some_and(|verb| verb == "send" || verb == "get");
    if carries && words.iter().any(|word| word == "--json") {
        let what = error.render().to_string();
        let what = what.lines().next().unwrap_or_default().trim_start_matches("error: ");
        let failure = Failure::new(Kind::Usage, what, "see `farhaul --help`");
        report::Report::new(&report::Attempt::begin(), Some(&failure)).print_json();
    }
    ExitCode::from(Kind::Usage as u8)
}

/// Runs the command line.
pub fn run(cli: Cli) -> ExitCode {
    setup::logging(&cli.verb);
    let ended = match cli.verb {
        Verb::Id(args) => id::run(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Send(args) => transfer::send(args),
        Verb::Get(args) => transfer::get(args),
        Verb::Demo(args) => demo::run(&args),
        Verb::Probe(args) => probe::run(&args),
        Verb::Doctor(args) => return doctor::run(&args),
        Verb::Plot(args) => plot::run(&args),
        Verb::DemoTcp => demo_tcp::run(),
        Verb::Status(args) => manage::status(&args),
        Verb::Folder(verb) => manage::folder(&verb),
        Verb::Peer(verb) => manage::peer(&verb),
        Verb::Calendar(verb) => manage::calendar(&verb),
        Verb::Links(args) => manage::links(&args),
        Verb::Top(args) => manage::top(&args),
        Verb::Why(args) => manage::why(&args),
        Verb::Conflict(verb) => manage::conflict(&verb),
        Verb::Job(verb) => manage::job(&verb),
        Verb::Aside(verb) => manage::aside(&verb),
        Verb::Version(verb) => manage::version(&verb),
        Verb::Restore(args) => manage::restore(&args),
        Verb::Events(args) => manage::events(&args),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code())
        }
    }
}

/// The result of a verb.
type Ended = Result<(), Failure>;
