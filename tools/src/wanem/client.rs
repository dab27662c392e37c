//! A lab as a child process: what tests and measurements use.
//!
//! The child is `wanem lab hold`; it ends with this process, whatever happens to it, because it
//! reads the end of its standard input. Works as root and, where the system permits user
//! namespaces, for ordinary users.

use super::control::{self, Answer, ControlError, LabStatus, Request};
use super::lab::{LabDescription, Unsupported, Wire, run_directory};
use super::nat::NatOrder;
use super::profile::{Change, LabProfile};
use super::site::Site;
use super::star::profile::StarProfile;
use super::star::status::StarStatus;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Why there is no lab.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The emulator said why this machine permits no lab: no namespaces, no TUN device.
    #[error("{0}")]
    Unsupported(String),
    /// The emulator does not start for another reason, and said which.
    #[error("{0}")]
    Refused(String),
    /// The program cannot be run or its files not be written.
    #[error("cannot run the emulator {program}")]
    Program {
        /// Which one.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A running lab does not answer as it should.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The profile cannot be written.
    #[error(transparent)]
    Profile(#[from] super::profile::ProfileError),
}

/// What a lab is beside its wire.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// MTU of the devices.
    pub mtu: u16,
    /// Seed of the link.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { mtu: 1500, seed: 1 }
    }
}

/// A lab that is up as long as this is held.
#[derive(Debug)]
pub struct LabProcess {
    program: PathBuf,
    child: Child,
    description: LabDescription,
}

static LABS: AtomicU32 = AtomicU32::new(0);

impl LabProcess {
    /// Brings a lab up with the `wanem` at `program`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn start(program: &Path, wire: &Wire, settings: Settings) -> Result<Self, ClientError> {
        let mut arguments = vec!["lab", "hold"];
        let profile = match wire {
            Wire::Veth => {
                arguments.push("--veth");
                None
            }
            Wire::Emulated(profile) => Some(profile.to_toml()?),
        };
        Self::launch(program, &arguments, profile.as_deref(), settings)
    }

    /// Brings a star up with the `wanem` at `program`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn start_star(
        program: &Path,
        profile: &StarProfile,
        settings: Settings,
    ) -> Result<Self, ClientError> {
        Self::launch(program, &["star", "hold"], Some(&profile.to_toml()?), settings)
    }

    fn launch(
        program: &Path,
        arguments: &[&str],
        profile: Option<&str>,
        settings: Settings,
    ) -> Result<Self, ClientError> {
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{}-{number}", std::process::id());
        let failed =
            |source: io::Error| ClientError::Program { program: program.to_owned(), source };
        let mut command = Command::new(program);
        command.args(arguments).args(["--until-eof", "--name", &name]);
        command.args(["--mtu", &settings.mtu.to_string(), "--seed", &settings.seed.to_string()]);
        let directory = run_directory().map_err(|error| ClientError::Refused(error.to_string()))?;
        let profile_path = directory.join(format!("{name}.toml"));
        if let Some(text) = profile {
            fs::write(&profile_path, text).map_err(failed)?;
            command.arg("--profile").arg(&profile_path);
        }
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = child.spawn().and_then(await_ready);
        // Read by now, or never.
        drop(fs::remove_file(&profile_path));
        let (child, line) = started.map_err(failed)?;
        match serde_json::from_str(&line) {
            Ok(description) => Ok(Self { program: program.to_owned(), child, description }),
            Err(_) => Err(last_words(child)),
        }
    }

    /// The command that runs `program` inside a site; arguments can be added.
    pub fn command(&self, site: Site, program: impl AsRef<OsStr>) -> Command {
        self.command_at(site.letter().encode_utf8(&mut [0; 4]), program)
    }

    /// The same by the name of the site: those of a star have no others.
    pub fn command_at(&self, site: &str, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["exec", "--name", &self.description.name, site, "--"]);
        command.arg(program);
        command
    }

    /// The command that runs one of wanem's traffic tools inside a site. The tool ends at the latest
    /// with the thread that started it: it may wait for what never comes.
    pub fn probe(&self, site: Site, tool: &str) -> Command {
        self.probe_at(site.letter().encode_utf8(&mut [0; 4]), tool)
    }

    /// The same by the name of the site.
    pub fn probe_at(&self, site: &str, tool: &str) -> Command {
        let mut command = self.command_at(site, &self.program);
        command.args(["probe", "--owner", &std::process::id().to_string(), tool]);
        command
    }

    /// Has the lab do what one step of a script asks for.
    ///
    /// # Errors
    /// [`ClientError::Control`].
    pub fn order(&self, request: &Request) -> Result<(), ClientError> {
        control::ask(&self.description.control, request)?;
        Ok(())
    }

    /// Changes some properties of the link.
    ///
    /// # Errors
    /// [`ClientError::Control`].
    pub fn change(&self, change: Change) -> Result<(), ClientError> {
        control::ask(&self.description.control, &Request::Set(change))?;
        Ok(())
    }

    /// Makes the link another one.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set(&self, profile: &LabProfile) -> Result<(), ClientError> {
        control::ask(&self.description.control, &Request::Replace(profile.to_toml()?))?;
        Ok(())
    }

    /// Changes the address translator of a site.
    ///
    /// # Errors
    /// [`ClientError::Control`].
    pub fn nat(&self, site: Site, order: NatOrder) -> Result<(), ClientError> {
        control::ask(&self.description.control, &Request::Nat(site, order))?;
        Ok(())
    }

    /// Moves a site to another address.
    ///
    /// # Errors
    /// [`ClientError::Control`].
    pub fn readdress(&self, site: Site, to: IpAddr) -> Result<(), ClientError> {
        control::ask(&self.description.control, &Request::Readdress(site, to))?;
        Ok(())
    }

    /// What the lab did so far.
    ///
    /// # Errors
    /// [`ClientError::Control`]; a veth lab has no status.
    pub fn status(&self) -> Result<LabStatus, ClientError> {
        match control::ask(&self.description.control, &Request::Status)? {
            Answer::Status(status) => Ok(*status),
            _ => Err(ControlError::Refused("no status of a link".to_owned()).into()),
        }
    }

    /// What a star did so far.
    ///
    /// # Errors
    /// [`ClientError::Control`]; a lab of two sites has no such status.
    pub fn star_status(&self) -> Result<StarStatus, ClientError> {
        match control::ask(&self.description.control, &Request::Status)? {
            Answer::Star(status) => Ok(*status),
            _ => Err(ControlError::Refused("no status of a star".to_owned()).into()),
        }
    }

    /// Process id of the emulator.
    pub fn pid(&self) -> u32 {
        self.description.pid
    }
}

impl Drop for LabProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // It ends by itself now; how it ends does not matter any more.
        drop(self.child.wait());
    }
}

/// Waits for the line that describes the lab; an empty one means that it failed.
fn await_ready(mut child: Child) -> io::Result<(Child, String)> {
    let mut line = String::new();
    if let Some(output) = &mut child.stdout {
        BufReader::new(output.take(1 << 16)).read_line(&mut line)?;
    }
    Ok((child, line))
}

/// Why an emulator that is not up ended.
fn last_words(mut child: Child) -> ClientError {
    drop(child.stdin.take());
    let mut text = String::new();
    if let Some(stderr) = &mut child.stderr {
        // What cannot be read is not shown.
        drop(stderr.take(1 << 16).read_to_string(&mut text));
    }
    let code = child.wait().ok().and_then(|status| status.code());
    let text = text.trim().to_owned();
    match code == Some(Unsupported::EXIT_CODE.into()) {
        true => ClientError::Unsupported(text),
        false => ClientError::Refused(text),
    }
}
