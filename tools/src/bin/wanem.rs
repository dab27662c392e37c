//! The `wanem` command.

use clap::Parser;
use farhaul_tools::wanem::cli::Wanem;
use std::process::ExitCode;

fn main() -> ExitCode {
    Wanem::parse().execute().unwrap_or_else(|error| {
        eprintln!("wanem: {error:#}");
        ExitCode::FAILURE
    })
}
