//! Network namespaces with an emulated WAN between them: two sites at the ends of one link, or more
//! of them, each behind a link of its own.
//!
//! Of more than two, each link leads from a site to an edge, and the edges are routers that are joined
//! by veth pairs: two links lie between any two sites. So each gets half of the round trip and of the
//! loss. That needs a privileged user; two sites do not.

use crate::lab::Lab;
use crate::require::{Unavailable, program};
use crate::run::Running;
use farhaul_tools::wanem::client::Settings;
use farhaul_tools::wanem::control::Request;
use farhaul_tools::wanem::lab::Wire;
use farhaul_tools::wanem::profile::LabProfile;
use farhaul_tools::wanem::script::Way;
use farhaul_tools::wanem::site::Site;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

/// How often an emulator is told something before a run is given up.
const TRIES: usize = 6;
/// Most sites: their numbers are parts of addresses.
pub const SITES_MAX: usize = 16;

/// What lies between any two sites.
#[derive(Clone, Copy, Debug)]
pub struct Between {
    /// Of each link, in Mbit/s.
    pub megabits: u32,
    /// There and back.
    pub rtt: Duration,
    /// Share of the packets that is lost each way, in percent.
    pub loss: f64,
}

impl Between {
    /// Of one of `links` links in a row.
    fn profile(&self, links: u32) -> Result<LabProfile, io::Error> {
        let text = format!(
            "rate = '{}Mbit/s'\nrtt = '{}us'\nloss = '{}%'\nqueue = '50ms'",
            self.megabits,
            self.rtt.as_micros() / u128::from(links),
            self.loss / f64::from(links),
        );
        LabProfile::from_toml(&text).map_err(io::Error::other)
    }
}

/// The network of a run; gone when dropped.
#[derive(Debug)]
pub struct Net {
    between: Between,
    labs: Vec<Lab>,
    sites: usize,
    /// Holds the namespace of the first edge, for those that name it by a process.
    _hub: Option<Running>,
}

impl Net {
    /// Brings up `sites` of them, two at least.
    ///
    /// # Errors
    /// [`Unavailable`] where the machine does not permit it.
    ///
    /// # Panics
    /// If it does, and it fails all the same.
    pub fn start(sites: usize, between: Between, seed: u64) -> Result<Self, Unavailable> {
        assert!((2..=SITES_MAX).contains(&sites), "{sites} sites: 2 to {SITES_MAX}");
        let (links, labs) = if sites == 2 { (1, 1) } else { (2, sites) };
        let profile = between.profile(links).expect("a link that can be");
        let wire = Wire::Emulated(Box::new(profile));
        let lab = |n| Lab::start_with(&wire, Settings { seed: seed + n as u64, mtu: 1500 });
        let labs = (0..labs).map(lab).collect::<Result<Vec<_>, _>>()?;
        let mut net = Self { between, labs, sites, _hub: None };
        if sites > 2 {
            if !rustix::process::geteuid().is_root() {
                let why = "more than two sites need a privileged user".to_owned();
                return Err(Unavailable::Lab(why));
            }
            program("ip")?;
            net.join().expect("routers between the links");
        }
        Ok(net)
    }

    /// The link of a site, and which end of it the site is.
    pub fn place(&self, site: usize) -> (&Lab, Site) {
        match (self.sites, site) {
            (2, 0) => (&self.labs[0], Site::A),
            (2, _) => (&self.labs[0], Site::B),
            (_, site) => (&self.labs[site], Site::A),
        }
    }

    /// Where a site is reached.
    pub fn address(&self, site: usize) -> Ipv4Addr {
        match self.sites {
            2 => self.place(site).1.ipv4(),
            _ => Ipv4Addr::new(10, 77, number(site), 1),
        }
    }

    /// Takes the link of a site down, or up again.
    ///
    /// # Errors
    /// If the emulator does not answer.
    pub fn set_down(&self, site: usize, is_down: bool) -> io::Result<()> {
        self.change(site, &format!("down = {is_down}"))
    }

    /// Has the link of a site lose so much, in percent; `None` as it does usually.
    ///
    /// # Errors
    /// If the emulator does not answer.
    pub fn set_loss(&self, site: usize, percent: Option<f64>) -> io::Result<()> {
        let links = if self.sites == 2 { 1.0 } else { 2.0 };
        let percent = percent.unwrap_or(self.between.loss / links);
        self.change(site, &format!("loss = '{percent}%'"))
    }

    /// On a machine that is busy with other things an emulator may be kept from answering in time; to
    /// be told the same once more does not harm it.
    fn change(&self, site: usize, keys: &str) -> io::Result<()> {
        let (lab, _) = self.place(site);
        let mut changed = lab.change(Way::Both, keys);
        for _ in 1..TRIES {
            if changed.is_ok() {
                break;
            }
            changed = lab.change(Way::Both, keys);
        }
        changed.map_err(io::Error::other)
    }

    /// Joins the edges: that of the first link is the router of all others.
    fn join(&mut self) -> io::Result<()> {
        for (site, lab) in self.labs.iter().enumerate() {
            let to = Request::Readdress(Site::A, self.address(site).into());
            lab.process().order(&to).map_err(io::Error::other)?;
        }
        let hub = self.labs[0].spawn(Site::B, Command::new("sleep").arg("infinity"))?;
        // It is in the namespace once it is what was asked for.
        let comm = format!("/proc/{}/comm", hub.pid());
        while std::fs::read_to_string(&comm)?.trim() != "sleep" {
            std::thread::sleep(Duration::from_millis(5));
        }
        shell(&self.labs[0], "echo 1 > /proc/sys/net/ipv4/ip_forward")?;
        for (site, lab) in self.labs.iter().enumerate().skip(1) {
            let (n, pid) = (number(site), hub.pid());
            shell(
                lab,
                &format!(
                    "echo 1 > /proc/sys/net/ipv4/ip_forward &&
                     ip link add hub type veth peer name edge{n} netns {pid} &&
                     ip address add 10.78.{n}.2/30 dev hub && ip link set hub up"
                ),
            )?;
            shell(
                &self.labs[0],
                &format!(
                    "ip address add 10.78.{n}.1/30 dev edge{n} && ip link set edge{n} up &&
                     ip route add 10.77.{n}.0/24 via 10.78.{n}.2"
                ),
            )?;
            for other in (0..self.sites).filter(|other| *other != site) {
                let to = number(other);
                shell(lab, &format!("ip route add 10.77.{to}.0/24 via 10.78.{n}.1"))?;
            }
        }
        self._hub = Some(hub);
        Ok(())
    }
}

/// What stands for a site in addresses: 0 is what links use themselves.
fn number(site: usize) -> u8 {
    u8::try_from(site + 1).unwrap_or(u8::MAX)
}

/// Runs a script at the edge of a link.
fn shell(lab: &Lab, script: &str) -> io::Result<()> {
    lab.run(Site::B, Command::new("sh").args(["-c", script]))?.succeeded().map(drop)
}
