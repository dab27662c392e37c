//! The `wanem` command.

use clap::Parser;
use farhaul_tools::wanem::cli::Wanem;
use farhaul_tools::wanem::lab::Unsupported;
use std::process::ExitCode;

fn main() -> ExitCode {
    Wanem::parse().execute().unwrap_or_else(|error| {
        if let Some(usage) = error.downcast_ref::<clap::Error>() {
            usage.exit();
        }
        eprintln!("wanem: {error:#}");
        let unsupported = error.downcast_ref::<Unsupported>().is_some();
        if unsupported { ExitCode::from(Unsupported::EXIT_CODE) } else { ExitCode::FAILURE }
    })
}
