//! `wanem probe`: see [`crate::wanem::probe`].

use crate::parent::die_with;
use crate::wanem::probe::{self, tcp, udp};
use crate::wanem::segmentation;
use anyhow::Result;
use clap::{Args, Subcommand};
use farhaul_proto::units::BitRate;
use farhaul_sim::profile::{parse_rate, parse_span};
use rustix::process::Pid;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Which tool, and whose.
#[derive(Args, Debug)]
pub(super) struct ProbeArgs {
    /// Ends with the process of this number, which started it.
    #[arg(long)]
    owner: Option<i32>,
    #[command(subcommand)]
    tool: ProbeCommand,
}

impl ProbeArgs {
    pub(super) fn execute(self) -> Result<()> {
        if let Some(owner) = self.owner {
            die_with(Pid::from_raw(owner))?;
        }
        self.tool.execute()
    }
}

/// Which tool.
#[derive(Debug, Subcommand)]
enum ProbeCommand {
    /// Sends a numbered UDP stream.
    UdpSend {
        /// Where to.
        to: SocketAddr,
        /// Rate at IP level; as fast as possible if not given.
        #[arg(long, value_parser = parse_rate)]
        rate: Option<BitRate>,
        /// UDP payload of a datagram.
        #[arg(long, default_value_t = 1472)]
        size: usize,
        /// How long.
        #[arg(long, default_value = "5s", value_parser = parse_span)]
        duration: Duration,
        /// Longest run back to back.
        #[arg(long, default_value = "250us", value_parser = parse_span)]
        batch: Duration,
    },
    /// Receives a numbered UDP stream.
    UdpReceive {
        /// Where.
        listen: SocketAddr,
        /// UDP payload of a datagram.
        #[arg(long, default_value_t = 1472)]
        size: usize,
        /// Ends after this much silence.
        #[arg(long, default_value = "3s", value_parser = parse_span)]
        idle: Duration,
    },
    /// Echoes datagrams.
    Echo {
        /// Where.
        listen: SocketAddr,
        /// Ends after this much silence.
        #[arg(long, default_value = "5s", value_parser = parse_span)]
        idle: Duration,
    },
    /// Measures round trips to an echo.
    Rtt {
        /// Where to.
        to: SocketAddr,
        /// How many.
        #[arg(long, default_value_t = 20)]
        count: u64,
        /// Pause between two.
        #[arg(long, default_value = "10ms", value_parser = parse_span)]
        gap: Duration,
    },
    /// Sends a file over TCP.
    TcpSend {
        /// Where to.
        to: SocketAddr,
        /// What.
        file: PathBuf,
        /// Congestion control.
        #[arg(long)]
        congestion: Option<String>,
    },
    /// Compares our split of large frames with the kernel's.
    Segmentation,
    /// Receives a file over TCP.
    TcpReceive {
        /// Where.
        listen: SocketAddr,
        /// Where to put it; nowhere if not given.
        #[arg(long)]
        output: Option<PathBuf>,
    },
}

impl ProbeCommand {
    fn execute(self) -> Result<()> {
        match self {
            Self::UdpSend { to, rate, size, duration, batch } => {
                let stream = udp::Stream { rate, size, duration, batch };
                probe::print_json(&udp::send(to, stream)?)?;
            }
            Self::UdpReceive { listen, size, idle } => {
                probe::print_json(&udp::receive(listen, size, idle)?)?;
            }
            Self::Echo { listen, idle } => udp::echo(listen, idle)?,
            Self::Rtt { to, count, gap } => probe::print_json(&udp::round_trips(to, count, gap)?)?,
            Self::TcpSend { to, file, congestion } => {
                probe::print_json(&tcp::send(to, &file, congestion.as_deref())?)?;
            }
            Self::Segmentation => probe::print_json(&segmentation::compare()?)?,
            Self::TcpReceive { listen, output } => {
                probe::print_json(&tcp::receive(listen, output.as_deref())?)?;
            }
        }
        Ok(())
    }
}
