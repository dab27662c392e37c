//! `wanem lab` and `wanem veth`.

use super::{
    HoldArgs, LabArgs, NameArgs, NatArgs, ReaddressArgs, SetArgs, StatusArgs, VethUpArgs, find,
};
use crate::netns;
use crate::wanem::control::{self, Answer, ControlError, LabStatus, Request};
use crate::wanem::lab::{
    self, Lab, LabConfig, LabDescription, LabError, Naming, Unsupported, Wire,
};
use crate::wanem::nat::NatOrder;
use crate::wanem::profile::Change;
use crate::wanem::script::Way;
use crate::wanem::site::Site;
use crate::wanem::status::DirectionStatus;
use anyhow::{Context, Result, anyhow, bail};
use clap::error::ErrorKind;
use farhaul_proto::units::BitRate;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Starts a [`hold`] in the background and waits until it is ready.
pub(super) fn up(args: &LabArgs) -> Result<()> {
    let detached = Detached {
        name: &args.name.name,
        kind: "lab",
        profile: args.link.profile()?.to_toml()?,
        mtu: args.mtu,
        seed: args.seed,
        quantum: args.quantum,
    };
    introduce(&detached.start()?);
    Ok(())
}

/// A lab that is to be held by a process of its own, in the background.
pub(super) struct Detached<'a> {
    pub(super) name: &'a str,
    /// Which command holds it, `lab` or `star`.
    pub(super) kind: &'a str,
    pub(super) profile: String,
    pub(super) mtu: u16,
    pub(super) seed: u64,
    pub(super) quantum: Duration,
}

impl Detached<'_> {
    /// Starts it and waits until it is ready. What one of this name left that was killed is removed.
    pub(super) fn start(&self) -> Result<LabDescription> {
        let (name, kind) = (self.name, self.kind);
        netns::check_name(name)?;
        let directory = lab::run_directory()?;
        if let Ok(lab) = LabDescription::find(&directory, name)
            && !matches!(control::ask(&lab.control, &Request::Status), Err(ControlError::NotUp(_)))
        {
            bail!("a lab called {name:?} is up already (wanem {kind} down --name {name})");
        }
        lab::clear(&directory, name)?;
        let profile_path = directory.join(format!("{name}.toml"));
        fs::write(&profile_path, &self.profile)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args([kind, "hold", "--name", name, "--profile"]).arg(&profile_path);
        command.args(["--mtu", &self.mtu.to_string(), "--seed", &self.seed.to_string()]);
        command.args(["--quantum", &format!("{}ns", self.quantum.as_nanos())]);
        if netns::is_privileged() {
            command.arg("--named");
        }
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let log = lab::create_log(&directory, name)?;
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let output = child.stdout.take().context("standard output was piped")?;
        let mut line = String::new();
        BufReader::new(output).take(1 << 16).read_line(&mut line)?;
        if line.is_empty() {
            let complaint = fs::read_to_string(lab::log_path(&directory, name))?;
            let complaint = complaint.trim();
            if child.wait()?.code() == Some(Unsupported::EXIT_CODE.into()) {
                let known = format!("wanem: {Unsupported}: ");
                let reason = complaint.strip_prefix(&known).unwrap_or(complaint).to_owned();
                return Err(anyhow!(reason).context(Unsupported));
            }
            bail!("the lab did not come up: {complaint}");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

fn introduce(lab: &LabDescription) {
    let name = &lab.name;
    println!("lab {name:?} is up (process {})", lab.pid);
    for site in Site::BOTH {
        let letter = site.letter();
        println!("  site {letter}  {}  {}", site.ipv4(), site.ipv6());
        println!("          wanem exec --name {name} {letter} -- COMMAND...");
    }
    println!("  wanem lab set --name {name} --loss 5%");
    println!("  wanem lab status --name {name}; wanem lab down --name {name}");
}

/// Is the lab. Everything before [`Lab::start`] runs on one thread, as user namespaces ask for.
pub(super) fn hold(args: &HoldArgs) -> Result<()> {
    let directory = lab::run_directory()?;
    let user_namespace = enter_user_namespace()?;
    let wire = match args.veth {
        true => Wire::Veth,
        false => Wire::Emulated(Box::new(args.lab.link.profile()?)),
    };
    let config = LabConfig {
        name: args.lab.name.name.clone(),
        wire,
        mtu: args.lab.mtu,
        seed: args.lab.seed,
        quantum: args.lab.quantum,
        naming: if args.named { Naming::Named } else { Naming::Anonymous },
    };
    let mut lab = Lab::start(config, directory, user_namespace).map_err(cannot_start)?;
    if args.until_eof {
        stop_at_eof(&lab.description().control);
    }
    lab.serve(|description| {
        // Whoever started this may not care to read.
        drop(print_line(description));
    })?;
    Ok(())
}

/// Where namespaces can be made only there, enters a user namespace, and tells its path.
pub(super) fn enter_user_namespace() -> Result<Option<PathBuf>> {
    if netns::is_privileged() {
        return Ok(None);
    }
    netns::enter_user_namespace().map_err(|error| cannot_start(error.into()))?;
    Ok(Some(format!("/proc/{}/ns/user", std::process::id()).into()))
}

pub(super) fn cannot_start(error: LabError) -> anyhow::Error {
    let unsupported = error.is_unsupported();
    let error = anyhow::Error::new(error);
    if unsupported { error.context(Unsupported) } else { error }
}

pub(super) fn print_line(description: &LabDescription) -> Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, description)?;
    out.write_all(b"\n")?;
    Ok(out.flush()?)
}

pub(super) fn stop_at_eof(control: &Path) {
    let control = control.to_owned();
    thread::spawn(move || {
        // An error ends standard input as well.
        drop(io::copy(&mut io::stdin().lock(), &mut io::sink()));
        if control::ask(&control, &Request::Stop).is_err() {
            // Not listening yet, or no longer: nothing would end this process otherwise.
            std::process::exit(1);
        }
    });
}

/// Changes a running lab.
pub(super) fn set(args: &SetArgs) -> Result<()> {
    let change = changes(args)?;
    control::ask(&find(&args.name)?.control, &Request::Set(change))?;
    Ok(())
}

fn changes(args: &SetArgs) -> Result<Change> {
    let file = args.link.file()?.unwrap_or_default();
    let mut change = args.link.change()?;
    if args.down || args.up {
        change.both.insert("down".to_owned(), args.down.into());
    }
    let change = Change {
        both: file.both.into_iter().chain(change.both).collect(),
        forward: file.forward,
        reverse: file.reverse.into_iter().chain(change.reverse).collect(),
    };
    match args.dir {
        Way::Both => Ok(change),
        way if change.reverse.is_empty() => Ok(way.change(change.both)),
        _ => {
            let words = "--dir names the direction to change; --reverse-* and a profile's [reverse] \
                         name another one: leave --dir out, or change the directions one by one\n";
            Err(clap::Error::raw(ErrorKind::ArgumentConflict, words).into())
        }
    }
}

/// Changes the address translator of a site.
pub(super) fn nat(args: NatArgs) -> Result<()> {
    let NatArgs { name, site, idle, address, rebind, off } = args;
    let order = match (rebind, off) {
        (true, _) => NatOrder::Rebind,
        (false, true) => NatOrder::Off,
        (false, false) => NatOrder::On { idle, address },
    };
    control::ask(&find(&name)?.control, &Request::Nat(site, order))?;
    Ok(())
}

/// Moves a site.
pub(super) fn readdress(args: &ReaddressArgs) -> Result<()> {
    control::ask(&find(&args.name)?.control, &Request::Readdress(args.site, args.to))?;
    Ok(())
}

/// Prints what a lab did so far.
pub(super) fn status(args: &StatusArgs) -> Result<()> {
    let Answer::Status(status) = control::ask(&find(&args.name)?.control, &Request::Status)? else {
        bail!("the lab gave another answer than its status");
    };
    if args.json {
        crate::wanem::probe::print_json(&status)?;
    } else {
        print_status(&status);
    }
    Ok(())
}

fn print_status(status: &LabStatus) {
    println!("lab {:?}, up {:.1} s, seed {}", status.name, status.up_seconds, status.seed);
    for (title, way) in [("A -> B", &status.a_to_b), ("B -> A", &status.b_to_a)] {
        print_direction(title, way);
    }
}

fn print_direction(title: &str, way: &DirectionStatus) {
    let link = way.profile.trim().replace('\n', ", ");
    let (rate_in, rate_out) = (BitRate::bps(way.rate_in_bps), BitRate::bps(way.rate_out_bps));
    println!("{title}: {link}");
    println!("  rate       in {rate_in}, out {rate_out}, {} packets under way", way.in_flight);
    println!("  packets    {} offered, {} delivered", way.offered, way.delivered);
    let d = way.dropped;
    println!(
        "  dropped    loss {}, queue {}, red {}, policer {}, mtu {}, down {}, nat {}",
        d.loss, d.queue, d.red, d.policer, d.mtu, d.down, d.nat
    );
    println!(
        "  altered    {} duplicated, {} damaged, {} reordered",
        way.duplicated, way.corrupted, way.reordered
    );
    println!(
        "  queue      {} us now, mean {} us, p95 {} us",
        way.queue_us, way.queue_mean_us, way.queue_p95_us
    );
    println!(
        "  emulator   late p50 {} us, p99 {} us, max {} us; {} standstills; own drops {}; {:.2} s CPU{}",
        way.late_p50_us,
        way.late_p99_us,
        way.late_max_us,
        way.standstills,
        way.own_drops.total(),
        way.cpu_seconds,
        if way.real_time { ", real-time" } else { "" }
    );
}

/// Takes a lab down, whatever is left of it.
pub(super) fn down(args: &NameArgs) -> Result<()> {
    let directory = lab::run_directory()?;
    let stopped = match LabDescription::find(&directory, &args.name) {
        Ok(lab) => control::ask(&lab.control, &Request::Stop).is_ok(),
        Err(_) => false,
    };
    // The emulator clears up itself as well; both may be at it, which is harmless.
    let cleared = lab::clear(&directory, &args.name)?;
    if !stopped && !cleared {
        bail!("no lab called {:?} is up", args.name);
    }
    Ok(())
}

/// Makes a veth lab that needs no process.
pub(super) fn veth_up(args: &VethUpArgs) -> Result<()> {
    let paths = lab::leave_veth(&args.name.name, args.mtu)?;
    for (site, path) in Site::BOTH.iter().zip(paths) {
        println!("site {}  {}  {}", site.letter(), site.ipv4(), path.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        set: SetArgs,
    }

    fn changes_of(line: &str) -> Result<Change> {
        let words = std::iter::once("set").chain(line.split_whitespace());
        changes(&Line::try_parse_from(words).expect("well-formed").set)
    }

    #[test]
    fn one_direction_and_options_of_the_other_contradict_each_other() {
        for dir in ["ab", "ba"] {
            let error = changes_of(&format!("--dir {dir} --loss 1% --reverse-loss 5%"));
            let error = error.expect_err("contradictory").downcast::<clap::Error>();
            assert_eq!(error.expect("of usage").kind(), ErrorKind::ArgumentConflict);
        }
        let both = changes_of("--loss 1% --reverse-loss 5%").expect("allowed");
        assert!(both.both.contains_key("loss") && both.reverse.contains_key("loss"));
        let one = changes_of("--dir ba --loss 1%").expect("allowed");
        assert!(one.both.is_empty() && one.forward.is_empty() && one.reverse.contains_key("loss"));
    }
}
