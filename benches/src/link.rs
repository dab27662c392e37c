//! The link of measurements of sites: an option that all of them have.

use anyhow::{Context, Result};
use clap::Args;
use farhaul_netem_tests::LabProfile;
use std::fs;
use std::path::PathBuf;

/// 200 Mbit/s, 100 ms there and back, 1 % lost each way.
const LINK: &str = "rate = '200Mbit/s'\nrtt = '100ms'\nloss = '1%'\nqueue = '100ms'";

/// See the head of this file.
#[derive(Args, Clone, Debug)]
pub struct LinkOptions {
    /// A link of one's own, instead of 200 Mbit/s, 100 ms, 1 %.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
}

impl LinkOptions {
    /// The link that was asked for.
    ///
    /// # Errors
    /// If its file cannot be read, or is no profile.
    pub fn link(&self) -> Result<LabProfile> {
        let text = match &self.profile {
            Some(path) => fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?,
            None => LINK.to_owned(),
        };
        Ok(LabProfile::from_toml(&text)?)
    }
}
