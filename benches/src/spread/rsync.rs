//! rsync from the source to an rsync daemon at each target.

use super::peers::Peer;
use super::{IMAGE, Scene};
use crate::sync_beside::rsync::is_root;
use crate::sync_beside::syncer::{LOOK_EVERY, PATIENCE, until};
use farhaul_netem_tests::Running;
use std::fs;
use std::io;
use std::process::Command;

const PORT: u16 = 8730;

/// Which targets at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    OneByOne,
    AllAtOnce,
}

/// Daemons at all targets, and what runs at the source.
pub(super) struct RsyncPeer<'a> {
    scene: &'a Scene<'a>,
    order: Order,
    _daemons: Vec<Running>,
    /// Targets that wait for their turn, the next one last.
    waiting: Vec<usize>,
    senders: Vec<Running>,
}

impl<'a> RsyncPeer<'a> {
    pub(super) fn start(scene: &'a Scene<'_>, order: Order) -> io::Result<Self> {
        let targets = 1..scene.names.len();
        let daemons = targets.clone().map(|site| daemon(scene, site));
        let daemons = daemons.collect::<io::Result<Vec<_>>>()?;
        let waiting = targets.rev().collect();
        Ok(Self { scene, order, _daemons: daemons, waiting, senders: Vec::new() })
    }

    fn send_next(&mut self) -> io::Result<()> {
        let Some(site) = self.waiting.pop() else { return Ok(()) };
        let at = self.scene.star.address(&self.scene.names[site]).map_err(io::Error::other)?;
        let mut command = Command::new("rsync");
        command.args(["--perms", "--times"]);
        if self.scene.is_sparse {
            // Its zeros would fill the link.
            command.args(["--sparse", "--compress"]);
        }
        command.arg(self.scene.images(0).join(IMAGE)).arg(format!("rsync://{at}:{PORT}/images/"));
        let source = &self.scene.names[0];
        self.senders.push(self.scene.star.spawn_group(source, &command)?);
        Ok(())
    }
}

impl Peer for RsyncPeer<'_> {
    fn begin(&mut self) -> io::Result<()> {
        match self.order {
            Order::OneByOne => self.send_next(),
            Order::AllAtOnce => self.waiting.clone().iter().try_for_each(|_| self.send_next()),
        }
    }

    fn tick(&mut self) -> io::Result<()> {
        let ended = |sender: &Running| sender.has_ended();
        while let Some(at) = self.senders.iter().position(ended) {
            let sender = self.senders.swap_remove(at);
            let limit = sender.age() + PATIENCE;
            sender.finish(limit)?.succeeded()?;
            self.send_next()?;
        }
        Ok(())
    }
}

fn daemon(scene: &Scene<'_>, site: usize) -> io::Result<Running> {
    let name = &scene.names[site];
    let config = scene.work.join(name).join("rsyncd.conf");
    let user = if is_root() { "uid = 0\ngid = 0\n" } else { "" };
    let tree = scene.images(site);
    let text = format!(
        "use chroot = no\nreverse lookup = no\n[images]\npath = {}\nread only = no\n{user}",
        tree.display()
    );
    fs::write(&config, text)?;
    let at = scene.star.address(name).map_err(io::Error::other)?.to_string();
    let mut command = Command::new("rsync");
    command.args(["--daemon", "--no-detach", "--address", &at, "--port", &PORT.to_string()]);
    command.arg("--config").arg(&config);
    let daemon = scene.star.spawn_group(name, &command)?;
    // The kernel's table: local address with the port in hex, then state 0A, which is LISTEN.
    let wanted = format!(":{PORT:04X} 00000000:0000 0A");
    until("rsync's daemon listens", PATIENCE, LOOK_EVERY, || {
        let table = scene.star.run(name, Command::new("cat").arg("/proc/net/tcp"))?;
        Ok(table.stdout.contains(&wanted))
    })?;
    Ok(daemon)
}
