//! What a service manager hears of `farhauld`: ready, alive, reading its configuration again, stopping.

use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A site that runs as under a service manager; it ends with the test.
struct Service {
    child: Child,
    socket: UnixDatagram,
    directory: TempDir,
}

impl Service {
    fn start(watchdog_micros: Option<&str>) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("photos")).expect("made");
        std::fs::write(at("farhauld.toml"), config(directory.path())).expect("written");
        let socket = UnixDatagram::bind(at("notify")).expect("a name of its own");
        socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a socket");
        let mut command = Command::new(env!("CARGO_BIN_EXE_farhauld"));
        command.env_remove("FARHAUL_LOG").env_remove("WATCHDOG_USEC").env_remove("WATCHDOG_PID");
        command.arg("--config").arg(at("farhauld.toml")).env("NOTIFY_SOCKET", at("notify"));
        if let Some(micros) = watchdog_micros {
            command.env("WATCHDOG_USEC", micros);
        }
        let child = command.stderr(Stdio::null()).spawn().expect("it starts");
        Self { child, socket, directory }
    }

    /// What is heard next.
    fn hear(&mut self) -> Vec<String> {
        let (mut bytes, began) = ([0; 4096], Instant::now());
        let len = loop {
            if let Ok(len) = self.socket.recv(&mut bytes) {
                break len;
            }
            let ended = self.child.try_wait().expect("a child");
            assert!(ended.is_none(), "it ended without another word: {ended:?}");
            assert!(began.elapsed() < PATIENCE, "nothing is said, after all patience");
        };
        let text = std::str::from_utf8(&bytes[..len]).expect("text");
        text.lines().map(str::to_owned).collect()
    }

    /// What is heard next but for signs of life.
    fn hear_of_more_than_life(&mut self) -> Vec<String> {
        loop {
            let heard = self.hear();
            if heard != ["WATCHDOG=1"] {
                return heard;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(home: &Path) -> String {
    let (state, photos) = (home.join("state"), home.join("photos"));
    format!(
        "[site]\nname = \"berlin\"\nstate = {state:?}\nlisten = \"127.0.0.1:0\"\n\
         api = \"127.0.0.1:0\"\nbuffers = \"32 MiB\"\n[[folder]]\nid = \"photos\"\npath = {photos:?}\npeers = []\n"
    )
}

#[test]
fn a_service_manager_hears_that_a_site_is_ready_lives_reads_its_configuration_again_and_stops() {
    let mut service = Service::start(Some("300000"));
    assert_eq!(service.hear(), ["READY=1"], "before anything else");
    for _ in 0..3 {
        assert_eq!(service.hear(), ["WATCHDOG=1"]);
    }
    service.signal(Signal::HUP);
    let heard = service.hear_of_more_than_life();
    // With the moment, which `Type=notify-reload` asks for.
    assert_eq!(heard[0], "RELOADING=1");
    let moment = heard[1].strip_prefix("MONOTONIC_USEC=").expect("when that was");
    assert!(moment.parse::<u64>().is_ok_and(|moment| moment > 0), "{moment}");
    assert_eq!(service.hear_of_more_than_life(), ["READY=1"]);
    // One with a fault changes nothing, and the site is ready again.
    std::fs::write(service.directory.path().join("farhauld.toml"), "[site").expect("written");
    service.signal(Signal::HUP);
    assert_eq!(service.hear_of_more_than_life()[0], "RELOADING=1");
    assert_eq!(service.hear_of_more_than_life(), ["READY=1"]);
    assert_eq!(service.hear(), ["WATCHDOG=1"]);
    service.signal(Signal::TERM);
    assert_eq!(service.hear_of_more_than_life(), ["STOPPING=1"]);
    assert_eq!(service.child.wait().expect("a child").code(), Some(0));
}

#[test]
fn where_nobody_asks_for_signs_of_life_none_are_given() {
    let mut service = Service::start(None);
    assert_eq!(service.hear(), ["READY=1"]);
    service.signal(Signal::TERM);
    assert_eq!(service.hear(), ["STOPPING=1"]);
    assert_eq!(service.child.wait().expect("a child").code(), Some(0));
}
