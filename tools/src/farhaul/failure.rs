//! How a verb fails: an exit code, and sentences that say what failed, why, and what to do next.
//!
//! Errors of the engine become failures here and nowhere else; each gets its advice.

use super::text;
use farhaul_engine::control::ControlError;
use farhaul_engine::disk::DiskError;
use farhaul_engine::engine::EngineError;
use farhaul_engine::files::{ConfineError, ScanError};
use farhaul_engine::identity::IdentityError;
use farhaul_engine::transfer::TransferError;
use farhaul_proto::wire::control::RefuseCode;
use serde::Serialize;
use std::fmt;
use std::io;

const AGAIN: &str = "run the same command again to continue where it stopped";

/// A failure of the command; as JSON, the `error` of a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Failure {
    /// What failed and why.
    what: String,
    /// What the user can do about it.
    advice: String,
    #[serde(rename = "exit_code", serialize_with = "as_code")]
    kind: Kind,
}

/// Exit codes by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The transfer failed or is incomplete.
    Transfer = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The peer refused, or is not who it should be.
    Peer = 3,
    /// The local disk or file system failed.
    Disk = 4,
    /// Some of it was done, and some cannot be.
    Part = 5,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn as_code<S: serde::Serializer>(kind: &Kind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(*kind as u8)
}

impl Failure {
    pub(super) fn new(kind: Kind, what: impl fmt::Display, advice: impl Into<String>) -> Self {
        Self { kind, what: what.to_string(), advice: advice.into() }
    }

    pub(super) const fn code(&self) -> u8 {
        self.kind as u8
    }

    pub(super) fn print(&self) {
        text::complain(format_args!("farhaul: {}\n  {}", self.what, self.advice));
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// A failure of this machine's disk outside of the engine.
pub(super) fn disk(what: impl fmt::Display, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied => "give this user access to it, or name another place",
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "a directory is needed there, and something else is in the way: name another place"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room there, or name another place"
        }
        io::ErrorKind::ReadOnlyFilesystem => "name a place that can be written to",
        _ => "look at the kernel's log (dmesg) for faults of the disk, then try again",
    };
    Failure::new(Kind::Disk, format!("{what}: {error}"), advice)
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let kind = match &error {
            TransferError::Control(inner) => return control(inner),
            TransferError::Refused { .. } => Kind::Peer,
            // What the peer offers is beyond this version, or somebody else is at it: no fault of
            // the disk.
            TransferError::Local { code: RefuseCode::Unsupported | RefuseCode::Busy, .. } => {
                Kind::Transfer
            }
            TransferError::Local { .. } | TransferError::Disk { .. } => Kind::Disk,
            _ => Kind::Transfer,
        };
        Self::new(kind, &error, error.advice())
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let (kind, advice) = match &error {
            EngineError::Bind { source, .. } => bind(source),
            EngineError::BindTcp { source, .. } => bind_tcp(source),
            EngineError::Buffers { .. } => {
                (Kind::Transfer, "free memory, or raise this process's limit (ulimit -v, cgroup)")
            }
            EngineError::Disk(DiskError::EngineUnavailable { engine: "uring", .. }) => (
                Kind::Disk,
                "use `--disk auto` or `--disk threads`; io_uring is forbidden here (setting \
                 kernel.io_uring_disabled, the container's filter) or the kernel is too old",
            ),
            EngineError::Disk(_) => {
                (Kind::Disk, "raise this process's limits (ulimit -n, -u, -l), then try again")
            }
            EngineError::Control(inner) => return control(inner),
            EngineError::Thread(_) => {
                (Kind::Transfer, "raise the limit of processes and threads (ulimit -u, cgroup)")
            }
            EngineError::Stopped => (Kind::Transfer, AGAIN),
            EngineError::Broken => (
                Kind::Transfer,
                "please report it with the lines above; run the same command again to continue \
                 where it stopped",
            ),
            EngineError::Randomness => {
                (Kind::Transfer, "check that getrandom(2) is not forbidden here (seccomp filter)")
            }
        };
        Self::new(kind, &error, advice)
    }
}

fn bind(error: &io::Error) -> (Kind, &'static str) {
    match error.kind() {
        io::ErrorKind::AddrInUse => (
            Kind::Usage,
            "another program has this port, perhaps another `farhaul serve`: stop that, or give \
             another port with --listen ADDR:PORT",
        ),
        io::ErrorKind::AddrNotAvailable => (
            Kind::Usage,
            "no interface of this host has this address: give one that `ip address` lists with \
             --listen, or leave --listen out for all of them",
        ),
        io::ErrorKind::PermissionDenied => (
            Kind::Usage,
            "ports below 1024 need privileges: give a higher one with --listen ADDR:PORT",
        ),
        _ => (Kind::Transfer, "check that this host has a network, then try again"),
    }
}

fn bind_tcp(error: &io::Error) -> (Kind, &'static str) {
    match error.kind() {
        io::ErrorKind::AddrInUse => (
            Kind::Usage,
            "another program has this port: give another with --tcp PORT, or --tcp off to do \
             without",
        ),
        io::ErrorKind::PermissionDenied => (
            Kind::Usage,
            "ports below 1024 need privileges (CAP_NET_BIND_SERVICE): give a higher one with --tcp",
        ),
        _ => bind(error),
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        control(&error)
    }
}

fn control(error: &ControlError) -> Failure {
    let (kind, advice) = match error {
        ControlError::Refused { .. } => (
            Kind::Peer,
            "ask the peer's operator to start `farhaul serve` with --allow and the id that \
             `farhaul id` prints here",
        ),
        ControlError::WrongIdentity { .. } => (
            Kind::Peer,
            "check the id and the address: somebody else answers there; nothing was sent",
        ),
        ControlError::Unreachable { .. } | ControlError::Timeout { .. } => (
            Kind::Transfer,
            "check that `farhaul serve` runs there, and that UDP passes on that port both ways; \
             run the same command again to continue where it stopped",
        ),
        ControlError::Carrier { .. } => (
            Kind::Transfer,
            "check that the peer's TCP port is open (`farhaul serve --tcp`, --tcp-port here); run \
             the same command again to continue where it stopped",
        ),
        ControlError::Address { .. } => {
            (Kind::Usage, "check the host and the port of the target, ID@HOST[:PORT]:PATH")
        }
        ControlError::Peer(_) => (
            Kind::Transfer,
            "check that both sides run the same version of Farhaul, then run the same command \
             again to continue where it stopped",
        ),
        _ => (Kind::Transfer, AGAIN),
    };
    Failure::new(kind, error, advice)
}

impl From<ScanError> for Failure {
    fn from(error: ScanError) -> Self {
        let (kind, advice) = match &error {
            ScanError::NoSource => (Kind::Usage, "name at least one file or directory"),
            ScanError::Source(inner) => (Kind::Disk, confined(inner)),
            ScanError::Special { .. } => {
                (Kind::Usage, "name files, directories or symbolic links; nothing else is carried")
            }
            ScanError::Name { .. } => {
                (Kind::Usage, "rename it, or send the directory's contents with a slash behind it")
            }
            ScanError::Collision { .. } => (
                Kind::Usage,
                "two of the sources would land at the same place: send them one by one, to \
                 different directories",
            ),
            ScanError::TooLarge => (Kind::Usage, "send it in parts, with one command for each"),
            _ => (Kind::Disk, "check the sources, then try again"),
        };
        Self::new(kind, &error, advice)
    }
}

impl From<ConfineError> for Failure {
    fn from(error: ConfineError) -> Self {
        Self::new(Kind::Disk, &error, confined(&error))
    }
}

/// What to do about a path of this host.
fn confined(error: &ConfineError) -> &'static str {
    match error {
        ConfineError::NotFound { .. } => "check the path",
        ConfineError::Permission { .. } => "give this user access to it, or run as one who has it",
        ConfineError::NotDirectory { .. } => "name a directory",
        ConfineError::IsDirectory { .. } => "name a file",
        ConfineError::NoSpace { .. } => "make room there, then run the same command again",
        ConfineError::TooManyOpen { .. } => "raise the limit of open files (ulimit -n)",
        ConfineError::SymlinkInPath { .. } | ConfineError::Escapes { .. } => {
            "name the place that is meant without links"
        }
        ConfineError::CrossesMount { .. } => "name the mount itself, in a command of its own",
        _ => "look at the kernel's log (dmesg) for faults of the disk, then try again",
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let (kind, advice) = match &error {
            IdentityError::Disk { .. } => (
                Kind::Disk,
                "make the directory of this host's state writable for this user, or give another \
                 with --home",
            ),
            IdentityError::KeyExposed { .. } | IdentityError::HomeExposed { .. } => (
                Kind::Disk,
                "if others may have had it already, remove the key as well: `farhaul id` makes a \
                 new one, with a new id",
            ),
            IdentityError::KeyMalformed { .. } => {
                (Kind::Disk, "without a copy, `farhaul id` makes a new key, with a new id")
            }
            _ => (Kind::Transfer, "try again; if it stays so, please report it"),
        };
        Self::new(kind, &error, advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(error: impl Into<Failure>) -> Failure {
        error.into()
    }

    #[test]
    fn a_disk_engine_that_is_forbidden_is_a_fault_of_the_disk_and_the_other_one_is_named() {
        let error = DiskError::EngineUnavailable { engine: "uring", errno: 1 };
        let failure = failure(EngineError::Disk(error));
        assert_eq!(failure.code(), 4);
        assert!(failure.what.contains("Operation not permitted"), "{failure:?}");
        assert!(failure.advice.contains("--disk threads"), "{failure:?}");
    }

    #[test]
    fn a_port_in_use_is_a_mistake_of_usage() {
        let addr = ([0, 0, 0, 0], 7411).into();
        let failure = failure(EngineError::Bind { addr, source: io::ErrorKind::AddrInUse.into() });
        assert_eq!(failure.code(), 2);
        assert!(failure.advice.contains("--listen"), "{failure:?}");
    }

    #[test]
    fn every_error_of_a_transfer_has_advice_and_an_exit_code_by_whose_fault_it_is() {
        let refused = |code| TransferError::Refused { code, reason: "why".to_owned() };
        let local = |code| TransferError::Local { what: "why".to_owned(), code };
        for (error, code) in [
            (refused(RefuseCode::NoSpace), 3),
            (refused(RefuseCode::NoPermission), 3),
            (refused(RefuseCode::Internal), 3),
            (refused(RefuseCode::Unsupported), 3),
            (local(RefuseCode::NoSpace), 4),
            (local(RefuseCode::NoPermission), 4),
            (local(RefuseCode::Internal), 4),
            (local(RefuseCode::Unsupported), 1),
            (local(RefuseCode::Busy), 1),
            (TransferError::Violation("why".to_owned()), 1),
            (TransferError::Internal("why".to_owned()), 1),
            (TransferError::Session(farhaul_engine::engine::SessionFault::Gone), 1),
        ] {
            let failure = failure(error);
            assert_eq!(failure.code(), code, "{failure:?}");
            assert!(!failure.advice.is_empty(), "{failure:?}");
        }
    }

    #[test]
    fn a_failure_as_json_has_the_exit_code_as_a_number() {
        let json = serde_json::to_value(Failure::new(Kind::Peer, "it failed", "mend it")).unwrap();
        let expected = serde_json::json!({
            "what": "it failed", "advice": "mend it", "exit_code": 3
        });
        assert_eq!(json, expected);
    }
}
