//! The `farhaul` command, verb by verb.
//!
//! Exit codes are a contract: 0 done, 1 transfer failed, 2 usage, 3 peer refused or not
//! authenticated, 4 local disk.

pub mod args;
mod connect;
mod demo;
mod demo_tcp;
mod failure;
mod id;
mod progress;
mod relay;
mod report;
mod serve;
mod setup;
mod signals;
mod target;
mod text;
mod transfer;

use args::{Cli, Verb};
use failure::Failure;
use std::process::ExitCode;

/// Runs the command line.
pub fn run(cli: Cli) -> ExitCode {
    setup::logging();
    let ended = match cli.verb {
        Verb::Id(args) => id::run(&args),
        Verb::Serve(args) => serve::run(&args),
        Verb::Send(args) => transfer::send(args),
        Verb::Get(args) => transfer::get(args),
        Verb::Demo(args) => demo::run(&args),
        Verb::DemoTcp => demo_tcp::run(),
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
