//! Which chunk a site asks for next, and whom: the rarest that somebody offers, of whom it is
//! cheapest to have and who is least busy with this site.
//!
//! Rare chunks first keep every site useful to others; among equally rare ones each site takes
//! another one. What one look costs is bounded, however long the manifest.

use super::{ChunkSet, Dice, Peer, dice, holders::Holders};

/// Words of 64 chunks that one look reads at most, besides runs that are whole or empty.
const WORDS_MAX: usize = 2048;
/// Chunks that one look weighs at most.
const CANDIDATES_MAX: usize = 512;

/// Somebody who can be asked now.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Who.
    pub peer: Peer,
    /// What they say that they have.
    pub set: &'a ChunkSet,
    /// What a byte from there costs; see [`super::Terms::cost`].
    pub cost: u8,
    /// How much they owe already, in any unit: less is better.
    pub load: u64,
}

/// The chunk to ask for and whom, or nothing if nobody offers one that is lacking, not asked for and
/// that `may` be asked for.
pub fn pick(
    (mine, asked): (&ChunkSet, &ChunkSet),
    holders: &Holders,
    offers: &[Offer<'_>],
    may: impl Fn(u32) -> bool,
    dice: &mut Dice,
) -> Option<(u32, Peer)> {
    let (words, salt) = (mine.words(), dice.roll());
    let start = dice.below(words);
    let (mut best, mut seen, mut read, mut step) = (None, 0, 0, 0);
    while step < words && read < WORDS_MAX && seen < CANDIDATES_MAX {
        let index = (start + step) % words;
        if mine.is_full_around(index) || offers.iter().all(|o| o.set.is_empty_around(index)) {
            // To the next 64 words, or to where the words end and begin again.
            step += (64 - index % 64).min(words - index);
            continue;
        }
        (step, read) = (step + 1, read + 1);
        let lacking = !(mine.word(index) | asked.word(index)) & mine.mask(index);
        if lacking == 0 {
            continue;
        }
        let mut rest = lacking & offers.iter().fold(0, |all, offer| all | offer.set.word(index));
        while rest != 0 {
            let bit = rest.trailing_zeros();
            rest &= rest - 1;
            let Ok(chunk) = u32::try_from(index * 64 + bit as usize) else { continue };
            seen += 1;
            let key = (holders.count(chunk), dice::mix(salt ^ u64::from(chunk)), chunk);
            if best.is_none_or(|best| key < best) && may(chunk) {
                best = Some(key);
            }
        }
    }
    let (_, _, chunk) = best?;
    Some((chunk, whom(chunk, offers)?))
}

/// Who is asked for a chunk: whoever will be done first, those that cost more by a quarter later for
/// each class. A cheap peer with a long queue would leave uplinks idle elsewhere.
pub fn whom(chunk: u32, offers: &[Offer<'_>]) -> Option<Peer> {
    let having = offers.iter().filter(|offer| offer.set.contains(chunk));
    let rank = |offer: &&Offer<'_>| offer.load.saturating_mul(4 + u64::from(offer.cost));
    having.min_by_key(|offer| (rank(offer), offer.cost, offer.peer)).map(|offer| offer.peer)
}
