//! The `farhaul` command: arguments in, exit code out. The work is in the library.

use clap::Parser;
use farhaul_tools::farhaul::{self, args::Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => farhaul::run(cli),
        Err(error) => farhaul::misused(&error),
    }
}
