//! The command line of `farhauld`, as typed.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What `--help` says beyond the options.
const MORE: &str = "Environment:
  FARHAUL_LOG  what is logged to standard error: error, warn, info, debug or
               trace, or a filter such as `warn,farhauld=debug`

Signals: SIGINT and SIGTERM stop the site in good order, a second one at once.
SIGHUP has it read its configuration again: what may change while it runs does,
what may not is named in the log, and a file with a fault changes nothing.

Exit codes:
  0 done, 1 failed while starting or running, 2 the command line or the
  configuration is wrong, 4 the state directory cannot be used";

/// Keeps folders identical with other sites.
#[derive(Debug, Parser)]
#[command(
    name = "farhauld",
    version,
    max_term_width = 100,
    after_help = MORE,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Cli {
    /// Something else than running.
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
    /// Running.
    #[command(flatten)]
    pub(crate) run: RunArgs,
}

/// How a site runs.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The configuration; `configs/farhauld.toml` of the source shows every key.
    #[arg(long, value_name = "FILE", required = true)]
    pub(crate) config: Option<PathBuf>,
    /// How lines of the log look.
    #[arg(long, value_enum, value_name = "text|json|journald", default_value_t)]
    pub(crate) log_format: LogFormat,
}

/// What else the command does.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Say whether a configuration is good and what it names is there, or everything that is wrong.
    Check {
        /// The configuration.
        file: PathBuf,
        /// Print one JSON object instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Print the document that describes the management API (OpenAPI).
    Openapi,
}

/// How lines of the log look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// To the journal of systemd, fields as they are; to standard error where there is none.
    Journald,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_site_needs_a_configuration_and_a_check_only_a_file() {
        assert!(Cli::try_parse_from(["farhauld"]).is_err());
        let run = Cli::try_parse_from(["farhauld", "--config", "a", "--log-format", "json"]);
        let run = run.expect("complete").run;
        assert_eq!((run.config, run.log_format), (Some("a".into()), LogFormat::Json));
        let check = Cli::try_parse_from(["farhauld", "check", "b"]).expect("complete");
        assert!(
            matches!(check.verb, Some(Verb::Check { file, json: false }) if file.as_os_str() == "b")
        );
        assert!(Cli::try_parse_from(["farhauld", "--config", "a", "check", "b"]).is_err());
    }
}
