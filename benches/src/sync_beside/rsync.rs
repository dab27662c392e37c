//! rsync to an rsync daemon, with its delta algorithm, started when something has changed.

use super::syncer::{LOOK_EVERY, PATIENCE, Pair, Scene, end, until};
use farhaul_netem_tests::{Running, Site};
use std::fs;
use std::io;
use std::process::Command;

const PORT: u16 = 8730;

/// A daemon in site B, and what runs in site A.
#[derive(Debug)]
pub struct RsyncPair<'a> {
    scene: &'a Scene<'a>,
    daemon: Running,
}

impl<'a> RsyncPair<'a> {
    /// Starts the daemon.
    ///
    /// # Errors
    /// If it does not listen.
    pub fn start(scene: &'a Scene<'_>) -> io::Result<Self> {
        let config = scene.aside("rsyncd.conf");
        let tree = scene.trees[1].display();
        let user = if is_root() { "uid = 0\ngid = 0\n" } else { "" };
        fs::write(
            &config,
            format!(
                "use chroot = no\nreverse lookup = no\n[tree]\npath = {tree}\nread only = no\n{user}"
            ),
        )?;
        let mut command = Command::new("rsync");
        command.args(["--daemon", "--no-detach", "--address", &Site::B.ipv4().to_string()]);
        command.args(["--port", &PORT.to_string(), "--config"]).arg(&config);
        let daemon = scene.lab.spawn_group(Site::B, &command)?;
        // The kernel's table: local address with the port in hex, then state 0A, which is LISTEN.
        let wanted = format!(":{PORT:04X} 00000000:0000 0A");
        until("rsync's daemon listens", PATIENCE, LOOK_EVERY, || {
            let table = scene.lab.run(Site::B, Command::new("cat").arg("/proc/net/tcp"))?;
            Ok(table.stdout.contains(&wanted))
        })?;
        Ok(Self { scene, daemon })
    }

    /// Brings the trees to be the same, and tells what the sender used.
    ///
    /// # Errors
    /// If it fails.
    pub fn run(&self) -> io::Result<farhaul_netem_tests::Finished> {
        let mut command = Command::new("rsync");
        command.args(["--recursive", "--links", "--perms", "--times", "--delete"]);
        let tree = self.scene.trees[0].join("");
        command.arg(tree).arg(format!("rsync://{}:{PORT}/tree/", Site::B.ipv4()));
        self.scene.lab.run_within(Site::A, &command, self.scene.limit)?.succeeded()
    }
}

/// As root the daemon would become nobody.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

impl Pair for RsyncPair<'_> {
    fn bring(&mut self) -> io::Result<()> {
        self.run().map(drop)
    }

    fn is_live(&self) -> bool {
        false
    }

    fn end(self: Box<Self>) -> io::Result<()> {
        end(self.daemon)
    }
}
