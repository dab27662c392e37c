//! A neighbour by script: it writes and signs versions as any site does, gives their contents, and
//! hears what the site says. It has no disk of its own, and no session is needed for it.

use crate::KitError;
use crate::ledger::{DIR, GONE, Label, Line, label_of_file};
use crate::script::Goal;
use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use farhaul_engine::identity::{Identity, Purpose};
use farhaul_engine::objects::BlockSink;
use farhaul_proto::ids::{ObjectId, SiteId};
use farhaul_proto::objects::Placed;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::{Bytes, FileTime};
use farhaul_sync::chunk::{ContentKeys, Manifest, ManifestBuilder, PageId};
use farhaul_sync::message::{Followed, Message, Records, SealedRun, Shared, Wanted};
use farhaul_sync::record::Record;
use farhaul_sync::seal::{FolderKey, Proof, Statement, leaf, root};
use farhaul_sync::version::{
    Author, Content, Context, Dot, Incarnation, ManifestId, Meta, Serial, Stamp, Version,
};
use farhauld::site::{FromPeer, NoAnswer, Outbox, Outgoing, PeerEvent, Question};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::mpsc;

/// The folder that all of this is about.
pub const FOLDER: FolderKey = FolderKey([5; 32]);
/// The life of the neighbour's index.
const EPOCH: u64 = 77;
/// Before the clock of any machine that this runs on: what users do comes after.
const STAMP_MILLIS: u64 = 1_600_000_000_000;

/// What the neighbour can give, by name.
pub struct Contents {
    wholes: BTreeMap<ManifestId, Vec<u8>>,
    pages: BTreeMap<PageId, Vec<u8>>,
}

impl Contents {
    /// All of these.
    pub fn new(contents: Vec<Vec<u8>>) -> Self {
        let keys = ContentKeys::of(&FOLDER);
        let (mut wholes, mut pages) = (BTreeMap::new(), BTreeMap::new());
        for bytes in contents {
            let manifest = Manifest::of(&keys, &bytes);
            let mut emit = |id, page: &[u8]| drop(pages.insert(id, page.to_vec()));
            let mut builder = ManifestBuilder::new(&keys, manifest.class);
            for entry in &manifest.entries {
                builder.push(*entry, &mut emit);
            }
            wholes.insert(builder.finish(&mut emit), bytes);
        }
        Self { wholes, pages }
    }

    fn give(&self, wanted: &Wanted) -> Option<Vec<u8>> {
        match wanted {
            Wanted::Page { page } => self.pages.get(page).cloned(),
            Wanted::Whole { manifest } => self.wholes.get(manifest).cloned(),
            Wanted::Ranges { manifest, ranges } => {
                let bytes = self.wholes.get(manifest)?;
                let index = |n: u64| usize::try_from(n).ok();
                let mut parts = Vec::new();
                for range in ranges {
                    let (from, len) = (index(range.offset)?, index(range.len)?);
                    parts.extend_from_slice(bytes.get(from..from.checked_add(len)?)?);
                }
                Some(parts)
            }
            // Its files are none of those that spread.
            Wanted::Piece { .. } => None,
        }
    }

    /// As the ledger calls a content.
    pub fn label(&self, content: &Content) -> Label {
        match content {
            Content::Gone => GONE.to_owned(),
            Content::Dir => DIR.to_owned(),
            Content::Symlink { target } => format!("link:{}", String::from_utf8_lossy(target)),
            Content::File { manifest, .. } => match self.wholes.get(manifest) {
                Some(bytes) => label_of_file(bytes),
                None => "file:unknown".to_owned(),
            },
        }
    }
}

/// What the neighbour knows; it outlives its connections.
pub struct Memory(Mutex<Mind>);

impl Memory {
    /// That of one that told so much before, and heard so much: what was told is as the ledger has
    /// it, what was heard a life of the site's index and a number.
    ///
    /// # Errors
    /// [`KitError::Failed`]: what it told before is none of its records.
    pub fn new(
        told: &[(u64, u64, String)],
        heard: Option<(u64, u64)>,
    ) -> Result<Arc<Self>, KitError> {
        let followed = heard.map(|(epoch, up_to)| Followed { epoch, up_to });
        let known = BTreeMap::new();
        let mut mind =
            Mind { told: Vec::new(), serial: 0, known, followed, stored: 0, greeted: None };
        for (after, to, bytes) in told {
            let bytes = HEX.decode(bytes.as_bytes());
            let bytes = bytes.map_err(|error| KitError::Failed(error.to_string()))?;
            for record in records_of(&bytes) {
                mind.serial = mind.serial.max(record.version.dot.serial.get());
                mind.learn(record);
            }
            mind.told.push((*after, *to, bytes));
        }
        Ok(Arc::new(Self(Mutex::new(mind))))
    }

    /// What the site said of itself when it was first connected.
    pub fn greeted(&self) -> Option<Shared> {
        self.mind().greeted.clone()
    }

    fn mind(&self) -> MutexGuard<'_, Mind> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Mind {
    /// What it told: what came before, up to where, encoded records.
    told: Vec<(u64, u64, Vec<u8>)>,
    serial: u64,
    /// The versions of each path that no other covers, as far as it knows.
    known: BTreeMap<String, Vec<Version>>,
    /// How far it follows the site.
    followed: Option<Followed>,
    /// What of its records the site called durable.
    stored: u64,
    /// What the site said of itself when it was first connected.
    greeted: Option<Shared>,
}

impl Mind {
    fn head(&self) -> u64 {
        self.told.last().map_or(0, |(_, to, _)| *to)
    }

    fn learn(&mut self, record: Record) {
        let path = String::from_utf8_lossy(record.path.as_bytes()).into_owned();
        let known = self.known.entry(path).or_default();
        if !known.iter().any(|held| held.covers(&record.version)) {
            known.retain(|held| !record.version.covers(held));
            known.push(record.version);
        }
    }
}

/// Who hears what the site says.
pub type Hears = Box<dyn Fn(Line) + Send>;

struct Inner {
    identity: Identity,
    site: SiteId,
    contents: Arc<Contents>,
    memory: Arc<Memory>,
    says: mpsc::Sender<PeerEvent>,
}

/// A neighbour that is connected until this is dropped.
pub struct Peer {
    inner: Arc<Inner>,
    outbox: Outbox,
    thread: Option<JoinHandle<()>>,
}

impl Peer {
    /// Connects it to a site.
    ///
    /// # Errors
    /// [`KitError::Io`]: no thread.
    pub fn connect(
        (identity, site): (&Identity, SiteId),
        (contents, memory): (Arc<Contents>, Arc<Memory>),
        says: mpsc::Sender<PeerEvent>,
        hears: Hears,
    ) -> Result<Self, KitError> {
        let (outbox, said) = Outbox::scripted(identity.id());
        let inner = Inner { identity: identity.clone(), site, contents, memory, says };
        let inner = Arc::new(inner);
        let here = Arc::clone(&inner);
        let thread = std::thread::Builder::new().name("peer".to_owned());
        let thread = thread.spawn(move || here.listen(said, &hears));
        let thread = Some(thread.map_err(KitError::io("a thread"))?);
        inner.say(FromPeer::Up { peer: identity.id(), outbox: outbox.clone() });
        Ok(Self { inner, outbox, thread })
    }

    /// Writes new versions over everything it knows. What is to be told with [`Peer::tell`].
    ///
    /// # Errors
    /// [`KitError::Failed`].
    pub fn write(&self, goals: &[(String, Goal)]) -> Result<Line, KitError> {
        let mut mind = self.inner.mind();
        let after = mind.head();
        let mut records = Vec::with_capacity(goals.len());
        for (path, goal) in goals {
            mind.serial += 1;
            let record = self.inner.record(&mind, path, goal)?;
            mind.learn(record.clone());
            records.push(record);
        }
        let bytes = self.inner.seal(&records, mind.serial)?.encode();
        let to = after + records.len() as u64;
        let line = Line::Told { after, to, bytes: HEX.encode(&bytes) };
        mind.told.push((after, to, bytes));
        Ok(line)
    }

    /// Tells what it wrote last.
    pub fn tell(&self) {
        let last = self.inner.mind().told.last().cloned();
        if let Some((after, to, bytes)) = last {
            self.inner.send_records(after, to, bytes);
        }
    }

    /// Whether the site called everything durable that it was told.
    pub fn is_stored(&self) -> bool {
        let mind = self.inner.mind();
        mind.stored >= mind.head()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let (peer, outbox) = (self.inner.identity.id(), self.outbox.clone());
        self.inner.say(FromPeer::Down { peer, outbox: outbox.clone() });
        // Its listener ends with the last way to it; the site drops its own with the loop.
        drop(self.thread.take());
    }
}

fn records_of(bytes: &[u8]) -> Vec<Record> {
    let runs = Records::decode(bytes, FOLDER).map(|records| records.runs).unwrap_or_default();
    runs.iter().filter_map(|run| run.open().ok()).flatten().collect()
}

impl Inner {
    fn mind(&self) -> MutexGuard<'_, Mind> {
        self.memory.mind()
    }

    fn say(&self, event: FromPeer) {
        // A site that is gone hears nothing.
        let _ = self.says.blocking_send(event.into());
    }

    fn shared(&self) -> Shared {
        let mind = self.mind();
        Shared { folder: FOLDER, epoch: EPOCH, head: mind.head(), followed: mind.followed }
    }

    fn author(&self) -> Author {
        Author { site: self.identity.id(), incarnation: Incarnation::new(EPOCH) }
    }

    fn record(&self, mind: &Mind, path: &str, goal: &Goal) -> Result<Record, KitError> {
        let keys = ContentKeys::of(&FOLDER);
        let content = match goal {
            Goal::File(bytes) => Content::File {
                manifest: Manifest::of(&keys, bytes).id(&keys),
                size: Bytes::of_len(bytes.len()),
            },
            Goal::Dir => Content::Dir,
            Goal::Link(to) => Content::Symlink { target: to.clone().into_bytes().into() },
            Goal::Gone => Content::Gone,
        };
        let mut context = Context::new();
        for seen in mind.known.get(path).into_iter().flatten() {
            context.extend(&seen.context);
            context.insert(seen.dot);
        }
        let serial = Serial::new(mind.serial);
        let serial = serial.ok_or_else(|| KitError::Failed("a version without number".into()))?;
        let is_plain = matches!(goal, Goal::File(_) | Goal::Link(_));
        let secs = 1_500_000_000 + mind.serial.cast_signed();
        let mtime = if is_plain { FileTime { secs, nanos: 7 } } else { FileTime::default() };
        let mode = match goal {
            Goal::Dir => 0o755,
            Goal::File(_) => 0o640,
            Goal::Link(_) => 0o777,
            Goal::Gone => 0,
        };
        let stamp = Stamp { millis: STAMP_MILLIS + mind.serial, count: 0 };
        let dot = Dot { author: self.author(), serial };
        let meta = Meta { mode, mtime, ..Meta::default() };
        let path = RelPath::parse(path.as_bytes());
        let path = path.map_err(|error| KitError::Failed(error.to_string()))?;
        Ok(Record { path, version: Version { dot, context, stamp, content, meta } })
    }

    fn seal(&self, records: &[Record], head: u64) -> Result<Records, KitError> {
        let failed = |why: &dyn std::fmt::Display| KitError::Failed(format!("no seal: {why}"));
        let bytes: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
        let leaves: Vec<_> = bytes.iter().map(|bytes| leaf(bytes)).collect();
        let root = root(&leaves).map_err(|error| failed(&error))?;
        let head = Serial::new(head).ok_or_else(|| failed(&"no records"))?;
        let count = u16::try_from(records.len()).map_err(|error| failed(&error))?;
        let statement = Statement { folder: FOLDER, author: self.author(), head, count, root };
        let signature = self.identity.sign(Purpose::new(Statement::PURPOSE), &statement.to_bytes());
        let run = SealedRun {
            key: self.identity.public_key().0,
            statement,
            signature: signature.map_err(|error| failed(&error))?,
            records: (0..count).zip(bytes).collect(),
            proof: Proof::default(),
        };
        Ok(Records { runs: vec![run] })
    }

    fn send_records(&self, after: u64, to: u64, bytes: Vec<u8>) {
        let (peer, epoch, folder) = (self.identity.id(), EPOCH, FOLDER);
        self.say(FromPeer::Records { peer, folder, epoch, after, to, bytes: bytes.into() });
    }

    /// Hears the site until it is gone.
    fn listen(&self, mut said: mpsc::Receiver<Outgoing>, hears: &Hears) {
        while let Some(outgoing) = said.blocking_recv() {
            match outgoing {
                Outgoing::Say(Message::Share { folders }) => {
                    if let Some(theirs) = folders.iter().find(|theirs| theirs.folder == FOLDER) {
                        self.tell_from(theirs);
                    }
                }
                Outgoing::Say(Message::Stored { epoch, up_to, .. }) if epoch == EPOCH => {
                    hears(Line::Stored { up_to });
                    let mut mind = self.mind();
                    mind.stored = mind.stored.max(up_to);
                }
                Outgoing::Records { epoch, to, bytes, .. } => self.heard(epoch, to, &bytes, hears),
                Outgoing::Ask { wanted, question, .. } => self.answer(&wanted, question),
                Outgoing::Say(_)
                | Outgoing::Answer { .. }
                | Outgoing::Give { .. }
                | Outgoing::Enough(_) => {}
            }
        }
    }

    /// Says what it shares, as a session does first, and tells everything that the site has not
    /// called durable.
    fn tell_from(&self, theirs: &Shared) {
        self.say(FromPeer::Shares { peer: self.identity.id(), folders: vec![self.shared()] });
        let known = theirs.followed.filter(|followed| followed.epoch == EPOCH);
        let known = known.map_or(0, |followed| followed.up_to);
        let (told, head) = {
            let mut mind = self.mind();
            mind.stored = mind.stored.max(known);
            // What it says later it has heard from this neighbour meanwhile.
            mind.greeted.get_or_insert_with(|| theirs.clone());
            (mind.told.clone(), mind.head())
        };
        let mut is_told = false;
        for (after, to, bytes) in told.into_iter().filter(|(_, to, _)| *to > known) {
            is_told = true;
            self.send_records(after, to, bytes);
        }
        if !is_told {
            self.send_records(head, head, Records::default().encode());
        }
    }

    fn heard(&self, epoch: u64, to: u64, bytes: &[u8], hears: &Hears) {
        for record in records_of(bytes) {
            let Record { path, version } = &record;
            if version.dot.author.site == self.site {
                let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
                let label = self.contents.label(&version.content);
                hears(Line::Announced { path, serial: version.dot.serial.get(), label });
            }
            self.mind().learn(record);
        }
        hears(Line::Heard { epoch, to });
        self.mind().followed = Some(Followed { epoch, up_to: to });
        let peer = self.identity.id();
        self.say(FromPeer::Stored { peer, folder: FOLDER, epoch, up_to: to });
    }

    fn answer(&self, wanted: &[Wanted], mut question: Question) {
        let parts: Vec<_> = wanted.iter().map(|wanted| self.contents.give(wanted)).collect();
        let lens: Vec<_> = parts.iter().map(|part| part.as_ref().map(|b| b.len() as u64)).collect();
        let outcome = question.begin(&lens).map_err(NoAnswer::Failed).and_then(|sink| {
            let bytes: Vec<u8> = parts.into_iter().flatten().flatten().collect();
            let (object, position) = (ObjectId::new(0), 0);
            let whole =
                Placed { object, position, offset: Bytes::ZERO, len: Bytes::of_len(bytes.len()) };
            let stored = sink.store(whole, &bytes);
            stored.map(|_| sink).map_err(|failure| NoAnswer::Failed(failure.reason))
        });
        question.end(outcome);
    }
}
