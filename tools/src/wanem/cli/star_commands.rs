//! `wanem star`: what its commands understand; the star itself is in [`crate::wanem::star`].

use super::lab_commands::{self, Detached};
use super::{NameArgs, find};
use crate::wanem::control::{self, Answer, Request};
use crate::wanem::lab::{self, LabDescription, Naming};
use crate::wanem::site::{nth_ipv4, nth_ipv6};
use crate::wanem::star::lab::{StarConfig, StarLab};
use crate::wanem::star::profile::{StarChange, StarProfile};
use crate::wanem::star::status::{LegStatus, StarStatus};
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand, ValueEnum};
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sim::profile::parse_span;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use toml::Table;

/// The usual quantum: access links are slower than the links of two sites, and one thread serves all.
const QUANTUM: &str = "250us";

/// What is done with a star.
#[derive(Debug, Subcommand)]
pub(super) enum StarCommand {
    /// Brings a star up, in the background.
    Up(StarArgs),
    /// Changes a site's access link, as TOML: `wanem star set c 'down = true'`.
    Set(SetArgs),
    /// Changes the way between two sites: `wanem star way a b 'loss = "5%"'`.
    Way(WayArgs),
    /// Tells what a running star did so far.
    Status(StatusArgs),
    /// Takes a star down.
    Down(NameArgs),
    /// Is a star, in the foreground, until told to stop.
    Hold(HoldArgs),
}

/// What a star is.
#[derive(Args, Clone, Debug)]
pub(super) struct StarArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Its sites and links.
    #[arg(long, value_name = "FILE")]
    profile: PathBuf,
    /// MTU of the devices in the sites.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u16).range(1280..))]
    mtu: u16,
    /// All randomness of the links follows from this.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Packets due within this span leave together.
    #[arg(long, default_value = QUANTUM, value_parser = parse_span)]
    quantum: Duration,
}

/// See [`StarCommand::Hold`].
#[derive(Args, Debug)]
pub(super) struct HoldArgs {
    #[command(flatten)]
    star: StarArgs,
    /// Publishes the namespaces under /run/netns (root only).
    #[arg(long)]
    named: bool,
    /// Ends when standard input does, and so with whoever started it.
    #[arg(long)]
    until_eof: bool,
}

/// Which direction of an access link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Dir {
    /// Both.
    Both,
    /// From the site to the core.
    Up,
    /// From the core to the site.
    Down,
}

/// See [`StarCommand::Set`].
#[derive(Args, Debug)]
pub(super) struct SetArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Which site.
    site: String,
    /// The keys to change, as in a profile.
    keys: String,
    /// Changes one direction only.
    #[arg(long, value_enum, default_value_t = Dir::Both)]
    dir: Dir,
}

/// See [`StarCommand::Way`].
#[derive(Args, Debug)]
pub(super) struct WayArgs {
    #[command(flatten)]
    name: NameArgs,
    /// From which site.
    from: String,
    /// To which.
    to: String,
    /// The keys to change, as in a profile.
    keys: String,
}

/// See [`StarCommand::Status`].
#[derive(Args, Debug)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    name: NameArgs,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl StarCommand {
    /// Does it.
    ///
    /// # Errors
    /// What a person needs to know to do better.
    pub(super) fn execute(self) -> Result<()> {
        match self {
            Self::Up(args) => up(&args),
            Self::Set(args) => set(args),
            Self::Way(args) => way(args),
            Self::Status(args) => status(&args),
            Self::Down(args) => lab_commands::down(&args),
            Self::Hold(args) => hold(args),
        }
    }
}

fn read(args: &StarArgs) -> Result<(String, StarProfile)> {
    let path = &args.profile;
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let star = StarProfile::from_toml(&text)
        .with_context(|| format!("{} is no profile of a star", path.display()))?;
    Ok((text, star))
}

fn up(args: &StarArgs) -> Result<()> {
    let (profile, _) = read(args)?;
    let detached = Detached {
        name: &args.name.name,
        kind: "star",
        profile,
        mtu: args.mtu,
        seed: args.seed,
        quantum: args.quantum,
    };
    introduce(&detached.start()?);
    Ok(())
}

fn introduce(lab: &LabDescription) {
    let name = &lab.name;
    println!("star {name:?} is up (process {})", lab.pid);
    for (nth, site) in (0..).zip(&lab.sites) {
        println!("  site {:<8} {}  {}", site.name, nth_ipv4(nth), nth_ipv6(nth));
    }
    println!("  wanem exec --name {name} SITE -- COMMAND...");
    println!("  wanem star set --name {name} SITE 'down = true'");
    println!("  wanem star status --name {name}; wanem star down --name {name}");
}

/// Is the star. Everything before [`StarLab::start`] runs on one thread, as user namespaces ask for.
fn hold(args: HoldArgs) -> Result<()> {
    let directory = lab::run_directory()?;
    let (_, profile) = read(&args.star)?;
    let user_namespace = lab_commands::enter_user_namespace()?;
    let config = StarConfig {
        name: args.star.name.name,
        profile,
        mtu: args.star.mtu,
        seed: args.star.seed,
        quantum: args.star.quantum,
        naming: if args.named { Naming::Named } else { Naming::Anonymous },
    };
    let mut star =
        StarLab::start(config, directory, user_namespace).map_err(lab_commands::cannot_start)?;
    if args.until_eof {
        lab_commands::stop_at_eof(&star.description().control);
    }
    star.serve(|description| {
        // Whoever started this may not care to read.
        drop(lab_commands::print_line(description));
    })?;
    Ok(())
}

fn set(args: SetArgs) -> Result<()> {
    let keys: Table = args.keys.parse().context("the keys are no TOML")?;
    let of =
        |dir| if args.dir == Dir::Both || args.dir == dir { keys.clone() } else { Table::new() };
    let (up, down) = (of(Dir::Up), of(Dir::Down));
    order(&args.name, StarChange::Access { site: args.site, up, down })
}

fn way(args: WayArgs) -> Result<()> {
    let keys: Table = args.keys.parse().context("the keys are no TOML")?;
    order(&args.name, StarChange::Way { from: args.from, to: args.to, keys })
}

fn order(name: &NameArgs, change: StarChange) -> Result<()> {
    control::ask(&find(name)?.control, &Request::Star(change))?;
    Ok(())
}

fn status(args: &StatusArgs) -> Result<()> {
    let Answer::Star(status) = control::ask(&find(&args.name)?.control, &Request::Status)? else {
        bail!("this lab is no star: `wanem lab status` tells of it");
    };
    if args.json {
        crate::wanem::probe::print_json(&status)?;
    } else {
        print_status(&status);
    }
    Ok(())
}

fn print_status(status: &StarStatus) {
    println!("star {:?}, up {:.1} s, seed {}", status.name, status.up_seconds, status.seed);
    for site in &status.sites {
        print_leg(&format!("{:<8} up  ", site.name), &site.up);
        print_leg(&format!("{:<8} down", ""), &site.down);
    }
    for way in &status.ways {
        let link = way.profile.trim().replace('\n', ", ");
        println!("{} -> {}: {} of {} passed; {link}", way.from, way.to, way.delivered, way.offered);
    }
    let hub = &status.hub;
    println!(
        "emulator late p50 {} us, p99 {} us, max {} us; {} standstills; own drops {}; {:.2} s CPU{}",
        hub.late_p50_us,
        hub.late_p99_us,
        hub.late_max_us,
        hub.standstills,
        hub.own_drops.total(),
        hub.cpu_seconds,
        if hub.real_time { ", real-time" } else { "" }
    );
}

fn print_leg(title: &str, leg: &LegStatus) {
    let dropped = leg.dropped;
    println!(
        "{title}  {}, {} on the wire, {} packets offered, {} passed; dropped: loss {}, queue {}, down {}; {}",
        BitRate::bps(leg.rate_bps),
        Bytes::new(leg.wire_bytes),
        leg.offered,
        leg.delivered,
        dropped.loss,
        dropped.queue,
        dropped.down,
        leg.profile.trim().replace('\n', ", ")
    );
}
