//! The two sites of a lab: a network namespace each, with a device called `wan0` that leads to the
//! other one.

use super::tun::{Offload, Tun};
use crate::netlink::{LinkIndex, Netlink, NetlinkError};
use crate::netns::{Netns, NetnsError};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

/// The device in each site.
pub const DEVICE: &str = "wan0";
/// All of 10.77.0.0/16 is reached through the device: sites may move within it, and their
/// translators may have addresses there.
const PREFIX_V4: u8 = 16;
const PREFIX_V6: u8 = 64;
/// Frames that the kernel keeps for the emulator while that is busy: at 64 KiB each more than any
/// link here carries in a scheduling slice.
const DEVICE_QUEUE_LEN: u32 = 4096;

/// Settings of a site's network namespace: TCP windows for long, fast paths (512 MiB), and no
/// memory of earlier connections, so that runs do not influence each other.
const SETTINGS: [(&str, &str); 3] = [
    ("tcp_rmem", "4096 131072 536870912"),
    ("tcp_wmem", "4096 65536 536870912"),
    ("tcp_no_metrics_save", "1"),
];

/// Which end of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[derive(clap::ValueEnum)]
pub enum Site {
    /// 10.77.0.1
    A,
    /// 10.77.0.2
    B,
}

impl Site {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// Its letter, as in the names of namespaces.
    pub fn letter(self) -> char {
        match self {
            Self::A => 'a',
            Self::B => 'b',
        }
    }

    /// Its IPv4 address.
    pub fn ipv4(self) -> Ipv4Addr {
        nth_ipv4(self.nth())
    }

    /// Its IPv6 address.
    pub fn ipv6(self) -> Ipv6Addr {
        nth_ipv6(self.nth())
    }

    fn nth(self) -> u8 {
        match self {
            Self::A => 0,
            Self::B => 1,
        }
    }

    /// 0 for A, 1 for B.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// The IPv4 address of a site by its number, from 0.
pub const fn nth_ipv4(nth: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, nth + 1)
}

/// The IPv6 address of a site by its number, from 0.
pub const fn nth_ipv6(nth: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, nth as u16 + 1)
}

/// The number of the site that a packet goes to, if one of the labs' own addresses is its target.
pub fn nth_of_packet(packet: &[u8]) -> Option<u8> {
    let to = match packet.first()? >> 4 {
        4 => IpAddr::V4(<[u8; 4]>::try_from(packet.get(16..20)?).ok()?.into()),
        6 => IpAddr::V6(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?.into()),
        _ => return None,
    };
    let nth = match to {
        IpAddr::V4(to) => to.octets()[3],
        IpAddr::V6(to) => to.octets()[15],
    };
    let nth = nth.checked_sub(1).filter(|nth| *nth < u8::MAX - 1)?;
    (to == IpAddr::V4(nth_ipv4(nth)) || to == IpAddr::V6(nth_ipv6(nth))).then_some(nth)
}

/// Why the sites could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// No network namespaces.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// A device could not be set up.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// No TUN device.
    #[error("cannot make a TUN device")]
    Tun(#[source] io::Error),
}

/// A site that exists as long as this is held.
#[derive(Debug)]
pub struct SiteHandle {
    /// Its network namespace.
    pub netns: Netns,
    netlink: Netlink,
    device: LinkIndex,
    addresses: [IpAddr; 2],
}

impl SiteHandle {
    /// Moves the site to another address of the same family. For a moment it has none, as a host that
    /// joins another network.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn readdress(&mut self, to: IpAddr) -> Result<(), NetlinkError> {
        let (own, prefix) = match to {
            IpAddr::V4(_) => (&mut self.addresses[0], PREFIX_V4),
            IpAddr::V6(_) => (&mut self.addresses[1], PREFIX_V6),
        };
        self.netlink.delete_address(self.device, *own, prefix)?;
        self.netlink.add_address(self.device, to, prefix)?;
        *own = to;
        Ok(())
    }

    /// Frames that the site's device dropped because nobody took them in time.
    ///
    /// # Errors
    /// [`NetlinkError`].
    pub fn device_drops(&mut self) -> Result<u64, NetlinkError> {
        Ok(self.netlink.counters(self.device)?.send_dropped)
    }
}

/// Makes a site whose device leads to an emulator.
///
/// # Errors
/// [`SiteError`].
pub fn make_tun_site(site: Site, mtu: u16) -> Result<(SiteHandle, Tun), SiteError> {
    make_nth_tun_site(site.nth(), mtu)
}

/// Makes a site of any number, from 0, whose device leads to an emulator.
///
/// # Errors
/// [`SiteError`].
pub fn make_nth_tun_site(nth: u8, mtu: u16) -> Result<(SiteHandle, Tun), SiteError> {
    let netns = Netns::create()?;
    let (tun, netlink, device) = netns.run(|| {
        let tun = Tun::create(DEVICE, Offload::Full).map_err(SiteError::Tun)?;
        let (netlink, device) = set_up(nth, mtu)?;
        Ok::<_, SiteError>((tun, netlink, device))
    })??;
    Ok((SiteHandle { netns, netlink, device, addresses: addresses(nth) }, tun))
}

/// Makes two sites joined by a plain veth pair, no emulator.
///
/// # Errors
/// [`SiteError`].
pub fn make_veth_sites(mtu: u16) -> Result<[SiteHandle; 2], SiteError> {
    let [a, b] = [Netns::create()?, Netns::create()?];
    a.run(|| Netlink::open()?.add_veth(DEVICE, DEVICE, b.as_fd()))??;
    let (netlink_a, device_a) = a.run(|| set_up(Site::A.nth(), mtu))??;
    let (netlink_b, device_b) = b.run(|| set_up(Site::B.nth(), mtu))??;
    Ok([
        SiteHandle {
            netns: a,
            netlink: netlink_a,
            device: device_a,
            addresses: addresses(Site::A.nth()),
        },
        SiteHandle {
            netns: b,
            netlink: netlink_b,
            device: device_b,
            addresses: addresses(Site::B.nth()),
        },
    ])
}

fn addresses(nth: u8) -> [IpAddr; 2] {
    [nth_ipv4(nth).into(), nth_ipv6(nth).into()]
}

/// Sets up the namespace of the calling thread; its device exists.
fn set_up(nth: u8, mtu: u16) -> Result<(Netlink, LinkIndex), SiteError> {
    let mut netlink = Netlink::open()?;
    let loopback = netlink.index_of("lo")?;
    netlink.set_up(loopback)?;
    let device = netlink.index_of(DEVICE)?;
    netlink.set_size(device, mtu, DEVICE_QUEUE_LEN)?;
    netlink.add_address(device, IpAddr::V4(nth_ipv4(nth)), PREFIX_V4)?;
    // A kernel without IPv6 leaves an IPv4 lab.
    let v6 = netlink.add_address(device, IpAddr::V6(nth_ipv6(nth)), PREFIX_V6);
    netlink.set_up(device)?;
    if let Err(error) = v6 {
        eprintln!("wanem: no IPv6 in the lab: {error}");
    }
    for (name, value) in SETTINGS {
        if let Err(error) = fs::write(format!("/proc/sys/net/ipv4/{name}"), value) {
            eprintln!("wanem: cannot set net.ipv4.{name}: {error}");
        }
    }
    Ok((netlink, device))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_leads_to_the_site_whose_address_it_carries_and_nowhere_else() {
        let v4 = |to: [u8; 4]| {
            let mut packet = vec![0; 20];
            packet[0] = 0x45;
            packet[16..].copy_from_slice(&to);
            packet
        };
        assert_eq!(nth_of_packet(&v4(nth_ipv4(0).octets())), Some(0));
        assert_eq!(nth_of_packet(&v4(nth_ipv4(8).octets())), Some(8));
        for stray in [[10, 77, 0, 0], [10, 77, 0, 255], [10, 77, 1, 1], [224, 0, 0, 1]] {
            assert_eq!(nth_of_packet(&v4(stray)), None, "{stray:?}");
        }
        let mut v6 = vec![0; 40];
        v6[0] = 0x60;
        v6[24..].copy_from_slice(&nth_ipv6(3).octets());
        assert_eq!(nth_of_packet(&v6), Some(3));
        v6[24..26].copy_from_slice(&[0xff, 2]);
        assert_eq!(nth_of_packet(&v6), None, "a multicast address is nobody's");
        assert_eq!(nth_of_packet(&v6[..39]), None);
        assert_eq!(nth_of_packet(&[]), None);
    }
}
