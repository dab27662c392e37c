//! Sites without a network: what each says is handed to the others, and what it gives is counted.

use super::*;
use crate::site::{NoAnswer, Outbox, Outgoing, PartsSource, Question};
use farhaul_engine::objects::{BlockSink, BlockSource, Load};
use farhaul_proto::ids::ObjectId;
use farhaul_proto::objects::Placed as At;
use farhaul_proto::units::Bytes;
use farhaul_sync::folder::{Policy, Rights, Role};
use farhaul_sync::message::{Carrier, Wanted};
use std::os::fd::AsFd;

/// The way from one site to another.
struct Way {
    outbox: Outbox,
    said: mpsc::Receiver<Outgoing>,
    /// What the one asked the other.
    asked: BTreeMap<u64, (Question, Option<u32>)>,
    next: u64,
    /// Answers wait here for their turn.
    given: std::collections::VecDeque<(u64, Vec<Option<u64>>, PartsSource)>,
}

pub(super) struct Mesh {
    pub(super) benches: Vec<Bench>,
    ways: BTreeMap<(usize, usize), Way>,
    /// Bytes of files that each gave.
    pub(super) gave: Vec<u64>,
    /// Those of pieces that the source gave for the first time.
    pub(super) first: BTreeMap<u32, u64>,
    /// Who gives something else instead of pieces.
    pub(super) liar: Option<usize>,
    /// Whether answers between targets are under way for ever.
    pub(super) is_held: bool,
    /// Whether sites know swarms.
    pub(super) knows: bool,
}

/// The folder of a leg of which `me` is one site, the first of `ids` the source.
fn shape(bench: &mut Bench, ids: &[SiteId], me: usize) -> FolderSetup {
    let role = |at: usize| if at == 0 { Role::SourceOnly } else { Role::ReadOnly };
    let others = || (0..ids.len()).filter(|at| *at != me);
    let rights = Rights::new(role(me), others().map(|at| (ids[at], role(at))));
    let setup = setup_at(bench.home.path(), FOLDER, "tree", Arc::new(Unnamed));
    let policy = Arc::new(Policy { rights, ..Policy::default() });
    let peers = others().map(|at| ids[at]).collect();
    FolderSetup { name: "job:golden".to_owned(), policy, peers, ..setup }
}

impl Mesh {
    /// A source and so many targets, with no sessions yet.
    pub(super) fn new(targets: usize) -> Self {
        let identities: Vec<Identity> =
            (0..=targets).map(|_| Identity::ephemeral().unwrap()).collect();
        let ids: Vec<SiteId> = identities.iter().map(Identity::id).collect();
        let mut benches = Vec::new();
        for (at, identity) in identities.iter().enumerate() {
            let mut bench = Bench::empty(tempfile::tempdir().unwrap(), identity);
            let setup = shape(&mut bench, &ids, at);
            bench.body.open(setup);
            bench.body.folders.values_mut().for_each(Folder::hear_all);
            benches.push(bench);
        }
        let gave = vec![0; targets + 1];
        let (ways, liar) = (BTreeMap::new(), None);
        let first = BTreeMap::new();
        Self { benches, ways, gave, first, liar, is_held: false, knows: true }
    }

    pub(super) fn id(&self, at: usize) -> SiteId {
        self.benches[at].body.identity.id()
    }

    pub(super) fn hear(&mut self, at: usize, what: FromPeer) {
        self.benches[at].body.take(Event::Peer(what.into()));
    }

    /// Sessions between all who have none.
    pub(super) fn connect(&mut self, sites: &[usize]) {
        for (from, to) in sites.iter().flat_map(|a| sites.iter().map(move |b| (*a, *b))) {
            if from == to || self.ways.contains_key(&(from, to)) {
                continue;
            }
            let (outbox, said) = Outbox::to_test(self.id(to), false);
            let outbox = outbox.knowing_swarms(self.knows);
            let way = Way {
                outbox: outbox.clone(),
                said,
                asked: BTreeMap::new(),
                next: 0,
                given: Default::default(),
            };
            self.ways.insert((from, to), way);
            self.hear(from, FromPeer::Up { peer: self.id(to), outbox });
        }
    }

    /// All sessions of a site end.
    pub(super) fn cut(&mut self, site: usize) {
        let gone = self.ways.extract_if(.., |(a, b), _| *a == site || *b == site);
        let gone: Vec<_> = gone.collect();
        for ((from, to), Way { outbox, .. }) in gone {
            self.hear(from, FromPeer::Down { peer: self.id(to), outbox });
        }
    }

    /// The process of a site ends, and begins again.
    pub(super) fn restart(&mut self, site: usize) {
        self.cut(site);
        self.benches[site].body.folders.values().for_each(Folder::stop_jobs);
        let ids: Vec<SiteId> = (0..self.benches.len()).map(|at| self.id(at)).collect();
        let identity = Identity::ephemeral().unwrap();
        let placeholder = Bench::empty(tempfile::tempdir().unwrap(), &identity);
        let old = std::mem::replace(&mut self.benches[site], placeholder);
        let (home, identity) = old.killed();
        // Its threads work on its disk no more.
        std::thread::sleep(Duration::from_secs(1));
        let mut bench = Bench::empty(home, &identity);
        let setup = shape(&mut bench, &ids, site);
        bench.body.open(setup);
        bench.body.folders.values_mut().for_each(Folder::hear_all);
        self.benches[site] = bench;
    }

    /// Everything goes on a little.
    pub(super) fn step(&mut self) {
        for bench in &mut self.benches {
            while let Ok(event) = bench.queue.try_recv() {
                bench.body.take(event);
            }
            bench.body.folders.values_mut().for_each(Folder::hear_all);
            bench.body.folders.values_mut().for_each(Folder::go_on);
        }
        let ways: Vec<(usize, usize)> = self.ways.keys().copied().collect();
        for (from, to) in ways {
            while let Some(said) =
                self.ways.get_mut(&(from, to)).and_then(|w| w.said.try_recv().ok())
            {
                self.carry(from, to, said);
            }
            if !(self.is_held && from > 0 && to > 0) {
                self.give(from, to);
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }

    pub(super) fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < PATIENCE, "{what}: {:?} were given", self.gave);
            self.step();
        }
    }

    fn carry(&mut self, from: usize, to: usize, said: Outgoing) {
        let peer = self.id(from);
        let Some(way) = self.ways.get_mut(&(from, to)) else { return };
        let what = match said {
            Outgoing::Ask { folder, wanted, question } => {
                let id = way.next;
                way.next += 1;
                let piece = wanted.iter().find_map(|wanted| match wanted {
                    Wanted::Piece { piece, .. } => Some(*piece),
                    _ => None,
                });
                way.asked.insert(id, (question, piece));
                FromPeer::Asked { peer, id, folder, wanted }
            }
            Outgoing::Give { id, lens, source, .. } => {
                return way.given.push_back((id, lens, source));
            }
            Outgoing::Records { folder, epoch, after, to: up_to, bytes, .. } => {
                FromPeer::Records { peer, folder, epoch, after, to: up_to, bytes: bytes.into() }
            }
            // As a session does it: whoever asked hears its end, and what was given goes nowhere.
            Outgoing::Enough(wish) => {
                way.asked.retain(|_, (question, _)| !question.is_of(&wish));
                return;
            }
            Outgoing::Answer { .. } => return,
            Outgoing::Say(message) => {
                // As it goes over the wire.
                match Message::decode(&message.encode()).expect("whole") {
                    Message::Share { folders } => FromPeer::Shares { peer, folders },
                    Message::Stored { folder, epoch, up_to } => {
                        FromPeer::Stored { peer, folder, epoch, up_to }
                    }
                    Message::Swarm { folder, manifest, word } => {
                        assert!(self.knows, "said to one who does not know it");
                        FromPeer::Swarm { peer, folder, manifest, word: *word }
                    }
                    Message::Records { carrier: Carrier::Inline(_), .. } => unreachable!("above"),
                    _ => return,
                }
            }
        };
        self.hear(to, what);
    }

    /// One answer gets from one to the other.
    fn give(&mut self, from: usize, to: usize) {
        let Some((id, lens, source)) =
            self.ways.get_mut(&(from, to)).and_then(|way| way.given.pop_front())
        else {
            return;
        };
        let asked = self.ways.get_mut(&(to, from)).and_then(|way| way.asked.remove(&id));
        let Some((mut question, piece)) = asked else { return };
        if lens.is_empty() {
            return question.end(Err(NoAnswer::Halted));
        }
        let sink = question.begin(&lens).expect("as it was asked for");
        if sink.is_empty() {
            return question.end(Ok(sink));
        }
        let Some(mut bytes) = load(&source) else {
            return question.end(Err(NoAnswer::Failed("gone".to_owned())));
        };
        if piece.is_some() && self.liar == Some(from) {
            bytes[0] ^= 1;
        }
        self.gave[from] += bytes.len() as u64;
        if let Some(piece) = piece.filter(|_| from == 0) {
            self.first.entry(piece).or_insert(bytes.len() as u64);
        }
        sink.store(all_of(&bytes), &bytes).expect("taken");
        drop(source);
        question.end(Ok(sink));
    }

    /// Whether what stands at a path is that.
    pub(super) fn has(&self, site: usize, at: &str, content: &[u8]) -> bool {
        let at = self.benches[site].root(at);
        at.metadata().is_ok_and(|meta| meta.len() == content.len() as u64)
            && fs::read(at).is_ok_and(|read| read == content)
    }
}

fn all_of(bytes: &[u8]) -> At {
    let (offset, len) = (Bytes::ZERO, Bytes::of_len(bytes.len()));
    At { object: ObjectId::new(0), position: 0, offset, len }
}

fn load(source: &PartsSource) -> Option<Vec<u8>> {
    let mut buffer = vec![0; usize::try_from(source.len()).unwrap()];
    if let Load::Read(segments) = source.load(all_of(&buffer), &mut buffer).ok()? {
        for segment in segments {
            let place = &mut buffer[segment.buffer_offset..segment.buffer_offset + segment.len];
            let read = rustix::io::pread(segment.file.as_fd(), place, segment.file_offset);
            assert_eq!(read, Ok(segment.len));
        }
    }
    Some(buffer)
}
