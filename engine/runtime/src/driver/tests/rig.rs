//! Drivers without engines: stepped by hand on loopback, with sources, sinks and disks that fail
//! on demand, and packets made outside of any driver.

use super::super::command::{Command, HeldRuns, LaneKeys, NewSession, SessionEvent, SessionKey};
use super::super::{Driver, Parts, SpareDisk};
use crate::buffers::BufferPool;
use crate::control::{ControlEndpoint, Opening, Openings};
use crate::disk::{
    Completion, Disk, DiskConfig, DiskError, DiskFile, DiskKind, Op, Request, Segment,
};
use crate::identity::{Identity, SiteId};
use crate::net::link::LinkId;
use crate::net::{PortConfig, UdpPort};
use crate::objects::{BlockSink, BlockSource, Failure, Load, Store};
use crate::seal::{LaneIds, LaneSecrets, SealKey, Side};
use crate::wake::{WakeSource, Waker};
use crossbeam_channel::Sender;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::content::Digest;
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::ids::{BlockIndex, FlowId, LaneTag, ObjectId, PacketNumber, SymbolId};
use farhaul_proto::limits::{BLOCK_DATA, DATA_HEADER_LEN, TAG_LEN};
use farhaul_proto::objects::{ObjectError, Placed};
use farhaul_proto::path::carrier::Carrier;
use farhaul_proto::session::SessionConfig;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_proto::wire::header::{DataId, Header, Kind, PacketId, Train};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

/// Long enough for any machine; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Buffers of a driver.
pub(super) const SLOTS: usize = 16;

/// A driver under test, and the ends of everything that leads to it.
pub(super) struct Rig {
    pub(super) driver: Driver,
    pub(super) control: Arc<ControlEndpoint>,
    commands: Sender<Command>,
    next: u64,
    pub(super) runtime: Runtime,
}

/// One end of a session.
pub(super) struct End {
    pub(super) key: SessionKey,
    events: mpsc::Receiver<SessionEvent>,
    /// What the driver told so far.
    pub(super) seen: Vec<SessionEvent>,
}

impl Rig {
    pub(super) fn new() -> Self {
        Self::with_disk(|disk, _, _| (disk, None))
    }

    /// A driver whose disk engine is made from the real one by `change`.
    pub(super) fn with_disk(
        change: impl FnOnce(Box<dyn Disk>, &BufferPool, Waker) -> (Box<dyn Disk>, Option<SpareDisk>),
    ) -> Self {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let port = UdpPort::bind(addr, PortConfig::default()).expect("loopback has a free port");
        let identity = Identity::ephemeral().expect("a key pair");
        let allow: crate::tls::Allow = Arc::new(|_: &SiteId| true);
        let control = ControlEndpoint::new(
            Arc::clone(&port),
            &identity,
            Some(allow),
            runtime.handle().clone(),
        );
        let control = Arc::new(control.expect("an endpoint"));
        let pool = BufferPool::new(SLOTS, crate::engine::slot_len()).expect("a mapping");
        let wake = WakeSource::new().expect("an eventfd");
        let disk = threads(&pool, wake.waker());
        let (disk, spare_disk) = change(disk, &pool, wake.waker());
        let (commands, receiver) = crossbeam_channel::bounded(64);
        let parts = Parts {
            port: port.into(),
            control: Arc::clone(control.socket()),
            openings: Openings::default(),
            commands: receiver,
            wake,
            pool,
            disk,
            spare_disk,
            fallback_disk: Arc::default(),
            workers: 1,
        };
        let driver = Driver::new(parts).expect("threads");
        Self { driver, control, commands, next: 0, runtime }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.driver.port.udp().local_addr()
    }

    pub(super) fn tell(&mut self, command: Command) {
        self.commands.send(command).expect("the driver lives");
    }

    /// Adds a session with the site at `peer`.
    pub(super) fn add(&mut self, secrets: &LaneSecrets, peer: SocketAddr) -> End {
        let end = self.announce(secrets, peer, None);
        self.driver.turn();
        end
    }

    /// Tells the driver of a session, which it learns with its next turn.
    pub(super) fn announce(
        &mut self,
        secrets: &LaneSecrets,
        peer: SocketAddr,
        opening: Option<Opening>,
    ) -> End {
        let key = SessionKey(self.next);
        self.next += 1;
        let (sender, events) = mpsc::channel(64);
        let blocks = u32::try_from(SLOTS / 2).expect("few");
        let config = SessionConfig {
            carrier: if LinkId::of(peer).is_some() { Carrier::Tcp } else { Carrier::Udp },
            policy: Policy::Fixed,
            bounds: Bounds::capped(Some(BitRate::mbps(800))),
            start_hint: Some(BitRate::mbps(800)),
            fec: FecPolicy::Auto,
            initial_rtt: Duration::from_millis(1),
            send_blocks: blocks,
            recv_blocks: blocks,
            seed: 7,
            peer,
        };
        let lane = LaneKeys::from_secrets(secrets);
        let pack = PackPolicy::Off;
        let new = NewSession { key, lane, config, pack, events: sender, opening };
        self.tell(Command::Add(Box::new(new)));
        End { key, events, seen: Vec::new() }
    }

    /// Asks for something and takes the answer; `None` when the session is over.
    pub(super) fn ask<T>(
        &mut self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Option<T> {
        let (reply, mut answer) = oneshot::channel();
        self.tell(command(reply));
        self.driver.turn();
        answer.try_recv().ok()
    }

    pub(super) fn declare_send(
        &mut self,
        session: SessionKey,
        len: Bytes,
        held: HeldRuns,
        source: Arc<dyn BlockSource>,
    ) -> Option<Result<ObjectId, ObjectError>> {
        let flow = FlowId::default();
        self.ask(|reply| Command::DeclareSend { session, flow, len, held, source, reply })
    }

    pub(super) fn declare_recv(
        &mut self,
        session: SessionKey,
        len: Bytes,
        held: HeldRuns,
        sink: Arc<dyn BlockSink>,
    ) -> Option<Result<ObjectId, ObjectError>> {
        self.ask(|reply| Command::DeclareRecv { session, len, held, sink, reply })
    }

    /// Turns the driver until `done`.
    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < PATIENCE, "never: {what}");
            if !self.driver.turn().more {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }
}

impl End {
    /// Takes in what the driver told.
    pub(super) fn listen(&mut self) -> &[SessionEvent] {
        while let Ok(event) = self.events.try_recv() {
            self.seen.push(event);
        }
        &self.seen
    }
}

/// The disk engine that works everywhere.
pub(super) fn threads(pool: &BufferPool, waker: Waker) -> Box<dyn Disk> {
    let config = DiskConfig { depth: 8, threads: 1, pool, direct: false };
    crate::disk::open(DiskKind::Threads, config, waker).expect("a thread")
}

/// Both ends' secrets of a session; another `seed`, another session.
pub(super) fn secrets(seed: u8) -> (LaneSecrets, LaneSecrets) {
    let export = |out: &mut [u8], label: &[u8], context: &[u8]| -> Result<(), Infallible> {
        let mut hash = blake3::Hasher::new();
        hash.update(&[seed]).update(label).update(context);
        hash.finalize_xof().fill(out);
        Ok(())
    };
    let ids = LaneIds { client: SiteId([1; 32]), server: SiteId([2; 32]) };
    let of =
        |side| LaneSecrets::derive(export, side, 0, &ids).unwrap_or_else(|never| match never {});
    (of(Side::Client), of(Side::Server))
}

/// Two drivers with a session between them.
pub(super) struct Pair {
    pub(super) left: Rig,
    pub(super) right: Rig,
    pub(super) sender: End,
    pub(super) receiver: End,
}

impl Pair {
    pub(super) fn new(mut left: Rig, mut right: Rig) -> Self {
        let (ours, theirs) = secrets(1);
        let sender = left.add(&ours, right.addr());
        let receiver = right.add(&theirs, left.addr());
        Self { left, right, sender, receiver }
    }

    /// Declares the same object at both ends.
    pub(super) fn declare(
        &mut self,
        len: Bytes,
        held: HeldRuns,
        source: Arc<dyn BlockSource>,
        sink: Arc<dyn BlockSink>,
    ) -> ObjectId {
        let right = self.right.declare_recv(self.receiver.key, len, held.clone(), sink);
        let left = self.left.declare_send(self.sender.key, len, held, source);
        let (left, right) = (left.expect("alive"), right.expect("alive"));
        assert_eq!(left, right);
        left.expect("a good declaration")
    }

    /// Declares the same object at both ends, in a flow of the sender.
    pub(super) fn declare_in(
        &mut self,
        flow: FlowId,
        len: Bytes,
        source: Arc<dyn BlockSource>,
        sink: Arc<dyn BlockSink>,
    ) -> ObjectId {
        let (session, held) = (self.sender.key, vec![]);
        let right = self.right.declare_recv(self.receiver.key, len, vec![], sink);
        let command = |reply| Command::DeclareSend { session, flow, len, held, source, reply };
        let (left, right) = (self.left.ask(command).expect("alive"), right.expect("alive"));
        assert_eq!(left, right);
        left.expect("a good declaration")
    }

    /// Opens a block again at both ends.
    pub(super) fn reopen(&mut self, object: ObjectId, position: u32) {
        let (session, runs) = (self.receiver.key, vec![(position, 1)]);
        let theirs = self.right.ask(|reply| Command::ReopenRecv { session, object, runs, reply });
        let (session, runs) = (self.sender.key, vec![(position, 1)]);
        let ours = self.left.ask(|reply| Command::ReopenSend { session, object, runs, reply });
        assert_eq!(ours.expect("alive"), theirs.expect("alive"));
    }

    /// Turns both drivers until `done`.
    pub(super) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        loop {
            self.sender.listen();
            self.receiver.listen();
            if done(self) {
                return;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "never: {what}; {:?} {:?}",
                self.sender.seen,
                self.receiver.seen
            );
            if !self.left.driver.turn().more && !self.right.driver.turn().more {
                std::thread::sleep(Duration::from_micros(100));
            }
        }
    }

    /// How often the receiver told that the object is complete.
    pub(super) fn completions(&self, object: ObjectId) -> usize {
        let complete = |event: &&SessionEvent| matches!(event, SessionEvent::RecvComplete(o, _) if *o == object);
        self.receiver.seen.iter().filter(complete).count()
    }

    pub(super) fn source_failure(&self) -> Option<Failure> {
        self.sender.seen.iter().find_map(|event| match event {
            SessionEvent::SourceFailed(_, failure) => Some(failure.clone()),
            _ => None,
        })
    }

    pub(super) fn sink_failure(&self) -> Option<Failure> {
        self.receiver.seen.iter().find_map(|event| match event {
            SessionEvent::SinkFailed(_, failure) => Some(failure.clone()),
            _ => None,
        })
    }
}

/// A peer without a driver: seals whatever a test wants to say.
pub(super) struct Forger {
    seal: SealKey,
    tag: LaneTag,
    next: u64,
}

impl Forger {
    pub(super) fn new(secrets: &LaneSecrets) -> Self {
        Self { seal: secrets.send.seal_key(), tag: secrets.send.tag(), next: 0 }
    }

    /// An authentic packet.
    pub(super) fn packet(&mut self, kind: Kind, payload: &[u8]) -> Vec<u8> {
        let header = Header::plain(kind, &self.id());
        self.sealed(&header, payload)
    }

    /// An authentic symbol.
    pub(super) fn symbol(&mut self, block: u32, symbol: u32, payload: &[u8]) -> Vec<u8> {
        let data = DataId::plain(BlockIndex::new(block), SymbolId::new(symbol));
        let header = Header::data(&self.id(), data, Train::No);
        self.sealed(&header, payload)
    }

    /// The name of the next packet.
    fn id(&mut self) -> PacketId {
        let (lane, epoch) = (self.tag, self.seal.epoch());
        PacketId { lane, epoch, number: PacketNumber::new(self.next), salt: 0 }
    }

    fn sealed(&mut self, header: &Header, payload: &[u8]) -> Vec<u8> {
        let number = PacketNumber::new(self.next);
        self.next += 1;
        let mut packet = vec![0; DATA_HEADER_LEN];
        let len = header.encode(&mut packet);
        packet.truncate(len);
        let (mut body, mut tag) = (payload.to_vec(), [0; TAG_LEN]);
        self.seal.seal_in_place(number, &packet, &mut body, &mut tag).expect("fresh");
        packet.extend(body);
        packet.extend(tag);
        packet
    }
}

/// Bytes that tell their place.
pub(super) fn content(len: Bytes) -> Vec<u8> {
    (0..len.get()).map(|at| (at / 7 + at / 4099).to_le_bytes()[0]).collect()
}

/// So many blocks, the last one short.
pub(super) fn blocks(count: u64) -> Bytes {
    Bytes::new((count - 1) * BLOCK_DATA.get() + 1000)
}

/// A source in memory.
pub(super) struct Memory(pub(super) Vec<u8>);

impl BlockSource for Memory {
    fn load(&self, placed: Placed, buffer: &mut [u8]) -> Result<Load, Failure> {
        let (start, len) = (placed.offset.as_len(), placed.len.as_len());
        buffer[..len].copy_from_slice(&self.0[start..start + len]);
        Ok(Load::Filled)
    }
}

/// A sink in memory.
pub(super) struct Kept(pub(super) Mutex<Vec<u8>>);

impl Kept {
    pub(super) fn new(len: Bytes) -> Arc<Self> {
        Arc::new(Self(Mutex::new(vec![0; len.as_len()])))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no test panics in there").clone()
    }
}

impl BlockSink for Kept {
    fn store(&self, placed: Placed, data: &[u8]) -> Result<Store, Failure> {
        let start = placed.offset.as_len();
        let mut bytes = self.0.lock().expect("no test panics in there");
        bytes[start..start + data.len()].copy_from_slice(data);
        Ok(Store::Taken)
    }

    fn stored(&self, _placed: Placed, _digest: Digest) -> Result<(), Failure> {
        Ok(())
    }
}

/// A file, for the disk engine.
pub(super) struct OnDisk(Arc<DiskFile>);

impl OnDisk {
    pub(super) fn new(content: &[u8]) -> Arc<Self> {
        let file = tempfile::tempfile().expect("a temporary file");
        std::os::unix::fs::FileExt::write_all_at(&file, content, 0).expect("room");
        Arc::new(Self(Arc::new(file.into())))
    }

    pub(super) fn bytes(&self, len: Bytes) -> Vec<u8> {
        let mut bytes = vec![0; len.as_len()];
        let mut filled = 0;
        while filled < bytes.len() {
            let read = rustix::io::pread(&self.0, &mut bytes[filled..], filled as u64);
            filled += read.expect("a readable file").max(1);
        }
        bytes
    }

    fn run(&self, placed: Placed) -> Vec<Segment> {
        let (file, len) = (Arc::clone(&self.0), placed.len.as_len());
        vec![Segment { file, file_offset: placed.offset.get(), buffer_offset: 0, len }]
    }
}

impl BlockSource for OnDisk {
    fn load(&self, placed: Placed, _buffer: &mut [u8]) -> Result<Load, Failure> {
        Ok(Load::Read(self.run(placed)))
    }
}

impl BlockSink for OnDisk {
    fn store(&self, placed: Placed, _data: &[u8]) -> Result<Store, Failure> {
        Ok(Store::Write(self.run(placed)))
    }

    fn stored(&self, _placed: Placed, _digest: Digest) -> Result<(), Failure> {
        Ok(())
    }
}

/// A disk engine that answers everything with an error, and gives the buffers back.
pub(super) struct Broken {
    error: DiskError,
    waker: Waker,
    done: Vec<Completion>,
    /// The buffers of writes stay with it.
    keeps: bool,
}

impl Broken {
    pub(super) fn new(error: DiskError, waker: Waker) -> Box<Self> {
        Box::new(Self { error, waker, done: Vec::new(), keeps: false })
    }

    /// One that never gives back what it should have written.
    pub(super) fn keeping(error: DiskError, waker: Waker) -> Box<Self> {
        Box::new(Self { error, waker, done: Vec::new(), keeps: true })
    }
}

impl Disk for Broken {
    fn submit(&mut self, request: Request) -> Result<(), Request> {
        let buffer = match request.op {
            Op::Read { buffer, .. } => Some(buffer.into()),
            Op::Write { buffer, .. } => (!self.keeps).then_some(buffer),
        };
        let result = Err(self.error);
        self.done.push(Completion { token: request.token, buffer, result });
        self.waker.wake();
        Ok(())
    }

    fn poll(&mut self, out: &mut Vec<Completion>) {
        out.append(&mut self.done);
    }

    fn name(&self) -> &'static str {
        "broken"
    }

    fn in_flight(&self) -> usize {
        self.done.len()
    }
}
