//! One session's body: its keys, its blocks in memory, and its core.

use super::blocks::{Packing, RecvBlock, SendBlock};
use super::command::{LaneKeys, NewSession, SessionEvent, SessionStats, SignOfLife};
use super::effects::WaitingRead;
use super::link::Part;
use super::recording::Recording;
use super::shares::Progress;
use super::trace::Flight;
use crate::control::{ControlSocket, Vouched};
use crate::net::link::LinkId;
use crate::objects::{BlockSink, BlockSource};
use crate::pack::{Effort, Experience};
use crate::seal::{OpenKey, Salts, SealKey};
use farhaul_proto::fec::PackPolicy;
use farhaul_proto::ids::{BlockIndex, LaneTag, ObjectId, PacketNumber};
use farhaul_proto::limits::{EPOCH_AGE_MAX, FORGERY_ALARM, FORGERY_LIMIT, REPLAY_WINDOW};
use farhaul_proto::path::replay::ReplayWindow;
use farhaul_proto::session::Session;
use farhaul_proto::units::Timestamp;
use farhaul_proto::wire::control::PathFigures;
use farhaul_proto::wire::number::KeyEpoch;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Sealed datagrams of one length that the socket would not take yet.
#[derive(Debug)]
pub(super) struct Unsent {
    pub(super) to: SocketAddr,
    pub(super) segment_len: usize,
    pub(super) bytes: Vec<u8>,
}

/// Where an object comes from, and how it has packed so far.
pub(super) struct Outgoing {
    pub(super) source: Arc<dyn BlockSource>,
    experience: Arc<Experience>,
}

impl Outgoing {
    pub(super) fn new(source: Arc<dyn BlockSource>) -> Self {
        Self { source, experience: Arc::default() }
    }
}

/// The body of a session.
pub(super) struct SessionBody {
    pub(super) core: Session,
    pub(super) send_tag: LaneTag,
    pub(super) recv_tag: LaneTag,
    pub(super) seal: SealKey,
    pub(super) open: OpenKey,
    pub(super) replay: ReplayWindow,
    pub(super) largest: Option<PacketNumber>,
    pub(super) send_blocks: BTreeMap<BlockIndex, SendBlock>,
    pub(super) recv_blocks: BTreeMap<BlockIndex, RecvBlock>,
    /// Blocks to read for which there was no buffer.
    pub(super) waiting_reads: VecDeque<WaitingRead>,
    pub(super) sources: BTreeMap<ObjectId, Outgoing>,
    pub(super) pack: PackPolicy,
    pub(super) sinks: BTreeMap<ObjectId, Arc<dyn BlockSink>>,
    pub(super) unsent: VecDeque<Unsent>,
    /// Events that the listener has no room for yet; bounded by the number of declared objects.
    pub(super) pending_events: VecDeque<SessionEvent>,
    pub(super) events: mpsc::Sender<SessionEvent>,
    /// When the last authentic packet came.
    pub(super) heard_at: Timestamp,
    /// Packets that opened and found no buffer.
    pub(super) no_buffer: u64,
    pub(super) flight: Flight,
    /// Who waits for the end of a measurement.
    pub(super) probing: Option<oneshot::Sender<PathFigures>>,
    pub(super) began: Timestamp,
    /// Only of a session that is recorded.
    pub(super) recording: Option<Box<Recording>>,
    /// What got done with the buffers on their way out.
    pub(super) sent: Progress,
    /// What got done with the buffers of incoming blocks.
    pub(super) received: Progress,
    /// Of what all sessions may send together.
    pub(super) part: Part,
    pub(super) salts: Salts,
    /// For which address QUIC has somebody's word, and ours if it is not that of the handshake.
    vouched: (SocketAddr, Option<Arc<Vouched>>),
    /// When the key that seals was taken.
    sealing_since: Timestamp,
    /// When the keys of the epoch before the current one are of no use any more.
    retire_at: Option<Timestamp>,
    /// The peer broke the rules: nothing is sent or taken any more.
    dead: bool,
}

/// Longest time for which packets of the previous key epoch are taken.
const OLD_EPOCH_MAX: Duration = Duration::from_secs(5);
/// A peer that was heard within this time need not be asked whether it lives.
const JUST_NOW: Duration = Duration::from_millis(50);

impl SessionBody {
    pub(super) fn new(new: NewSession, drops_before: u64, now: Timestamp) -> Self {
        let LaneKeys { send_tag, recv_tag, seal, open } = new.lane;
        let vouched = (new.config.peer, None);
        let mut core = Session::new(new.config, now);
        core.on_local_drops(drops_before);
        Self {
            core,
            send_tag,
            recv_tag,
            seal,
            open,
            replay: ReplayWindow::new(REPLAY_WINDOW),
            largest: None,
            send_blocks: BTreeMap::new(),
            recv_blocks: BTreeMap::new(),
            waiting_reads: VecDeque::new(),
            sources: BTreeMap::new(),
            pack: new.pack,
            sinks: BTreeMap::new(),
            unsent: VecDeque::new(),
            pending_events: VecDeque::new(),
            events: new.events,
            heard_at: now,
            no_buffer: 0,
            flight: Flight::new(new.key),
            probing: None,
            began: now,
            recording: None,
            sent: Progress::new(now),
            received: Progress::new(now),
            part: Part::default(),
            salts: Salts::new(),
            vouched,
            sealing_since: now,
            retire_at: None,
            dead: false,
        }
    }

    /// How blocks of an object are packed now, if they are.
    pub(super) fn packing(&self, object: ObjectId) -> Option<Packing> {
        let effort = Effort::at(self.core.view().rate, self.pack)?;
        let outgoing = self.sources.get(&object).filter(|outgoing| outgoing.source.may_pack())?;
        Some(Packing { effort, experience: Arc::clone(&outgoing.experience) })
    }

    /// True once the peer broke the rules.
    pub(super) const fn is_dead(&self) -> bool {
        self.dead
    }

    /// True while the port has not taken what should leave.
    pub(super) fn waits_for_room(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// True when what comes from there cannot be this session's: a link carries one session, which
    /// leaves it for nothing else. spec: W-112
    pub(super) fn is_elsewhere(&self, from: SocketAddr) -> bool {
        let over_link = self.is_linked() || LinkId::of(from).is_some();
        over_link && from != self.core.peer()
    }

    /// True when its packets travel over a link.
    pub(super) fn is_linked(&self) -> bool {
        LinkId::of(self.core.peer()).is_some()
    }

    /// Ends the session on the lane: all it holds goes back at once, and its owner is told why,
    /// who closes the connection.
    pub(super) fn die(&mut self, why: SessionEvent, now: Timestamp) {
        self.trace_fault(&why, now);
        self.dead = true;
        self.send_blocks.clear();
        self.recv_blocks.clear();
        self.waiting_reads.clear();
        self.sources.clear();
        self.sinks.clear();
        self.unsent.clear();
        self.probing = None;
        self.tell(why);
    }

    /// Ends a session that sends in vain: nothing else would, for QUIC may live on.
    pub(super) fn end_if_unreached(&mut self, now: Timestamp) {
        if let Some(unreached) = self.core.unreached(now).filter(|_| !self.dead) {
            self.die(SessionEvent::Unreached(unreached), now);
        }
    }

    /// Tells the core what this host dropped: in its socket, which all sessions share, and for
    /// want of buffers. Neither is loss on the path.
    pub(super) fn report_drops(&mut self, socket_total: u64) {
        self.core.on_local_drops(socket_total + self.no_buffer);
    }

    /// An authentic packet moved the keys to another epoch, or gives occasion to forget the last
    /// one: three times the span after which a packet counts as lost, nothing of it is on its way.
    pub(super) fn keep_epochs(&mut self, before: KeyEpoch, now: Timestamp) {
        if self.open.epoch() != before {
            self.retire_at = Some(now + (self.core.rtt().pessimistic() * 3).min(OLD_EPOCH_MAX));
        } else if self.retire_at.is_some_and(|at| at <= now) {
            self.retire_at = None;
            self.open.retire_previous();
        }
    }

    /// A packet of this lane did not open: so many tell the operator, too many end the session.
    /// spec: W-032
    #[cold]
    pub(super) fn on_forgery(&mut self, now: Timestamp) {
        let forgeries = self.open.forgeries();
        if forgeries == FORGERY_ALARM {
            tracing::warn!(forgeries, "somebody is trying to forge packets of a session");
        }
        if forgeries >= FORGERY_LIMIT {
            self.die(SessionEvent::ForgeryLimit, now);
        }
    }

    /// The peer has shown that it is where it says: QUIC, which follows it, may say there what it
    /// likes.
    pub(super) fn vouch(&mut self, control: &ControlSocket) {
        let peer = self.core.peer();
        if peer != self.vouched.0 {
            self.vouched = (peer, Some(control.vouch(peer)));
        }
    }

    /// Takes the next key to seal with when this one is old. One that sealed nothing stays: an idle
    /// side would run ahead of what its peer can follow. spec: W-023
    pub(super) fn renew_key(&mut self, now: Timestamp) {
        if self.seal.has_sealed() && now.since(self.sealing_since) >= EPOCH_AGE_MAX {
            self.sealing_since = now;
            self.seal.rekey();
        }
    }

    pub(super) fn tell(&mut self, event: SessionEvent) {
        self.pending_events.push_back(event);
        self.flush_events();
    }

    pub(super) fn flush_events(&mut self) {
        while let Some(event) = self.pending_events.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.pending_events.push_front(event);
                    return;
                }
                Err(mpsc::error::TrySendError::Closed(_)) => self.pending_events.clear(),
            }
        }
    }

    /// Answers who waits for a measurement, once it is over.
    pub(super) fn end_probe(&mut self, now: Timestamp) {
        if let Some(figures) = self.core.take_probed(now)
            && let Some(reply) = self.probing.take()
        {
            let _ = reply.send(figures);
        }
    }

    pub(super) fn stats(&self) -> SessionStats {
        SessionStats {
            peer: self.core.peer(),
            view: self.core.view(),
            counters: self.core.counters(),
            sent: self.core.sender().counters(),
            received: self.core.receiver().counters(),
            received_packets: self.core.received_packets(),
            unsent: self.core.sender().unsent(),
            in_flight: self.core.in_flight(),
            rtt_min: self.core.rtt().min(),
            rtt: self.core.rtt().smoothed(),
            queue_delay_p95: self.core.queue_delay().quantile(0.95),
            packet_size_p50: self.core.packet_sizes().quantile(0.5),
            train_size_p50: self.core.train_sizes().quantile(0.5),
            train_size_p99: self.core.train_sizes().quantile(0.99),
            limited_by: self.core.limit_lately(),
            limited: *self.core.limits().spent(),
        }
    }

    /// Says when the peer was heard last, and asks it for more unless that is only just now.
    pub(super) fn ask_peer(&mut self, now: Timestamp) -> SignOfLife {
        let heard_ago = now.since(self.heard_at);
        if heard_ago >= JUST_NOW {
            self.core.ask_peer();
        }
        SignOfLife { heard_ago, rtt: self.core.rtt().smoothed() }
    }
}
