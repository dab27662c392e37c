//! The `wanem` command: what it understands, and which part of this room does it.

mod lab_commands;
mod probe_commands;
mod selftest_command;
mod star_commands;

use super::lab::{self, LabDescription};
use super::options::LinkOptions;
use super::script::{self, Way};
use super::site::Site;
use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use farhaul_sim::profile::parse_span;
use std::ffi::OsString;
use std::fs;
use std::net::IpAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command as Process, ExitCode};
use std::time::Duration;

const NAME: &str = "wan";

/// WAN emulator: two sites in network namespaces, joined by a long, thin, lossy link.
#[derive(Debug, Parser)]
#[command(name = "wanem", version)]
pub struct Wanem {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "made once per process")]
enum Command {
    /// A lab of two sites and an emulated link.
    #[command(subcommand)]
    Lab(LabCommand),
    /// Two sites joined by a plain veth pair, no emulator.
    #[command(subcommand)]
    Veth(VethCommand),
    /// A lab of many sites, each behind its own access link to one core.
    #[command(subcommand)]
    Star(star_commands::StarCommand),
    /// Changes a running lab over time.
    Run(RunArgs),
    /// Runs a command inside a site.
    Exec(ExecArgs),
    /// Traffic tools that run inside a site.
    #[command(hide = true)]
    Probe(probe_commands::ProbeArgs),
    /// Measures how accurate the emulator is on this machine.
    Selftest(SelftestArgs),
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Brings a lab up, in the background.
    Up(UpArgs),
    /// Changes the link of a running lab.
    Set(SetArgs),
    /// Puts an address translator before a site, or changes it.
    Nat(NatArgs),
    /// Moves a site to another address.
    Readdress(ReaddressArgs),
    /// Tells what a running lab did so far.
    Status(StatusArgs),
    /// Takes a lab down.
    Down(NameArgs),
    /// Is a lab, in the foreground, until told to stop.
    Hold(HoldArgs),
}

#[derive(Debug, Subcommand)]
enum VethCommand {
    /// Makes the sites.
    Up(VethUpArgs),
    /// Removes them.
    Down(NameArgs),
}

#[derive(Args, Clone, Debug)]
struct NameArgs {
    /// Name of the lab.
    #[arg(long, default_value = NAME)]
    name: String,
}

#[derive(Args, Clone, Debug)]
struct LabArgs {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    link: LinkOptions,
    /// MTU of the devices in the sites.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(1280..))]
    mtu: u16,
    /// All randomness of the link follows from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Packets due within this span leave together.
    #[arg(long, default_value = lab::QUANTUM, value_parser = parse_span)]
    quantum: Duration,
}

#[derive(Args, Debug)]
struct UpArgs {
    #[command(flatten)]
    lab: LabArgs,
}

#[derive(Args, Debug)]
struct HoldArgs {
    #[command(flatten)]
    lab: LabArgs,
    /// Publishes the namespaces under /run/netns (root only).
    #[arg(long)]
    named: bool,
    /// Joins the sites by a veth pair instead of an emulated link.
    #[arg(long)]
    veth: bool,
    /// Ends when standard input does, and so with whoever started it.
    #[arg(long)]
    until_eof: bool,
}

#[derive(Args, Debug)]
struct SetArgs {
    #[command(flatten)]
    name: NameArgs,
    #[command(flatten)]
    link: LinkOptions,
    /// Lets nothing pass.
    #[arg(long, conflicts_with = "up")]
    down: bool,
    /// Lets packets pass again.
    #[arg(long)]
    up: bool,
    /// Changes one direction only.
    #[arg(long, value_enum, default_value_t = Way::Both)]
    dir: Way,
}

#[derive(Args, Debug)]
struct NatArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Before which site.
    #[arg(value_enum, ignore_case = true)]
    site: Site,
    /// Time after which an idle mapping is forgotten (30 s if not given).
    #[arg(long, value_name = "SPAN", conflicts_with_all = ["rebind", "off"])]
    idle: Option<String>,
    /// The address outside; the site's own if not given.
    #[arg(long, conflicts_with_all = ["rebind", "off"])]
    address: Option<IpAddr>,
    /// Forgets all mappings.
    #[arg(long)]
    rebind: bool,
    /// Translates no more.
    #[arg(long, conflicts_with = "rebind")]
    off: bool,
}

#[derive(Args, Debug)]
struct ReaddressArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Which site.
    #[arg(value_enum, ignore_case = true)]
    site: Site,
    /// Its new address, within 10.77.0.0/16 or fd77::/64.
    to: IpAddr,
}

#[derive(Args, Debug)]
struct StatusArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
struct VethUpArgs {
    #[command(flatten)]
    name: NameArgs,
    /// MTU of the devices.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(1280..))]
    mtu: u16,
}

#[derive(Args, Debug)]
struct RunArgs {
    #[command(flatten)]
    name: NameArgs,
    /// The steps, as TOML.
    #[arg(long, value_name = "FILE")]
    script: PathBuf,
}

#[derive(Args, Debug)]
struct ExecArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Which site, by its name.
    site: String,
    /// The command and its arguments.
    #[arg(trailing_var_arg = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Args, Debug)]
struct SelftestArgs {
    /// Seconds that each stream runs.
    #[arg(long, default_value_t = 5)]
    seconds: u32,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Wanem {
    /// Does what was asked for.
    ///
    /// # Errors
    /// What a person needs to know to do better.
    pub fn execute(self) -> Result<ExitCode> {
        match self.command {
            Command::Lab(LabCommand::Up(args)) => lab_commands::up(&args.lab)?,
            Command::Lab(LabCommand::Set(args)) => lab_commands::set(&args)?,
            Command::Lab(LabCommand::Nat(args)) => lab_commands::nat(args)?,
            Command::Lab(LabCommand::Readdress(args)) => lab_commands::readdress(&args)?,
            Command::Lab(LabCommand::Status(args)) => lab_commands::status(&args)?,
            Command::Lab(LabCommand::Down(args)) => lab_commands::down(&args)?,
            Command::Lab(LabCommand::Hold(args)) => lab_commands::hold(&args)?,
            Command::Veth(VethCommand::Up(args)) => lab_commands::veth_up(&args)?,
            Command::Veth(VethCommand::Down(args)) => lab_commands::down(&args)?,
            Command::Star(command) => command.execute()?,
            Command::Run(args) => run_script(&args)?,
            Command::Exec(args) => exec(&args)?,
            Command::Probe(args) => args.execute()?,
            Command::Selftest(args) => return selftest_command::execute(&args),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn find(name: &NameArgs) -> Result<LabDescription> {
    let directory = lab::run_directory()?;
    match LabDescription::find(&directory, &name.name) {
        Err(lab::LabError::NotUp(_)) if veth_paths(&name.name).is_some() => {
            let paths = veth_paths(&name.name).context("just seen")?;
            let control = directory.join(format!("{}.sock", name.name));
            let sites = Site::BOTH.iter().zip(paths).map(|(site, namespace)| {
                lab::SiteDescription { name: site.letter().to_string(), namespace }
            });
            let (name, sites) = (name.name.clone(), sites.collect());
            Ok(LabDescription { name, pid: 0, user_namespace: None, sites, control })
        }
        found => Ok(found?),
    }
}

/// Published namespaces without a describing process: a veth lab.
fn veth_paths(name: &str) -> Option<[PathBuf; 2]> {
    let paths = lab::namespace_names(name).map(|name| crate::netns::named_path(&name));
    paths.iter().all(|path| path.exists()).then_some(paths)
}

fn run_script(args: &RunArgs) -> Result<()> {
    let text = fs::read_to_string(&args.script)
        .with_context(|| format!("cannot read {}", args.script.display()))?;
    let steps = script::parse(&text)?;
    let lab = find(&args.name)?;
    script::run(&lab.control, &steps, |step| println!("{:>9.3?}  taken", step.at))?;
    Ok(())
}

/// Becomes the command; returns only if that fails.
fn exec(args: &ExecArgs) -> Result<()> {
    let lab = find(&args.name)?;
    lab::enter(&lab, &args.site)?;
    let (program, rest) = args.command.split_first().context("no command")?;
    let error = Process::new(program).args(rest).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
