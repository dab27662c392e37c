//! Copies one file over one stream of a QUIC library, as a peer to measure beside.

use anyhow::Result;
use clap::Parser;
use farhaul_benches::quinn_copy::{receive, send};
use farhaul_engine::identity::SiteId;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Copies one file over one QUIC stream.
#[derive(Debug, Parser)]
#[command(name = "quinn_copy")]
enum Arguments {
    /// Waits for one file; prints its identity once it listens.
    Receive {
        /// Where to listen.
        listen: SocketAddr,
        /// Where the bytes go.
        output: PathBuf,
    },
    /// Sends one file.
    Send {
        /// The receiver's address.
        to: SocketAddr,
        /// The receiver's identity.
        identity: SiteId,
        /// What to send.
        file: PathBuf,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments::Receive { listen, output } => receive(listen, &output, announce).await,
        Arguments::Send { to, identity, file } => send(to, identity, &file).await,
    }
}

fn announce(identity: SiteId) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{identity}")?;
    Ok(out.flush()?)
}
