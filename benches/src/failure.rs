//! Why a measurement has no figure.

use farhaul_netem_tests::Unavailable;
use farhaul_tools::wanem::client::ClientError;
use farhaul_tools::wanem::profile::ProfileError;
use std::io;
use std::time::Duration;

/// See the module. That a program took too long or broke off is a figure, where it was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The machine gives no lab.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The lab does not answer.
    #[error(transparent)]
    Lab(#[from] ClientError),
    /// A profile is wrong.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A program or file failed.
    #[error("a program or a file failed")]
    Io(#[from] io::Error),
    /// A transfer ended, or got nowhere, before it was where something was to happen to it, or after.
    #[error("the transfer was not where it should be after {0:?}")]
    Late(Duration),
    /// What was waited for did not come.
    #[error("{what} within {limit:?}; the sender said: {said}")]
    Stuck {
        /// What did not happen.
        what: &'static str,
        /// The time that it had.
        limit: Duration,
        /// What the sender printed and complained of.
        said: String,
    },
    /// Without a rate nobody can say how much is enough to send.
    #[error("the link has no rate")]
    NoRate,
    /// A flow told nothing within the time.
    #[error("Farhaul told no progress within the time that counts")]
    Silent,
}
