//! Where a measurement works and where its report goes: options that all of them have.

use clap::Args;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::PathBuf;

/// See the head of this file.
#[derive(Args, Clone, Debug)]
pub struct FileOptions {
    /// Where the files go while they are sent; a memory file system keeps the disk out of it.
    #[arg(long, value_name = "DIR", default_value = "/dev/shm")]
    pub work: PathBuf,
    /// Writes NAME.md and NAME.json.
    #[arg(long, value_name = "NAME")]
    out: Option<PathBuf>,
}

impl FileOptions {
    /// Writes a report for people and for programs, if that was asked for.
    ///
    /// # Errors
    /// Any of the files.
    pub fn write(&self, markdown: &str, report: &impl Serialize) -> io::Result<()> {
        let Some(out) = &self.out else { return Ok(()) };
        fs::write(out.with_extension("md"), markdown)?;
        fs::write(out.with_extension("json"), serde_json::to_vec_pretty(report)?)
    }
}
