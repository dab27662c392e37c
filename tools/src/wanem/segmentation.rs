//! Our split of large frames against the kernel's own: the same datagrams, once with offload and
//! split here, once without and split by the kernel, must be the same bytes.

use super::segment::{Frame, materialise};
use super::selftest::{Check, SelftestError};
use super::site::{self, Site, SiteError};
use super::tun::{Offload, Tun};
use super::vnet::VnetHeader;
use crate::netns::{self, Netns, NetnsError};
use crate::sys;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

/// Payload sizes and segment sizes that are tried: full and odd last segments, single segments,
/// the smallest and the largest.
const SHAPES: [(usize, u16); 6] =
    [(14_520, 1452), (14_000, 1408), (1408, 1408), (1, 1200), (60_001, 1201), (640, 10)];
const PORTS: (u16, u16) = (4000, 5000);
const MTU: u16 = 1500;

/// Why the comparison could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentationError {
    /// No namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// No device.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// A socket or the device failed.
    #[error("socket or device")]
    Io(#[from] io::Error),
}

/// How the two splits compare.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Packets that were compared.
    pub packets: u64,
    /// Packets that differ.
    pub different: u64,
    /// Frames that held more than one packet: none means that nothing was tried.
    pub large_frames: u64,
}

/// Runs the comparison in a process of its own, because it may need a user namespace.
///
/// # Errors
/// [`SelftestError`].
pub fn check(program: &Path) -> Result<Check, SelftestError> {
    let mut command = Command::new(program);
    command.args(["probe", "segmentation"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(SelftestError::Tool(words.trim().to_owned()));
    }
    let found: Comparison = serde_json::from_slice(&output.stdout)?;
    let passed = found.different == 0 && found.large_frames > 0;
    let finding = format!(
        "{} UDP datagrams from {} large frames, {} differ from the kernel's",
        found.packets, found.large_frames, found.different
    );
    Ok(Check { name: "segmentation", finding, passed })
}

/// Makes the comparison. The process must have one thread.
///
/// # Errors
/// [`SegmentationError`].
pub fn compare() -> Result<Comparison, SegmentationError> {
    if !netns::is_privileged() {
        netns::enter_user_namespace()?;
    }
    let (site, tun) = site::make_tun_site(Site::A, MTU)?;
    let mut comparison = Comparison::default();
    for address in [IpAddr::V4(Site::B.ipv4()), IpAddr::V6(Site::B.ipv6())] {
        for (len, segment) in SHAPES {
            compare_one(&site.netns, &tun, (address, len, segment), &mut comparison)?;
        }
    }
    Ok(comparison)
}

fn compare_one(
    netns: &Netns,
    tun: &Tun,
    (address, len, segment): (IpAddr, usize, u16),
    comparison: &mut Comparison,
) -> Result<(), SegmentationError> {
    let count = len.div_ceil(usize::from(segment));
    let mut splits = Vec::with_capacity(2);
    for offload in [Offload::Full, Offload::None] {
        tun.set_offload(offload)?;
        netns.run(|| send(address, len, segment))??;
        let (packets, large) = collect(tun, count)?;
        comparison.large_frames += large;
        splits.push(packets);
    }
    comparison.packets += count as u64;
    let [ours, kernels] = [&splits[0], &splits[1]];
    let differ = ours.iter().zip(kernels).filter(|(a, b)| a != b).count();
    let missing = count - ours.len().min(kernels.len()).min(count);
    comparison.different += (differ + missing) as u64;
    Ok(())
}

fn send(to: IpAddr, len: usize, segment: u16) -> io::Result<()> {
    let any: IpAddr = if to.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, PORTS.0))?;
    sys::set_udp_segment(&socket, segment)?;
    let payload: Vec<u8> = (0..=250).cycle().take(len).collect();
    socket.send_to(&payload, SocketAddr::new(to, PORTS.1))?;
    Ok(())
}

/// Reads until `count` of our datagrams came, as finished packets, IPv4 identification counted from
/// the first; and how many frames held several.
fn collect(tun: &Tun, count: usize) -> io::Result<(Vec<Vec<u8>>, u64)> {
    let patience = Timespec { tv_sec: 1, tv_nsec: 0 };
    let mut buffer = vec![0; 1 << 17];
    let (mut packets, mut large) = (Vec::new(), 0);
    while packets.len() < count {
        let Some(len) = tun.read(&mut buffer)? else {
            if poll(&mut [PollFd::new(tun, PollFlags::IN)], Some(&patience))? == 0 {
                break;
            }
            continue;
        };
        let Some((header, packet)) = buffer[..len].split_first_chunk::<{ VnetHeader::LEN }>()
        else {
            continue;
        };
        let frame = VnetHeader::decode(header).and_then(|vnet| Frame::parse(vnet, packet).ok());
        let Some(frame) = frame.filter(|_| is_ours(packet)) else { continue };
        large += u64::from(frame.segments() > 1);
        let mut out = Vec::new();
        for segment in 0..frame.segments() {
            materialise(&frame, packet, segment, &mut out);
            packets.push(out[VnetHeader::LEN..].to_vec());
        }
    }
    count_identifications_from_first(&mut packets);
    Ok((packets, large))
}

/// UDP to our port, over either IP version: the kernel also sends neighbour discovery and such.
fn is_ours(packet: &[u8]) -> bool {
    let (protocol, transport_at) = match packet.first().map(|first| first >> 4) {
        Some(4) => (9, 20),
        _ => (6, 40),
    };
    let port = packet.get(transport_at + 2..transport_at + 4);
    packet.get(protocol) == Some(&17) && port == Some(PORTS.1.to_be_bytes().as_slice())
}

/// The kernel chooses the first identification; only the distance to it can be compared. The
/// header checksum depends on it and is checked by the kernel's receivers and by property tests.
fn count_identifications_from_first(packets: &mut [Vec<u8>]) {
    let mut first = None;
    for packet in packets.iter_mut().filter(|packet| packet[0] >> 4 == 4) {
        let id = u16::from_be_bytes([packet[4], packet[5]]);
        let distance = id.wrapping_sub(*first.get_or_insert(id));
        packet[4..6].copy_from_slice(&distance.to_be_bytes());
        packet[10..12].fill(0);
    }
}
