//! One session: frames in and out, objects declared on both sides in the same order.
//!
//! Both ends count the objects of each direction, so a message that announces one is sent after the
//! object was declared, and heard before the next is.

use super::lease::{Lease, Leased, Mail, MailLease, Room};
use super::outbox::{OUTGOING_MAX, Outbox, Outgoing};
use super::parts::GatherSink;
use super::question::{NoAnswer, Question, Wish};
use super::share::{Declared, Share};
use super::telling::{Told, ToldSource};
use super::{FromPeer, PeerEvent};
use farhaul_engine::control::{
    CLOSE_FAILED, CLOSE_REPLACED, ControlConnection, ControlError, ControlReceiver, ControlSender,
};
use farhaul_engine::driver::command::SessionEvent;
use farhaul_engine::engine::{Peer, SessionFault, SessionHandle};
use farhaul_engine::objects::{BlockSink, MemorySink};
use farhaul_proto::ids::{ObjectId, SiteId};
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::control::{Message as Greeting, reason};
use farhaul_sync::message::{
    Carrier, FEATURE_COMPARES, FEATURE_FORM, FEATURE_JOBS, FEATURE_SITES, FEATURE_SWARMS,
    INLINE_MAX, Message, MessageError, Wanted,
};
use farhaul_sync::seal::FolderKey;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Frames read ahead at most.
const READ_AHEAD: usize = 16;
/// Questions that may be open at once, in each direction: who has more to ask waits.
const ASKED_MAX: usize = 256;
/// Questions that wait for others to be answered.
const WAITING_MAX: usize = 4096;
/// Records on their way in as objects. Further ones are not read before one of them is there.
const RECORDS_IN_MAX: usize = 2;

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Ended {
    /// The connection is.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The engine let it go.
    #[error(transparent)]
    Fault(#[from] SessionFault),
    /// The peer broke the protocol in a message.
    #[error("the peer broke the protocol: {0}")]
    Message(#[from] MessageError),
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {0}")]
    Violation(String),
    /// It is no site.
    #[error("the peer is a program that transfers files, not a site")]
    NoSite,
    /// It is one of an earlier version, which names the same contents otherwise (spec: S-115).
    #[error("the peer is a site of another version, which cuts files otherwise: update it")]
    OtherForm,
    /// The peer ended it in good order.
    #[error("the peer ended the session")]
    Finished,
    /// A newer session with the peer took its place, or this site stops.
    #[error("the session was closed here")]
    Closed,
    /// The peer called anew, and that session took its place.
    #[error("a newer session that this site called took its place")]
    Replaced,
    /// The peer has another session that this site is to have called.
    #[error("the peer says that a newer session of this site took its place")]
    Elsewhere,
    /// The peer does not take what it is sent.
    #[error("the peer does not listen any more")]
    Deaf,
}

/// Why an object that the peer gives is not taken, in the words that it hears (spec: S-228).
const NOT_WANTED: &str = "it is not wanted any more";

/// What an incoming object is.
enum Incoming {
    Records { records: Announced, sink: Arc<MemorySink>, lease: Lease },
    Given { question: Question, sink: Arc<GatherSink> },
}

/// Records that come as an object.
#[derive(Clone, Copy)]
struct Announced {
    folder: FolderKey,
    epoch: u64,
    after: u64,
    to: u64,
    len: u64,
}

/// A frame to be written.
struct Frame {
    body: Vec<u8>,
    /// What stands in it of records or answers takes room until it was written.
    _told: Option<Told>,
}

/// One session, from this side.
pub(super) struct Session {
    peer: SiteId,
    handle: SessionHandle,
    frames: mpsc::Sender<Frame>,
    events: mpsc::Sender<PeerEvent>,
    incoming: BTreeMap<ObjectId, Incoming>,
    asked: BTreeMap<u64, Question>,
    next_ask: u64,
    /// Questions for which too many are open.
    waiting: VecDeque<(FolderKey, Vec<Wanted>, Question)>,
    /// Records that there was no room for yet: nothing behind them is read before they have it.
    parked: Option<Announced>,
    room: Room,
    /// Questions of the peer that are not answered, and of which folder each is.
    open: Vec<(u64, FolderKey)>,
    share: Share,
}

/// Runs a session to its end and tells `events` of everything.
/// A word on `stop` says that the peer called anew; its end, that this site is done with the session.
pub(super) async fn run(
    peer: Peer,
    events: mpsc::Sender<PeerEvent>,
    (room, messages): (Room, Room),
    (stop, share): (oneshot::Receiver<()>, Share),
) -> Ended {
    let probe = peer.probe();
    let Peer { connection, sender, receiver, session, events: lane } = peer;
    let site = connection.peer;
    let (queue, outgoing) = mpsc::channel(OUTGOING_MAX);
    let outbox = Outbox::new(site, queue);
    let (frames, to_write) = mpsc::channel(OUTGOING_MAX);
    let (read, heard) = mpsc::channel(READ_AHEAD);
    let writer = tokio::spawn(write(sender, to_write));
    let reader = tokio::spawn(read_frames(receiver, read, Mail::new(messages)));
    let (incoming, asked) = (BTreeMap::new(), BTreeMap::new());
    let mut this = Session {
        peer: site,
        handle: session,
        frames,
        events: events.clone(),
        incoming,
        asked,
        next_ask: 0,
        waiting: VecDeque::new(),
        parked: None,
        room,
        open: Vec::new(),
        share,
    };
    this.share.begin(&this.handle, probe).await;
    let mut why = tokio::select! {
        talked = this.talk(&connection, (heard, lane, outgoing), &outbox) => match talked {
            Ok(()) => Ended::Closed,
            Err(why) => why,
        },
        stopped = stop => if stopped.is_ok() { Ended::Replaced } else { Ended::Closed },
    };
    if matches!(why, Ended::Message(_) | Ended::Violation(_)) {
        this.handle.bar_peer();
    }
    // Asked before this side closes it as well.
    if connection.was_replaced() {
        why = Ended::Elsewhere;
    }
    let code = if matches!(why, Ended::Replaced) { CLOSE_REPLACED } else { CLOSE_FAILED };
    connection.close(code, &reason(&why.to_string()));
    reader.abort();
    writer.abort();
    // Whoever waits for an answer hears that there is none.
    drop(this);
    let _ = events.send(FromPeer::Down { peer: site, outbox }.into()).await;
    why
}

type Sources =
    (mpsc::Receiver<Result<Read, Ended>>, mpsc::Receiver<SessionEvent>, mpsc::Receiver<Outgoing>);

impl Session {
    async fn talk(
        &mut self,
        connection: &ControlConnection,
        (mut heard, mut lane, mut outgoing): Sources,
        outbox: &Outbox,
    ) -> Result<(), Ended> {
        let agent = concat!("farhauld/", env!("CARGO_PKG_VERSION")).to_owned();
        let features = FEATURE_SITES | FEATURE_COMPARES | FEATURE_FORM | FEATURE_JOBS;
        let features = features | FEATURE_SWARMS;
        self.post(Greeting::Hello { features, agent }.encode_body())?;
        let hello = heard.recv().await.unwrap_or(Err(Ended::Finished));
        let theirs = match hello.map(|read| Greeting::decode(&read.frame))? {
            Ok(Greeting::Hello { features, .. }) if features & FEATURE_SITES == 0 => {
                return Err(Ended::NoSite);
            }
            Ok(Greeting::Hello { features, .. }) if features & FEATURE_FORM == 0 => {
                return Err(Ended::OtherForm);
            }
            Ok(Greeting::Hello { features, .. }) => features,
            Ok(_) => return Err(Ended::NoSite),
            Err(error) => return Err(Ended::Violation(error.to_string())),
        };
        let outbox = outbox.clone().comparing(theirs & FEATURE_COMPARES != 0);
        let outbox = outbox.knowing_jobs(theirs & FEATURE_JOBS != 0);
        let outbox = outbox.knowing_swarms(theirs & FEATURE_SWARMS != 0);
        let telling = outbox.telling().clone();
        self.tell(FromPeer::Up { peer: self.peer, outbox }).await?;
        loop {
            let (parked, room) = (self.parked, self.room.clone());
            tokio::select! {
                frame = heard.recv(), if parked.is_none() => {
                    let Read { frame, room } = frame.unwrap_or(Err(Ended::Finished))?;
                    let message = Message::decode(&frame)?;
                    // What is waited for below is in memory once.
                    drop(frame);
                    self.hear(message, room).await?;
                }
                lease = room.lease(parked.map_or(0, |records| records.len)),
                    if parked.is_some() && self.records_in() < RECORDS_IN_MAX => {
                    self.unpark(lease.ok_or(Ended::Closed)?).await?;
                }
                event = lane.recv() => match event {
                    Some(event) => self.note(event).await?,
                    None => return Err(connection.closed().await.into()),
                },
                said = outgoing.recv() => match said {
                    Some(said) => self.say(said).await?,
                    None => return Ok(()),
                },
                () = telling.freed() => self.tell(FromPeer::Freed).await?,
            }
        }
    }

    fn post(&self, body: Vec<u8>) -> Result<(), Ended> {
        self.post_told(body, None)
    }

    fn post_told(&self, body: Vec<u8>, told: Option<Told>) -> Result<(), Ended> {
        self.frames.try_send(Frame { body, _told: told }).map_err(|_| Ended::Deaf)
    }

    async fn tell(&mut self, what: FromPeer) -> Result<(), Ended> {
        self.tell_read(what, None).await
    }

    /// Tells what was read, with the room that it takes.
    async fn tell_read(&mut self, what: FromPeer, room: Option<MailLease>) -> Result<(), Ended> {
        let event = PeerEvent { what, room };
        self.events.send(event).await.map_err(|_| Ended::Closed)
    }

    async fn say(&mut self, outgoing: Outgoing) -> Result<(), Ended> {
        match outgoing {
            Outgoing::Say(message) => self.post(message.encode()),
            Outgoing::Answer { message, told } => self.post_told(message.encode(), Some(told)),
            Outgoing::Records { folder, epoch, after, to, bytes, told } => {
                let (carrier, told) = if bytes.len() <= INLINE_MAX {
                    (Carrier::Inline(bytes), Some(told))
                } else {
                    let len = bytes.len() as u64;
                    let source = Arc::new(ToldSource::new(bytes, told));
                    self.share.say(&self.handle, (Bytes::new(len), source)).await?;
                    (Carrier::Object { len }, None)
                };
                let message = Message::Records { folder, epoch, after, to, carrier };
                self.post_told(message.encode(), told)
            }
            Outgoing::Give { id, lens, source } => {
                let asked = self.open.iter().position(|(open, _)| *open == id);
                let folder = asked.map(|at| self.open.remove(at).1);
                let mut lens = lens;
                if !source.is_empty() {
                    let len = Bytes::new(source.len());
                    let given = self.share.give(&self.handle, folder, (len, Arc::new(source)));
                    // Without a flow it is as if it were not there just now (spec: S-208).
                    if given.await? == Declared::Crowded {
                        lens.clear();
                    }
                }
                self.post(Message::Give { id, lens }.encode())
            }
            Outgoing::Ask { folder, wanted, question } => {
                // Beyond that it was said to be busy, and whoever asks comes back.
                if self.waiting.len() < WAITING_MAX {
                    self.waiting.push_back((folder, wanted, question));
                }
                self.ask_waiting()
            }
            Outgoing::Enough(wish) => self.enough(&wish),
        }
    }

    /// An answer is not wanted any more. One that did not begin yet stops where it begins.
    fn enough(&mut self, wish: &Wish) -> Result<(), Ended> {
        self.waiting.retain(|(.., question)| !question.is_of(wish));
        let is_it = |(_, incoming): &(&ObjectId, &Incoming)| match incoming {
            Incoming::Given { question, .. } => question.is_of(wish),
            Incoming::Records { .. } => false,
        };
        let begun = self.incoming.iter().find(is_it).map(|(object, _)| *object);
        begun.map_or(Ok(()), |object| self.decline(object))
    }

    fn decline(&mut self, object: ObjectId) -> Result<(), Ended> {
        self.handle.decline_recv(object);
        let reason = NOT_WANTED.to_owned();
        self.post(Message::Failed { object, is_yours: true, reason: reason.clone() }.encode())?;
        self.dropped(object, reason)
    }

    /// Asks as much as may be open. The peer takes a question for answered later than it says so,
    /// and never earlier: what is counted here it counts no higher (spec: S-076).
    fn ask_waiting(&mut self) -> Result<(), Ended> {
        while self.asked.len() < ASKED_MAX
            && let Some((folder, wanted, question)) = self.waiting.pop_front()
        {
            let id = self.next_ask;
            self.next_ask += 1;
            self.asked.insert(id, question);
            self.post(Message::Ask { id, folder, wanted }.encode())?;
        }
        Ok(())
    }

    fn records_in(&self) -> usize {
        let records = |incoming: &&Incoming| matches!(incoming, Incoming::Records { .. });
        self.incoming.values().filter(records).count()
    }

    /// There is room for the records that were announced.
    async fn unpark(&mut self, lease: Lease) -> Result<(), Ended> {
        let Some(records) = self.parked.take() else { return Ok(()) };
        let sink = Arc::new(MemorySink::new(Bytes::new(records.len).as_len()));
        let object = self.expect(records.len, Arc::clone(&sink) as _).await?;
        self.incoming.insert(object, Incoming::Records { records, sink, lease });
        Ok(())
    }

    async fn hear(&mut self, message: Message, room: MailLease) -> Result<(), Ended> {
        let (peer, room) = (self.peer, Some(room));
        match message {
            Message::Share { folders } => {
                self.tell_read(FromPeer::Shares { peer, folders }, room).await
            }
            Message::Records { folder, epoch, after, to, carrier } => match carrier {
                Carrier::Inline(bytes) => {
                    let bytes = Leased::new(bytes, None);
                    self.tell_read(
                        FromPeer::Records { peer, folder, epoch, after, to, bytes },
                        room,
                    )
                    .await
                }
                Carrier::Object { len } => {
                    self.parked = Some(Announced { folder, epoch, after, to, len });
                    Ok(())
                }
            },
            Message::Stored { folder, epoch, up_to } => {
                self.tell_read(FromPeer::Stored { peer, folder, epoch, up_to }, room).await
            }
            Message::Ask { id, folder, wanted } => {
                self.open.push((id, folder));
                if self.open.len() > ASKED_MAX {
                    return Err(Ended::Violation("it asks without waiting for answers".to_owned()));
                }
                self.tell_read(FromPeer::Asked { peer, id, folder, wanted }, room).await
            }
            Message::Give { id, lens } => {
                self.given(id, &lens).await?;
                self.ask_waiting()
            }
            Message::Compare { folder, salt, is_answer, turn } => {
                self.tell_read(FromPeer::Compared { peer, folder, salt, is_answer, turn }, room)
                    .await
            }
            Message::Job { bytes } => self.tell_read(FromPeer::Job { peer, bytes }, room).await,
            Message::Swarm { folder, manifest, word } => {
                let word = *word;
                self.tell_read(FromPeer::Swarm { peer, folder, manifest, word }, room).await
            }
            Message::Incomparable { folder, salt } => {
                self.tell_read(FromPeer::Incomparable { peer, folder, salt }, room).await
            }
            Message::Failed { object, is_yours: true, reason } => {
                if reason != NOT_WANTED {
                    tracing::warn!(%peer, %object, reason, "the peer cannot take what it asked for");
                }
                self.handle.abandon_send(object).await;
                // From here on its reports need not speak around it.
                self.post(Message::Failed { object, is_yours: false, reason }.encode())
            }
            Message::Failed { object, is_yours: false, reason } => {
                self.handle.abandon_recv(object);
                self.dropped(object, reason)
            }
            Message::Restart { block } => {
                self.handle.restart_send(block);
                Ok(())
            }
        }
    }

    async fn expect(&mut self, len: u64, sink: Arc<dyn BlockSink>) -> Result<ObjectId, Ended> {
        Ok(self.handle.declare_recv(Bytes::new(len), Vec::new(), sink).await?)
    }

    async fn given(&mut self, id: u64, lens: &[Option<u64>]) -> Result<(), Ended> {
        let Some(mut question) = self.asked.remove(&id) else {
            return Err(Ended::Violation("it answers what nobody asked".to_owned()));
        };
        if lens.is_empty() {
            question.end(Err(NoAnswer::Halted));
            return Ok(());
        }
        let sink = match question.begin(lens) {
            Ok(sink) => sink,
            Err(why) => {
                question.end(Err(NoAnswer::Failed(why.clone())));
                // Its bytes are on their way: without a place for them the session cannot go on.
                return Err(Ended::Violation(why));
            }
        };
        if sink.is_empty() {
            question.end(Ok(sink));
            return Ok(());
        }
        let object = self.expect(sink.len(), Arc::clone(&sink) as _).await?;
        let is_wanted = question.is_wanted();
        self.incoming.insert(object, Incoming::Given { question, sink });
        if is_wanted { Ok(()) } else { self.decline(object) }
    }

    async fn note(&mut self, event: SessionEvent) -> Result<(), Ended> {
        match event {
            SessionEvent::SendRead(..) => Ok(()),
            SessionEvent::SendComplete(object, _) => {
                self.handle.forget_send(object);
                Ok(())
            }
            SessionEvent::RecvComplete(object, _) => self.came(object).await,
            SessionEvent::SourceFailed(object, failure) => {
                let reason = reason(&failure.reason);
                self.post(Message::Failed { object, is_yours: false, reason }.encode())
            }
            SessionEvent::SinkFailed(object, failure) => {
                let reason = reason(&failure.reason);
                let failed = Message::Failed { object, is_yours: true, reason: reason.clone() };
                self.post(failed.encode())?;
                self.dropped(object, reason)
            }
            SessionEvent::AskAgain(block) => self.post(Message::Restart { block }.encode()),
            SessionEvent::Violation(violation) => Err(Ended::Violation(violation.to_string())),
            SessionEvent::ForgeryLimit => {
                Err(Ended::Violation("too many forged packets".to_owned()))
            }
            SessionEvent::Unreached(_) => Err(Ended::Deaf),
        }
    }

    async fn came(&mut self, object: ObjectId) -> Result<(), Ended> {
        self.handle.forget_recv(object);
        match self.incoming.remove(&object) {
            Some(Incoming::Records { records, sink, lease }) => {
                let Announced { folder, epoch, after, to, .. } = records;
                let (peer, bytes) = (self.peer, Leased::new(sink.take(), Some(lease)));
                self.tell(FromPeer::Records { peer, folder, epoch, after, to, bytes }).await
            }
            Some(Incoming::Given { question, sink }) => {
                question.end(Ok(sink));
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// An object does not come to its end. Without records nothing after them can be taken in.
    fn dropped(&mut self, object: ObjectId, why: String) -> Result<(), Ended> {
        match self.incoming.remove(&object) {
            Some(Incoming::Given { question, .. }) => {
                question.end(Err(NoAnswer::Failed(why)));
                Ok(())
            }
            Some(Incoming::Records { .. }) => Err(Ended::Violation(why)),
            None => Ok(()),
        }
    }
}

async fn write(mut sender: ControlSender, mut frames: mpsc::Receiver<Frame>) {
    while let Some(frame) = frames.recv().await {
        if sender.send(&frame.body).await.is_err() {
            // The reader hears why.
            return;
        }
    }
}

/// Where frames come from.
trait Frames: Send {
    /// The next one; `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<u8>>, ControlError>> + Send;
}

impl Frames for ControlReceiver {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, ControlError> {
        self.recv().await
    }
}

/// A frame, with the room that it takes until the control loop took in what stands in it.
struct Read {
    frame: Vec<u8>,
    room: MailLease,
}

/// Reads as much as there is room for: a peer whose messages wait is read no further, and waits too.
async fn read_frames(
    mut frames: impl Frames,
    heard: mpsc::Sender<Result<Read, Ended>>,
    mail: Mail,
) {
    loop {
        let frame = match frames.next().await {
            Ok(Some(frame)) => match mail.lease(frame.len()).await {
                Some(room) => Ok(Read { frame, room }),
                None => Err(Ended::Closed),
            },
            Ok(None) => Err(Ended::Finished),
            Err(error) => Err(error.into()),
        };
        let is_last = frame.is_err();
        if heard.send(frame).await.is_err() || is_last {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
