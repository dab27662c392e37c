//! Whole commands over an emulated link: what one transfer learns about its path, the next uses.

use super::super::args::{Cli, Verb};
use super::super::setup;
use super::*;
use clap::Parser;
use farhaul_proto::trace::flight::{Flight, What};
use std::sync::mpsc;
use std::thread;

/// Rate of the link.
const RATE: BitRate = BitRate::mbps(20);

/// A server behind the link, and the directory of a client.
struct Far {
    directory: TempDir,
    relay: Relay,
    id: SiteId,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    server: Option<thread::JoinHandle<()>>,
}

impl Far {
    fn begin() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("received")).expect("a fresh directory");
        let root = Root::open(&path("received")).expect("it is there");
        let client = setup::identity(Some(&path("home"))).expect("a fresh home").id();
        let identity = Identity::ephemeral().expect("random numbers");
        let id = identity.id();
        let (addr_in, addr) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let server = thread::spawn(move || {
            let served = setup::block_on(async {
                let allow: Allow = Arc::new(move |site: &SiteId| *site == client);
                let engine = Arc::new(engine(identity, Some(allow))?);
                addr_in.send(engine.local_addr()).expect("somebody waits");
                tokio::select! {
                    () = serve_once(Arc::clone(&engine), root) => {}
                    _ = stopped => {}
                }
                Ok(())
            });
            served.expect("it serves");
        });
        let link = LinkProfile {
            rate: Some(RATE),
            delay: Duration::from_millis(150),
            queue: QueueLimit::Time(QUEUE),
            ..LinkProfile::default()
        };
        let addr = addr.recv().expect("the server starts");
        let relay = Relay::start(addr, &link, 1).expect("a loopback interface");
        Self { directory, relay, id, stop: Some(stop), server: Some(server) }
    }

    /// Sends made-up data; the hint that the session is recorded to have started from.
    fn send(&self, name: &str, size: Bytes, options: &[&str]) -> Option<u64> {
        let path = |name: &str| self.directory.path().join(name).display().to_string();
        fill(Path::new(&path(name)), size).expect("room");
        let (home, record, source) = (path("home"), path(&format!("{name}.record")), path(name));
        let target = format!("{}@{}:", self.id, self.relay.addr());
        let mut words = vec!["farhaul", "send", "--quiet", "--compress", "off"];
        words.extend(["--home", &home, "--record", &record]);
        words.extend(options);
        words.extend([source.as_str(), &target]);
        let Verb::Send(args) = Cli::parse_from(words).verb else { panic!("it says send") };
        super::super::transfer::send(args).expect("it is carried");
        let flight = Flight::parse(&fs::read(record).expect("a record")).expect("a whole one");
        let started = flight.events.iter().find_map(|event| match event.what {
            What::Started { hint_bps, .. } => Some(hint_bps),
            _ => None,
        });
        started.expect("every record tells of the start")
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.server.take().map(thread::JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()));
    }
}

#[test]
fn a_second_transfer_starts_from_what_the_first_found_unless_told_not_to() {
    let far = Far::begin();
    let few = Bytes::kib(64);
    assert_eq!(far.send("first", Bytes::mib(10), &[]), None);
    let hint = far.send("second", few, &[]).map(BitRate::bps).expect("a path is known");
    assert!((RATE.mul_f64(0.75)..RATE.mul_f64(1.25)).contains(&hint), "{hint}");
    assert_eq!(far.send("third", few, &["--no-memory"]), None);
}
