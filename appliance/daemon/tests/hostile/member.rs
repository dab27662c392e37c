//! The member: a session with a right key, and whatever it wants to say in it.

use super::said::{By, Said};
use super::sites::{PATIENCE, SHARED, engine, options};
use farhaul_engine::control::{ControlConnection, ControlSender};
use farhaul_engine::driver::command::SessionEvent;
use farhaul_engine::engine::{Engine, SessionHandle};
use farhaul_engine::identity::{Identity, Purpose};
use farhaul_engine::objects::{MemorySink, MemorySource};
use farhaul_proto::ids::{ObjectId, SiteId};
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::control::Message as Greeting;
use farhaul_sync::message::{
    Carrier, FEATURE_FORM, FEATURE_SITES, Followed, Message, Records, SealedRun, Shared,
};
use farhaul_sync::seal::{Proof, Statement, leaf, root};
use farhaul_sync::version::{Author, Incarnation, Serial};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc;

const SEALED: Purpose = Purpose::new(Statement::PURPOSE);
/// Bytes of a part of records that travel in a message.
const PART_MAX: usize = 12 << 10;

pub(super) struct Member {
    identity: Identity,
    engine: Arc<Engine>,
    _connection: ControlConnection,
    session: SessionHandle,
    sender: ControlSender,
    heard: mpsc::UnboundedReceiver<Message>,
    /// Objects of the victim's that it took.
    came: mpsc::UnboundedReceiver<ObjectId>,
    /// The life of its index.
    pub(super) life: u64,
    /// Up to where the victim has what it told.
    told: u64,
    /// The number of what it says next; refused words have numbers too.
    next: u64,
    serial: u64,
}

impl Member {
    /// Says hello, shares the folder, and says that it has nothing: whoever listens to it is done.
    pub(super) async fn meet(identity: Identity, (at, victim): (SocketAddr, SiteId)) -> Self {
        let engine = engine(&identity, &[victim]);
        let peer = engine.connect(at, victim, options()).await.expect("it is a peer");
        let (said, heard) = mpsc::unbounded_channel();
        let mut receiver = peer.receiver;
        tokio::spawn(async move {
            let mut is_greeted = false;
            while let Ok(Some(frame)) = receiver.recv().await {
                if is_greeted && let Ok(message) = Message::decode(&frame) {
                    let _ = said.send(message);
                }
                is_greeted = true;
            }
        });
        let mut events = peer.events;
        let (took, came) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if let SessionEvent::RecvComplete(object, _) = event {
                    let _ = took.send(object);
                }
            }
        });
        let (life, told, next, serial) = (77, 0, 1, 0);
        let (sender, session) = (peer.sender, peer.session);
        let _connection = peer.connection;
        let mut this = Self {
            identity,
            engine,
            _connection,
            session,
            sender,
            heard,
            came,
            life,
            told,
            next,
            serial,
        };
        let features = FEATURE_SITES | FEATURE_FORM;
        let hello = Greeting::Hello { features, agent: "member".to_owned() };
        this.sender.send(&hello.encode_body()).await.expect("it listens");
        this.share(0, None).await;
        this.say(&records((this.life, 0, 0), Vec::new())).await;
        this
    }

    pub(super) async fn say(&mut self, message: &Message) {
        self.sender.send(&message.encode()).await.expect("it listens");
    }

    pub(super) async fn share(&mut self, head: u64, followed: Option<Followed>) {
        let shared = Shared { folder: SHARED, epoch: self.life, head, followed };
        self.say(&Message::Share { folders: vec![shared] }).await;
    }

    /// The next message that `of` takes.
    pub(super) async fn wait<T>(&mut self, mut of: impl FnMut(Message) -> Option<T>) -> T {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let message = self.heard.recv().await.expect("the session lives");
                if let Some(taken) = of(message) {
                    return taken;
                }
            }
        });
        waited.await.expect("after all patience: it was not answered")
    }

    pub(super) fn me(&self) -> By {
        (self.identity.id().0, self.life)
    }

    /// As its next version.
    pub(super) fn next(&mut self, mut said: Said) -> Said {
        self.serial += 1;
        (said.by, said.serial) = (self.me(), self.serial);
        said
    }

    /// Records of one author under one signature, right but for what is in them.
    pub(super) fn sealed(&self, records: &[Vec<u8>], life: u64, head: u64) -> SealedRun {
        let leaves: Vec<_> = records.iter().map(|bytes| leaf(bytes)).collect();
        let author = Author { site: self.identity.id(), incarnation: Incarnation::new(life) };
        let statement = Statement {
            folder: SHARED,
            author,
            head: Serial::new(head).expect("not 0"),
            count: u16::try_from(records.len()).expect("few"),
            root: root(&leaves).expect("few"),
        };
        let signature = self.identity.sign(SEALED, &statement.to_bytes()).expect("its own key");
        let key = self.identity.public_key().0;
        let records = (0..).zip(records.iter().cloned()).collect();
        SealedRun { key, statement, signature, records, proof: Proof::default() }
    }

    /// One record under a signature of its own.
    pub(super) fn run(&self, said: &Said) -> SealedRun {
        self.sealed(&[said.encode()], said.by.1, said.serial.max(1))
    }

    /// Says something that nobody is to take, and not that it waits for an answer. Its number.
    pub(super) async fn try_on(&mut self, runs: Vec<SealedRun>) -> u64 {
        let number = self.next;
        self.next += 1;
        let (life, told) = (self.life, self.told);
        self.say(&records((life, told, number), runs)).await;
        number
    }

    /// Tells runs, and waits until the victim calls all of them durable; the numbers that it called so.
    pub(super) async fn tell(&mut self, runs: Vec<SealedRun>) -> Vec<u64> {
        let mut parts: Vec<Vec<SealedRun>> = vec![Vec::new()];
        for run in runs {
            let mut longer = parts.pop().unwrap_or_default();
            longer.push(run);
            let is_long = Records { runs: longer.clone() }.encode().len() > PART_MAX;
            if is_long && longer.len() > 1 {
                let last = longer.pop();
                parts.push(longer);
                parts.push(last.into_iter().collect());
            } else {
                parts.push(longer);
            }
        }
        let mut stored = Vec::new();
        for part in parts {
            let number = self.try_on(part).await;
            let life = self.life;
            loop {
                let up_to = self
                    .wait(|message| match message {
                        Message::Stored { epoch, up_to, .. } if epoch == life => Some(up_to),
                        _ => None,
                    })
                    .await;
                stored.push(up_to);
                if up_to == number {
                    break;
                }
            }
            self.told = number;
        }
        stored
    }

    /// Answers with these lengths and bytes.
    pub(super) async fn give(&mut self, id: u64, lens: Vec<Option<u64>>, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            let len = Bytes::of_len(bytes.len());
            let source = Arc::new(MemorySource(bytes));
            self.session.declare_send(len, Vec::new(), source).await.expect("the session lives");
        }
        self.say(&Message::Give { id, lens }).await;
    }

    /// Takes the next object of the victim's, which has so many bytes.
    pub(super) async fn take(&mut self, len: usize) -> Vec<u8> {
        let sink = Arc::new(MemorySink::new(len));
        let declared =
            self.session.declare_recv(Bytes::of_len(len), Vec::new(), Arc::clone(&sink) as _);
        let object = declared.await.expect("the session lives");
        let came = async { while self.came.recv().await.expect("the session lives") != object {} };
        let came = tokio::time::timeout(PATIENCE, came).await;
        came.expect("after all patience: it does not come");
        self.session.forget_recv(object);
        sink.take()
    }

    /// Waits until the victim ends the session.
    pub(super) async fn is_left(&mut self) {
        let ended = async { while self.heard.recv().await.is_some() {} };
        tokio::time::timeout(PATIENCE, ended).await.expect("after all patience: it goes on");
    }

    /// What was said meanwhile.
    pub(super) fn drain(&mut self) -> Vec<Message> {
        core::iter::from_fn(|| self.heard.try_recv().ok()).collect()
    }

    pub(super) async fn leave(self) {
        let engine = Arc::clone(&self.engine);
        drop(self);
        engine.close().await;
    }
}

/// Records of the shared folder, in the message itself.
pub(super) fn records((epoch, after, to): (u64, u64, u64), runs: Vec<SealedRun>) -> Message {
    let carrier = Carrier::Inline(Records { runs }.encode());
    Message::Records { folder: SHARED, epoch, after, to, carrier }
}
