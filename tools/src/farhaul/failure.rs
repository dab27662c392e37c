//! How a verb fails: an exit code, and a sentence that says what failed, why, and what to do.

use farhaul_engine::control::ControlError;
use farhaul_engine::engine::EngineError;
use farhaul_engine::transfer::TransferError;
use std::fmt;

/// A failure of the command.
#[derive(Debug)]
pub(super) struct Failure {
    kind: Kind,
    what: String,
    /// What the user can do about it.
    advice: Option<String>,
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
}

impl Failure {
    pub(super) fn new(kind: Kind, what: impl fmt::Display) -> Self {
        Self { kind, what: what.to_string(), advice: None }
    }

    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    pub(super) const fn code(&self) -> u8 {
        self.kind as u8
    }

    pub(super) fn print(&self) {
        eprintln!("farhaul: {}", self.what);
        if let Some(advice) = &self.advice {
            eprintln!("  {advice}");
        }
    }
}

impl From<TransferError> for Failure {
    fn from(error: TransferError) -> Self {
        let advice = error.advice();
        let kind = match &error {
            TransferError::Refused { .. } => Kind::Peer,
            TransferError::Control(inner) => return control(inner),
            TransferError::Local { .. } => Kind::Disk,
            _ => Kind::Transfer,
        };
        Self { kind, what: error.to_string(), advice }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        Self::new(Kind::Transfer, error)
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
        _ => (Kind::Transfer, "run the same command again to continue where it stopped"),
    };
    Failure::new(kind, error).advise(advice)
}
