//! Links: connections that carry datagrams in order, and the addresses by which they are known.
//!
//! Whoever sends sees an address and a port that is sometimes full. A link's address lies in the
//! discard-only prefix `100::/64` (RFC 6666): nothing is ever routed there, and nothing comes from
//! there. The room `carrier` owns the connections; here are the queues between it and everybody
//! else, all of them bounded. spec: W-112

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use farhaul_proto::wire::carrier::{CARRIER_FRAME_MAX, first_frame, frame_length};
use tokio::sync::watch;

use super::{Meter, PacketKind, Sent};
use crate::wake::Waker;

/// Lane packets that wait for a link, in bytes: they wait longest where control waits behind them.
const BULK_MAX: usize = 128 << 10;
/// QUIC packets that wait for a link: the window of the control channel.
const CONTROL_MAX: usize = 256 << 10;
/// Batches of lane packets that wait for the driver, of all links together.
const INBOUND_MAX: usize = 32;
/// `100::/64`.
const PREFIX: u64 = 0x0100 << 48;
/// Stands where an address has a port; the library takes none for 0.
const PORT: u16 = 1;

/// A link; never named again while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(u64);

impl LinkId {
    /// The address that stands for the link.
    pub(crate) fn address(self) -> SocketAddr {
        let bits = u128::from(PREFIX) << 64 | u128::from(self.0);
        SocketAddr::new(Ipv6Addr::from_bits(bits).into(), PORT)
    }

    /// The link that `addr` stands for, alive or not; `None` for every address of a network. Asked for
    /// each packet.
    pub(crate) fn of(addr: SocketAddr) -> Option<Self> {
        let IpAddr::V6(ip) = addr.ip() else { return None };
        let octets = ip.octets();
        let (prefix, host) = (octets.first_chunk()?, octets.last_chunk()?);
        (u64::from_be_bytes(*prefix) == PREFIX).then(|| Self(u64::from_be_bytes(*host)))
    }
}

/// Why a link is no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkEnd {
    /// The peer does not want us.
    #[error("the peer refused it")]
    Refused,
    /// Nobody answered.
    #[error("no answer")]
    Silent,
    /// It ended in some other way.
    #[error("{0}")]
    Lost(String),
}

/// One link, as those see it who send on it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: LinkId,
    /// The address of the peer's end of the connection.
    pub(crate) remote: SocketAddr,
    outgoing: Mutex<Outgoing>,
    end: watch::Sender<Option<LinkEnd>>,
    /// Somebody uses it: it carries one session and ends with that.
    taken: AtomicBool,
    released: OnceLock<Instant>,
}

/// Frames that wait for the connection.
#[derive(Debug, Default)]
struct Outgoing {
    control: VecDeque<u8>,
    bulk: VecDeque<u8>,
    /// Somebody was told that there is no room.
    refused: bool,
}

/// What a link took, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TakenOut {
    /// Whoever found no room for lane packets finds some now.
    pub(crate) room_again: bool,
    pub(crate) frames: usize,
}

impl Link {
    /// Takes datagrams; lane packets as long as there is room, others in front of them.
    fn push(&self, segment_len: usize, data: &[u8]) -> Sent {
        let mut outgoing = self.outgoing();
        let mut sent = Sent::default();
        let mut datagrams = data.chunks(segment_len.max(1));
        while let Some(datagram) = datagrams.next() {
            let Ok(length) = frame_length(datagram.len()) else {
                sent.failed += 1;
                continue;
            };
            let queue = match PacketKind::of(datagram) {
                PacketKind::Lane if outgoing.bulk.len() >= BULK_MAX => {
                    outgoing.refused = true;
                    sent.left = 1 + datagrams.len();
                    break;
                }
                PacketKind::Lane => &mut outgoing.bulk,
                // A window of QUIC waits already: this one is lost, and comes again by itself.
                PacketKind::Control if outgoing.control.len() >= CONTROL_MAX => {
                    sent.failed += 1;
                    continue;
                }
                PacketKind::Control => &mut outgoing.control,
            };
            queue.extend(length);
            queue.extend(datagram);
            sent.datagrams += 1;
        }
        sent
    }

    /// Moves frames into `out` until it has `len` bytes or more, control first.
    pub(crate) fn take(&self, out: &mut Vec<u8>, len: usize) -> TakenOut {
        let mut outgoing = self.outgoing();
        let Outgoing { control, bulk, refused } = &mut *outgoing;
        let mut frames = 0;
        while out.len() < len && (take_frame(control, out) || take_frame(bulk, out)) {
            frames += 1;
        }
        let room_again = *refused && bulk.len() <= BULK_MAX / 2;
        *refused &= !room_again;
        TakenOut { room_again, frames }
    }

    /// True when nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        let outgoing = self.outgoing();
        outgoing.control.is_empty() && outgoing.bulk.is_empty()
    }

    /// True once somebody used it.
    pub(crate) fn is_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire)
    }

    /// How long nobody has used it any more; `None` while somebody does, or may.
    pub(crate) fn released_for(&self) -> Option<Duration> {
        self.released.get().map(Instant::elapsed)
    }

    fn outgoing(&self) -> MutexGuard<'_, Outgoing> {
        lock(&self.outgoing)
    }
}

/// Moves the first frame of a queue.
fn take_frame(queue: &mut VecDeque<u8>, out: &mut Vec<u8>) -> bool {
    let mut head = [0; 2];
    for (place, &byte) in head.iter_mut().zip(queue.iter()) {
        *place = byte;
    }
    // What stands in the queue was framed by us.
    let len = if queue.is_empty() { None } else { first_frame(&head).ok().flatten() };
    let Some(len) = len else { return false };
    // The queue is a ring: a frame lies in one piece or in two.
    let (front, back) = queue.as_slices();
    let in_front = len.min(front.len());
    out.extend_from_slice(&front[..in_front]);
    out.extend_from_slice(&back[..(len - in_front).min(back.len())]);
    queue.drain(..len.min(queue.len()));
    true
}

/// Every statement on what is locked here leaves it valid, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lane packets that came in over one link, as frames.
#[derive(Debug)]
pub(crate) struct Inbound {
    /// Which.
    pub(crate) link: LinkId,
    pub(crate) frames: Vec<u8>,
}

impl Inbound {
    /// Adds a datagram.
    pub(crate) fn push(&mut self, datagram: &[u8]) {
        if let Ok(length) = frame_length(datagram.len()) {
            self.frames.extend(length);
            self.frames.extend(datagram);
        }
    }

    /// Hands over one datagram after the other.
    pub(crate) fn for_each(&mut self, mut take: impl FnMut(&mut [u8])) {
        let mut rest = &mut self.frames[..];
        while let Ok(Some(len)) = first_frame(rest)
            && len <= rest.len()
        {
            let (frame, behind) = rest.split_at_mut(len);
            take(&mut frame[2..]);
            rest = behind;
        }
    }
}

/// The links that there are. Clones share them.
#[derive(Clone)]
pub(crate) struct Links {
    shared: Arc<Shared>,
}

struct Shared {
    table: Mutex<HashMap<LinkId, Arc<Link>>>,
    next: AtomicU64,
    /// Wakes the thread that owns the connections.
    bell: Option<Waker>,
    inbound: (Sender<Inbound>, Receiver<Inbound>),
    /// A batch found no room.
    held: AtomicBool,
    meter: Meter,
}

impl Links {
    /// None yet; `bell` wakes who owns the connections, if anybody will.
    pub(crate) fn new(bell: Option<Waker>) -> Self {
        let inbound = crossbeam_channel::bounded(INBOUND_MAX);
        let (table, next, held, meter) = Default::default();
        Self { shared: Arc::new(Shared { table, next, bell, inbound, held, meter }) }
    }

    /// Counts what the connections of all links move.
    pub(crate) fn meter(&self) -> &Meter {
        &self.shared.meter
    }

    fn ring(&self) {
        if let Some(bell) = &self.shared.bell {
            bell.wake();
        }
    }

    /// A new link to `remote`.
    pub(crate) fn add(&self, remote: SocketAddr) -> Arc<Link> {
        let id = LinkId(self.shared.next.fetch_add(1, Ordering::Relaxed) + 1);
        let link = Arc::new(Link {
            id,
            remote,
            outgoing: Mutex::default(),
            end: watch::Sender::new(None),
            taken: AtomicBool::new(false),
            released: OnceLock::new(),
        });
        lock(&self.shared.table).insert(id, Arc::clone(&link));
        link
    }

    /// The connection of a link has ended.
    pub(crate) fn remove(&self, link: &Link, end: LinkEnd) {
        lock(&self.shared.table).remove(&link.id);
        link.end.send_replace(Some(end));
    }

    fn find(&self, id: LinkId) -> Option<Arc<Link>> {
        lock(&self.shared.table).get(&id).map(Arc::clone)
    }

    /// The use of a link; `None` if somebody has it already, or it is no more.
    pub(crate) fn seize(&self, id: LinkId) -> Option<LinkUse> {
        let link = self.find(id)?;
        let links = self.clone();
        (!link.taken.swap(true, Ordering::AcqRel)).then(|| LinkUse {
            link,
            links,
            released: watch::Sender::new(()),
        })
    }

    /// Sends datagrams of `segment_len` bytes, the last perhaps shorter.
    ///
    /// Errors: `NotConnected` when the link is no more. That there is no room is no error.
    pub(crate) fn send(&self, id: LinkId, segment_len: usize, data: &[u8]) -> io::Result<Sent> {
        let link = self.find(id).ok_or(io::ErrorKind::NotConnected)?;
        let sent = link.push(segment_len, data);
        if sent.datagrams > 0 {
            self.ring();
        }
        Ok(sent)
    }

    /// Hands lane packets to the driver; gives them back while it has too many.
    pub(crate) fn deliver(&self, inbound: Inbound) -> Result<(), Inbound> {
        let give = |inbound| match self.shared.inbound.0.try_send(inbound) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(inbound) | TrySendError::Disconnected(inbound)) => Err(inbound),
        };
        give(inbound).or_else(|inbound| {
            // Once more: the driver may have taken the last batch before it could see this.
            self.shared.held.store(true, Ordering::SeqCst);
            give(inbound)
        })
    }

    /// What came in over links, for the driver.
    pub(crate) fn recv(&self) -> Option<Inbound> {
        let inbound = self.shared.inbound.1.try_recv().ok();
        if inbound.is_some() && self.shared.held.swap(false, Ordering::SeqCst) {
            self.ring();
        }
        inbound
    }
}

impl fmt::Debug for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Links").finish_non_exhaustive()
    }
}

/// The use of a link by one connection of the control channel; dropping it ends the link.
#[derive(Debug)]
pub(crate) struct LinkUse {
    pub(crate) link: Arc<Link>,
    links: Links,
    released: watch::Sender<()>,
}

impl LinkUse {
    /// Waits until the link has ended (and says why) or this use of it has.
    pub(crate) fn over(&self) -> impl Future<Output = Option<LinkEnd>> + Send + use<> {
        let (mut end, mut released) = (self.link.end.subscribe(), self.released.subscribe());
        async move {
            tokio::select! {
                ended = end.wait_for(Option::is_some) => ended.ok().and_then(|end| end.clone()),
                _ = released.changed() => None,
            }
        }
    }

    /// Why the link ended, once it has.
    pub(crate) fn end(&self) -> Option<LinkEnd> {
        self.link.end.borrow().clone()
    }
}

impl Drop for LinkUse {
    fn drop(&mut self) {
        let _once = self.link.released.set(Instant::now());
        self.links.ring();
    }
}

const _: () = assert!(CARRIER_FRAME_MAX < BULK_MAX && CARRIER_FRAME_MAX < CONTROL_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn remote() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 7411))
    }

    fn lane(len: usize) -> Vec<u8> {
        vec![0x10; len]
    }

    fn quic(len: usize) -> Vec<u8> {
        vec![0x40; len]
    }

    /// The kinds of the frames that a link gives, in order.
    fn drained(link: &Link) -> Vec<PacketKind> {
        let mut out = Vec::new();
        link.take(&mut out, usize::MAX);
        let mut kinds = Vec::new();
        let mut inbound = Inbound { link: link.id, frames: out };
        inbound.for_each(|datagram| kinds.push(PacketKind::of(datagram)));
        kinds
    }

    #[test]
    fn a_link_is_no_address_of_a_network() {
        for addr in ["[::1]:1", "[2001:db8::1]:1", "[100:0:0:1::1]:1", "1.0.0.1:1", "[::100]:1"] {
            assert_eq!(LinkId::of(addr.parse().expect("a literal")), None, "{addr}");
        }
    }

    #[test]
    fn control_leaves_before_the_bulk_that_came_earlier() {
        let links = Links::new(None);
        let link = links.add(remote());
        let send = |data: &[u8]| links.send(link.id, data.len(), data).expect("alive");
        assert_eq!(send(&lane(1445)).datagrams, 1);
        assert_eq!(send(&quic(1200)).datagrams, 1);
        assert_eq!(drained(&link), [PacketKind::Control, PacketKind::Lane]);
    }

    /// spec: W-114
    #[test]
    fn bulk_waits_with_its_sender_when_the_queue_is_full_and_control_is_dropped() {
        let links = Links::new(None);
        let link = links.add(remote());
        let train = lane(1445 * 64);
        let mut taken = 0;
        let left = loop {
            let sent = links.send(link.id, 1445, &train).expect("alive");
            taken += sent.datagrams;
            if sent.would_block() {
                assert_eq!(sent.datagrams + sent.left, 64);
                break sent.left;
            }
        };
        assert!(left > 0 && taken * 1447 < BULK_MAX + 2 * CARRIER_FRAME_MAX, "{taken}");
        for _ in 0..1000 {
            let sent = links.send(link.id, 1200, &quic(1200)).expect("alive");
            assert!(!sent.would_block());
        }
        let waiting = link.outgoing().control.len();
        assert!(waiting < CONTROL_MAX + CARRIER_FRAME_MAX, "{waiting}");
        assert!(!link.take(&mut Vec::new(), 1).room_again);
        drained(&link);
        assert_eq!(links.send(link.id, 1445, &train).expect("alive").left, 0);
    }

    #[test]
    fn whoever_was_refused_is_told_once_when_there_is_room_again() {
        let links = Links::new(None);
        let link = links.add(remote());
        while !links.send(link.id, 1445, &lane(1445 * 64)).expect("alive").would_block() {}
        let told = (0..200).filter(|_| link.take(&mut Vec::new(), 1).room_again).count();
        assert_eq!(told, 1);
    }

    #[test]
    fn a_link_has_one_user_and_ends_with_it() {
        let links = Links::new(None);
        let link = links.add(remote());
        let first = links.seize(link.id).expect("free");
        assert!(links.seize(link.id).is_none() && link.released_for().is_none());
        drop(first);
        assert!(link.released_for().is_some() && links.seize(link.id).is_none());
        links.remove(&link, LinkEnd::Silent);
        let error = links.send(link.id, 5, &lane(5)).expect_err("gone");
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    }

    #[tokio::test]
    async fn whoever_uses_a_link_learns_why_it_ended() {
        let links = Links::new(None);
        let link = links.add(remote());
        let user = links.seize(link.id).expect("free");
        let over = user.over();
        links.remove(&link, LinkEnd::Refused);
        assert_eq!((over.await, user.end()), (Some(LinkEnd::Refused), Some(LinkEnd::Refused)));
    }

    #[test]
    fn a_driver_that_is_behind_gets_what_was_held_once_it_has_taken_something() {
        let links = Links::new(None);
        let batch = || Inbound { link: LinkId(1), frames: Vec::new() };
        for _ in 0..INBOUND_MAX {
            links.deliver(batch()).expect("room");
        }
        links.deliver(batch()).expect_err("full");
        assert!(links.recv().is_some());
        links.deliver(batch()).expect("room");
    }

    proptest! {
        #[test]
        fn every_link_has_an_address_of_its_own(number in any::<u64>()) {
            let id = LinkId(number);
            prop_assert_eq!(LinkId::of(id.address()), Some(id));
        }

        #[test]
        fn any_batch_ends_where_its_frames_end(frames in prop::collection::vec(any::<u8>(), 0..4000)) {
            let mut seen = 0;
            Inbound { link: LinkId(1), frames }.for_each(|datagram| seen += datagram.len());
            prop_assert!(seen <= 4000);
        }
    }
}
