//! What the tests of the control channel share: sites, each with one thread that owns its port and
//! sorts what arrives.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use farhaul_engine::control::{ControlConnection, ControlEndpoint};
use farhaul_engine::identity::{Identity, SiteId};
use farhaul_engine::net::{PacketKind, PortConfig, RecvBatch, UdpPort};
use farhaul_engine::tls::Allow;
use tokio::runtime::Handle;

/// A site with its port, its receiving thread and its control channel.
pub(crate) struct Site {
    pub(crate) id: SiteId,
    pub(crate) port: Arc<UdpPort>,
    pub(crate) control: Arc<ControlEndpoint>,
    pub(crate) lane_packets: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    receiver: Option<JoinHandle<()>>,
}

/// For how long a port is waited for that another test, or an ended site, still has.
const PATIENCE: Duration = Duration::from_secs(30);

/// A socket of a site that was ended may live on for a moment, in tasks that are still ending.
fn bound(addr: SocketAddr) -> Arc<UdpPort> {
    let began = Instant::now();
    loop {
        match UdpPort::bind(addr, PortConfig::default()) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && began.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            bound => return bound.expect("loopback has a free port"),
        }
    }
}

impl Site {
    pub(crate) fn start(identity: &Identity, bind: &str, allow: Option<Allow>) -> Self {
        Self::start_on(identity, bind, allow, Handle::current())
    }

    pub(crate) fn start_on(
        identity: &Identity,
        bind: &str,
        allow: Option<Allow>,
        runtime: Handle,
    ) -> Self {
        let addr: SocketAddr = bind.parse().expect("a literal");
        let port = bound(addr);
        let control = ControlEndpoint::new(Arc::clone(&port), identity, allow, runtime);
        let control = Arc::new(control.expect("a valid identity"));
        let (stop, lane_packets) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let receiver = std::thread::spawn({
            let (port, stop) = (Arc::clone(&port), Arc::clone(&stop));
            let (control, lane_packets) = (Arc::clone(control.socket()), Arc::clone(&lane_packets));
            move || {
                let mut batch = RecvBatch::new();
                while !stop.load(Ordering::Relaxed) {
                    let _ready = port.readable(Some(Duration::from_millis(20))).expect("poll");
                    if port.recv_batch(&mut batch).is_err() {
                        continue;
                    }
                    for segment in batch.segments_mut() {
                        match PacketKind::of(segment.data) {
                            PacketKind::Control => {
                                control.deliver(segment.from, segment.ecn, segment.data);
                            }
                            PacketKind::Lane => {
                                assert_eq!(segment.data, foreign_packet(), "misrouted");
                                lane_packets.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                }
            }
        });
        Self { id: identity.id(), port, control, lane_packets, stop, receiver: Some(receiver) }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port.local_addr().port()))
    }

    pub(crate) async fn stop(mut self) {
        self.control.close(0, "done");
        self.control.wait_idle().await;
        self.kill();
    }

    /// Receives nothing any more, and says nothing.
    pub(crate) fn kill(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let receiver = self.receiver.take().expect("stopped once");
        receiver.join().expect("the receiving thread saw nothing misrouted");
    }
}

/// A lane packet of the size of a QUIC packet, so that the kernel merges both kinds.
pub(crate) fn foreign_packet() -> Vec<u8> {
    let mut packet = vec![0x5A; 1200];
    packet[0] = 0x10;
    packet
}

pub(crate) fn identity() -> Identity {
    Identity::ephemeral().expect("a key pair")
}

pub(crate) fn only(site: SiteId) -> Option<Allow> {
    Some(Arc::new(move |asked| *asked == site))
}

pub(crate) async fn accept(site: &Site) -> Option<ControlConnection> {
    site.control.accept().await.map(|(connection, _opening)| connection)
}
