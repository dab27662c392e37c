//! Receivers that lie about time (T-14): their clock, the ages of their packets, their decoder.
//!
//! What arrived they tell truly, so nothing ends their sessions; what they get is no more than the rate
//! that the victim gives, and nobody else notices. A rate that is set and a path without a queue hide what
//! W-136 does: that is proven by the cells of `engine/sim/cells/liars.toml`, not here.

use crate::table::{Seen, Table, ends, lives};
use crate::victim::{FILE, RATE, Victim};
use farhaul_hostile::KitError;
use farhaul_hostile::peer::Peer;
use farhaul_hostile::report::Report;
use std::time::{Duration, Instant};

/// How long each behaves before it lies.
const HONEST_FOR: Duration = Duration::from_millis(400);
/// Between two reports.
const SPACING: Duration = Duration::from_millis(5);
/// For how long each lies.
const LIES_FOR: Duration = Duration::from_secs(2);
/// What a victim may send beyond its rate: what it makes up for, and what the scheduler does to us.
const SLACK: f64 = 1.25;
/// All ages and clocks fit 32 bits.
const MOST: u64 = u32::MAX as u64;
const HOUR: u64 = 3_600_000_000;

/// A lie: its name, and what it makes of a true report, the how-manieth, made so long after the first.
type Lie = (&'static str, fn(&mut Report, u64, u64));

/// Of these, none ends the session.
const LIES: [Lie; 11] = [
    ("clock stands still", |r, _, _| r.clock = 77),
    ("clock runs backwards", |r, _, now| r.clock = MOST - now),
    ("clock runs at half speed", |r, _, now| r.clock = now / 2),
    ("clock jumps by half its range", |r, n, _| r.clock = (n % 2) << 31),
    ("packets are an hour old", |r, _, now| (r.clock, r.age) = (now, HOUR)),
    ("packets are as old as can be, or new", |r, n, now| (r.clock, r.age) = (now, n % 2 * MOST)),
    ("oldest packets arrive now", |r, _, now| {
        (r.clock, r.age) = (now, MOST);
        r.delays = vec![(r.span, 0); 16];
    }),
    ("clock and ages agree on an empty path, and squeeze what arrives", |r, _, now| {
        // A swing of 40 ms: nine tenths of the time pass in the ages, then all at once.
        let swing = now % 40_000 * 9 / 10;
        (r.clock, r.age) = (now + (1 << 20) - swing, 0);
        r.delays = (0..16).map(|back| (r.span * back / 16, 0)).collect();
    }),
    ("decoder is hours behind, or idle", |r, n, _| r.decoding = n % 2 * HOUR),
    ("decoder is behind by more each time", |r, n, _| r.decoding = 1 << (n % 32)),
    ("decoder, clock and ages are noise", |r, n, _| {
        let noise = |salt: u64| (n + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (r.decoding, r.clock, r.age) = (noise(1), noise(2), noise(3));
        r.delays = (0..16).map(|back| (r.span * back / 16, noise(4 + back))).collect();
    }),
];

/// Of these, each ends it.
const FATAL: [Lie; 4] = [
    ("age does not fit 32 bits", |r, _, _| r.age = MOST + 1),
    ("clock does not fit 32 bits", |r, _, _| r.clock = MOST + 1),
    ("delay is of a packet above the largest", |r, _, _| r.delays = vec![(r.largest + 1, 0)]),
    ("delays are seventeen", |r, _, _| r.delays = vec![(0, 0); 17]),
];

pub(crate) async fn attack(victim: &Victim, table: &mut Table) {
    for (name, lie) in FATAL {
        let seen = ends_with(victim, lie).await;
        table.take("T-14", &format!("receiver whose {name}"), "session ended: protocol", seen);
    }
    for (name, lie) in LIES {
        let seen = goes_on_with(victim, lie).await;
        let expected = "goes on, no faster than its rate";
        table.take("T-14", &format!("receiver whose {name}"), expected, seen);
    }
    let (attack, seen) =
        ("receiver that made its path minutes long falls silent", stops(victim).await);
    table.take("T-14", attack, "at most 4 packets in 3 s", seen);
    let seen = beside(victim).await;
    table.take("T-14", "four of them at once", "an honest transfer arrives", seen);
}

async fn ends_with(victim: &Victim, lie: fn(&mut Report, u64, u64)) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    let mut report = peer.notes.report();
    lie(&mut report, 0, 0);
    peer.report(&report).await?;
    Ok(ends(&mut peer).await)
}

async fn goes_on_with(victim: &Victim, lie: fn(&mut Report, u64, u64)) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    let begun = Instant::now();
    let bytes = lie_for(&mut peer, lie, LIES_FOR).await?;
    let took = begun.elapsed();
    let alive = lives(&mut peer).await;
    peer.leave().await;
    let share = bytes as f64 * 8.0 / took.as_secs_f64() / RATE;
    let what = format!("{}, {share:.2} of its rate meanwhile", alive.what);
    Ok(Seen::new(what, alive.is_good && share > 0.0 && share <= SLACK))
}

/// Reports every few milliseconds what is not so; answers how many bytes came.
async fn lie_for(
    peer: &mut Peer,
    lie: fn(&mut Report, u64, u64),
    span: Duration,
) -> Result<u64, KitError> {
    let (begun, mut bytes, mut count) = (Instant::now(), 0, 0);
    while begun.elapsed() < span {
        bytes += peer.listen(SPACING).await.iter().map(|heard| heard.bytes).sum::<u64>();
        let mut report = peer.notes.report();
        let now = u64::try_from(begun.elapsed().as_micros()).unwrap_or(0);
        lie(&mut report, count, now);
        peer.report(&report).await?;
        count += 1;
    }
    Ok(bytes)
}

/// The longer the round trip, the longer its silence could be the path's (W-058).
async fn stops(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.pull(FILE, HONEST_FOR).await?;
    let oldest_arrive_now = |r: &mut Report, _: u64, now: u64| {
        (r.clock, r.age) = (now, MOST);
        r.delays = vec![(r.span, 0); 16];
    };
    lie_for(&mut peer, oldest_arrive_now, LIES_FOR).await?;
    let first = peer.listen(Duration::from_secs(3)).await.len();
    let then = peer.listen(Duration::from_secs(3)).await.len();
    peer.leave().await;
    let what = format!("{first} packets in 3 s, then {then} in 3 s");
    Ok(Seen::new(what, then <= 4))
}

/// An honest transfer beside four that lie about everything.
async fn beside(victim: &Victim) -> Result<Seen, KitError> {
    let (_, noise) = LIES[LIES.len() - 1];
    let mut peers = Vec::new();
    for _ in 0..4 {
        let mut peer = victim.peer().await?;
        peer.pull(FILE, HONEST_FOR).await?;
        peers.push(tokio::spawn(async move {
            let told = lie_for(&mut peer, noise, LIES_FOR).await;
            peer.leave().await;
            told
        }));
    }
    let honest = tokio::task::block_in_place(|| victim.honest_transfer());
    for peer in peers {
        peer.await.map_err(|error| KitError::NoSession(error.to_string()))??;
    }
    let what = honest.as_ref().map_or_else(String::clone, |()| "it arrived".to_owned());
    Ok(Seen::new(what, honest.is_ok()))
}
