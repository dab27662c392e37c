//! What a run consists of: two hosts, the link between them, what is to be carried, what happens
//! on the way.
//!
//! Plain data. `generate` draws it from a seed, `named` holds the cases that people talk about,
//! `transfer` the acceptance cells; [`crate::world::World`] plays it.

mod generate;
mod named;
mod transfer;

pub use generate::{generate, generate_calm};
pub use named::{NAMES, cell, named, warm};
pub use transfer::{TRANSFERS, Transfer};

use crate::disk::DiskProfile;
use crate::profile::LinkProfile;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::FecPolicy;
use farhaul_proto::ids::{FlowId, ObjectId};
use farhaul_proto::shares::FlowPlan;
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use std::collections::BTreeMap;

/// One of the two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The first.
    A,
    /// The second.
    B,
}

impl Side {
    /// Both sides.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// Its place in a pair.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other side.
    pub const fn peer(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Where it is when a run begins.
    pub const fn address(self) -> SocketAddr {
        match self {
            Self::A => address(1, 4000),
            Self::B => address(2, 7411),
        }
    }
}

/// An address of the virtual world; each network has one host.
pub const fn address(network: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 0, network, 1)), port)
}

/// A fault played on a core, to see whether the rules notice it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutation {
    /// None.
    #[default]
    None,
    /// Source symbols go one byte before their place.
    MisplacesSymbol,
    /// Blocks are written over the one before.
    MisplacesBlock,
    /// Every block is written twice.
    WritesTwice,
    /// Blocks are written without being verified.
    SkipsVerification,
    /// Blocks are read where the one before lies.
    ReadsNeighbour,
    /// Buffers are never given back.
    KeepsBuffers,
    /// It goes on with the share of the buffers that it had at first.
    KeepsShare,
    /// Its reports name one packet that did not arrive, if there is one.
    ClaimsUnseen,
}

/// A host whose processor is taken away from it between planning packets and sending them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// After so many trains.
    pub every: u32,
    /// It stands still for so long; what arrives meanwhile waits in its socket.
    pub span: Duration,
}

/// What a host is like.
#[derive(Clone, Debug)]
pub struct HostProfile {
    /// How it shares the path.
    pub policy: Policy,
    /// How slow and how fast.
    pub bounds: Bounds,
    /// A rate to start from.
    pub start_hint: Option<BitRate>,
    /// When it sends repair symbols.
    pub fec: FecPolicy,
    /// Blocks it may hold for sending.
    pub send_blocks: u32,
    /// Blocks it lets the peer hold open.
    pub recv_blocks: u32,
    /// Its disk.
    pub disk: DiskProfile,
    /// Threads of its worker pool.
    pub workers: u32,
    /// Mean time of one job (encode, decode, verify).
    pub job: Duration,
    /// What a decode takes on average beyond that.
    pub solve: Duration,
    /// Times that a block (object, position) received here fails its digest.
    pub digest_failures: BTreeMap<(ObjectId, u32), u32>,
    /// Encodes that fail: every so many-th; zero for none.
    pub failing_encodes: u32,
    /// Largest packet at IP level that leaves it; others are refused by its kernel.
    pub mtu: u16,
    /// Of a hundred blocks sent from here, those that pack.
    pub packable: u32,
    /// Buffers for incoming blocks, if fewer than it lets the peer hold open: symbols of further
    /// blocks are dropped.
    pub recv_pool: Option<u32>,
    /// It is interrupted now and then.
    pub interrupted: Option<Interruption>,
    /// A liar: acknowledges everything up to the largest number, seen or not.
    pub acknowledges_everything: bool,
    /// Another: claims each second that its host had no room for one more packet.
    pub claims_drops: bool,
    /// A fault of its core.
    pub mutation: Mutation,
    /// Objects that it sends in another flow than the default one.
    pub flows: BTreeMap<ObjectId, FlowId>,
}

impl Default for HostProfile {
    fn default() -> Self {
        Self {
            policy: Policy::Fair,
            bounds: Bounds::FREE,
            start_hint: None,
            fec: FecPolicy::Auto,
            send_blocks: 64,
            recv_blocks: 64,
            disk: DiskProfile { latency: Duration::from_millis(1), ..DiskProfile::default() },
            workers: 2,
            job: Duration::from_millis(5),
            solve: Duration::ZERO,
            digest_failures: BTreeMap::new(),
            failing_encodes: 0,
            mtu: 1500,
            packable: 0,
            recv_pool: None,
            interrupted: None,
            acknowledges_everything: false,
            claims_drops: false,
            mutation: Mutation::None,
            flows: BTreeMap::new(),
        }
    }
}

/// An object to be carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    /// When the first side declares it.
    pub at: Timestamp,
    /// Its bytes.
    pub len: Bytes,
    /// Runs of blocks that the target claims to hold.
    pub held: Vec<(u32, u32)>,
    /// Runs within `held` that it does not hold after all.
    pub wrong: Vec<(u32, u32)>,
}

/// Which side declares an object first; the other follows when it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The source: symbols may arrive for objects that the target does not know yet.
    Source,
    /// The target: then all objects are declared at the start, because both sides must agree
    /// on the order of declarations and reopened claims.
    Target,
}

/// Something that happens at its time.
#[derive(Clone, Debug)]
pub enum Step {
    /// The first side declares the object at this place of the source's list.
    Declare {
        /// Whose list.
        source: Side,
        /// The place.
        place: usize,
    },
    /// The source finds these blocks wrongly claimed.
    Reopen {
        /// The source.
        source: Side,
        /// Which object.
        object: ObjectId,
        /// First block.
        position: u32,
        /// How many.
        count: u32,
    },
    /// The source's user stops an object.
    Cancel {
        /// The source.
        source: Side,
        /// Which object.
        object: ObjectId,
    },
    /// The target's user stops an object.
    Refuse {
        /// The source.
        source: Side,
        /// Which object.
        object: ObjectId,
    },
    /// The buffers of a host are shared anew, because other sessions came or went.
    Share {
        /// Whose.
        side: Side,
        /// Blocks that it may hold for sending from now on.
        send: u32,
        /// Blocks that it lets the peer hold open from now on.
        recv: u32,
    },
    /// A flow of a side is opened, or changed.
    Flow {
        /// Whose.
        side: Side,
        /// Which.
        flow: FlowId,
        /// What is wanted of it from now on.
        plan: FlowPlan,
    },
    /// A side is at another address from now on: what is on its way to the one before is lost.
    Readdress {
        /// Which side.
        side: Side,
        /// Where it is.
        to: SocketAddr,
    },
    /// Somebody carries copies of what a side sends, faster, from another address, and passes on what
    /// is sent there; or nobody does any more.
    Forward(Option<(Side, SocketAddr)>),
    /// The link from this side to its peer changes.
    Link {
        /// The sending side.
        from: Side,
        /// What it is like from now on.
        profile: LinkProfile,
    },
}

/// A time in which nothing passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// The sending side of the direction that is down; `None` for both directions.
    pub side: Option<Side>,
    /// Its begin.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

impl Outage {
    /// In both directions.
    pub const fn both(from: Timestamp, until: Timestamp) -> Self {
        Self { side: None, from, until }
    }

    /// Of what `side` sends.
    pub const fn one_way(side: Side, from: Timestamp, until: Timestamp) -> Self {
        Self { side: Some(side), from, until }
    }
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// Where all its randomness comes from.
    pub seed: u64,
    /// The links from A to B and from B to A.
    pub links: [LinkProfile; 2],
    /// The hosts.
    pub hosts: [HostProfile; 2],
    /// What A sends, and what B sends.
    pub loads: [Vec<Load>; 2],
    /// Who declares first.
    pub first: First,
    /// What happens besides declarations and reopened claims (those follow from the loads).
    pub steps: Vec<(Timestamp, Step)>,
    /// Times in which nothing passes.
    pub outages: Vec<Outage>,
    /// How much later than the lanes the control channel is.
    pub control_lag: Duration,
    /// The longest that the run may go without progress while the link works.
    pub patience: Duration,
    /// The longest that the whole run may take.
    pub deadline: Duration,
}

impl Scenario {
    /// One direction, from A to B, over a symmetric link.
    pub fn one_way(name: &str, seed: u64, link: LinkProfile, lens: &[Bytes]) -> Self {
        let back = LinkProfile { loss: crate::profile::Loss::None, ..link.clone() };
        let load = |&len| Load { at: Timestamp::ZERO, len, held: Vec::new(), wrong: Vec::new() };
        Self {
            name: name.to_owned(),
            seed,
            links: [link, back],
            hosts: [HostProfile::default(), HostProfile::default()],
            loads: [lens.iter().map(load).collect(), Vec::new()],
            first: First::Target,
            steps: Vec::new(),
            outages: Vec::new(),
            control_lag: Duration::ZERO,
            patience: Duration::from_secs(60),
            deadline: Duration::from_secs(600),
        }
    }

    /// The round trip without queues.
    pub fn rtt(&self) -> Duration {
        self.links[0].delay + self.links[1].delay
    }

    /// Every step in the order of time: those given, declarations, reopened claims, outages.
    pub(crate) fn agenda(&self) -> Vec<(Timestamp, Step)> {
        let mut steps = self.steps.clone();
        for source in Side::BOTH {
            for (place, load) in self.loads[source.index()].iter().enumerate() {
                steps.push((load.at, Step::Declare { source, place }));
                let object = ObjectId::new(u32::try_from(place).unwrap_or(u32::MAX));
                let found = load.at + self.rtt() * 2 + Duration::from_millis(700);
                for &(position, count) in &load.wrong {
                    steps.push((found, Step::Reopen { source, object, position, count }));
                }
            }
            let profile = &self.links[source.index()];
            let silent = |outage: &&Outage| outage.side.is_none_or(|side| side == source);
            for &Outage { from, until, .. } in self.outages.iter().filter(silent) {
                let dead = LinkProfile { down: true, ..profile.clone() };
                steps.push((from, Step::Link { from: source, profile: dead }));
                steps.push((until, Step::Link { from: source, profile: profile.clone() }));
            }
        }
        steps.sort_by_key(|&(at, _)| at);
        steps
    }

    /// When the link works in both directions, seen from `now`; both are needed for anything to be
    /// acknowledged.
    pub(crate) fn up_at(&self, now: Timestamp) -> Timestamp {
        let mut up = now;
        while let Some(outage) = self.outages.iter().find(|o| o.from <= up && up < o.until) {
            up = outage.until;
        }
        up
    }
}
