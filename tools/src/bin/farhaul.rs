//! The `farhaul` command: arguments in, exit code out. The work is in the library.

use clap::Parser;
use farhaul_tools::farhaul::{self, args::Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => farhaul::run(cli),
        Err(error) => {
            // Help and version go to standard output and are no mistake.
            let code = if error.use_stderr() { 2 } else { 0 };
            let _ = error.print();
            ExitCode::from(code)
        }
    }
}
