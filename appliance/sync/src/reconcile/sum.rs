//! Sums of ranges, and what a site has to keep so that they can be had.

use super::place::{BUCKET_BITS, Place, Range};

/// What a range holds: two sites have the same sum of a range if they hold the same there, and two
/// different sets with the same one are a collision of BLAKE3.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// The hash; zeros if nothing is there.
    pub digest: [u8; 32],
    /// How many records.
    pub count: u64,
}

/// The sum of a list of places in the making (spec: S-122).
#[derive(Debug)]
pub struct ListSum {
    hasher: blake3::Hasher,
    count: u64,
}

impl Default for ListSum {
    fn default() -> Self {
        Self::new()
    }
}

impl ListSum {
    /// Of nothing so far.
    pub fn new() -> Self {
        let hasher = blake3::Hasher::new_derive_key("farhaul reconcile list v1");
        Self { hasher, count: 0 }
    }

    /// Adds the next place; they ascend.
    pub fn add(&mut self, place: Place) {
        self.hasher.update(&place.0);
        self.count += 1;
    }

    /// The sum.
    pub fn finish(&self) -> Sum {
        finish(&self.hasher, self.count)
    }
}

fn finish(hasher: &blake3::Hasher, count: u64) -> Sum {
    if count == 0 {
        return Sum::default();
    }
    Sum { digest: *hasher.finalize().as_bytes(), count }
}

/// What a site holds, as comparisons see it.
pub trait Holdings {
    /// Why it cannot be read.
    type Error;

    /// The sums of those buckets from `first` to `last` that hold anything, ascending: each that of
    /// the list of its places.
    ///
    /// # Errors
    /// It cannot be read.
    fn buckets(
        &self,
        first: u16,
        last: u16,
        each: &mut dyn FnMut(u16, Sum),
    ) -> Result<(), Self::Error>;

    /// The places of a range, ascending, and the arrival number of the record at each.
    ///
    /// # Errors
    /// It cannot be read.
    fn places(&self, range: Range, each: &mut dyn FnMut(Place, u64)) -> Result<(), Self::Error>;
}

/// The sums of all children of a range.
pub(super) fn children<H: Holdings>(
    holdings: &H,
    range: Range,
    step: u8,
) -> Result<Vec<Sum>, H::Error> {
    if range.bits() >= BUCKET_BITS {
        return lists(holdings, range, step);
    }
    let mut sums = vec![Sum::default(); 1 << step];
    let mut open: Option<(usize, blake3::Hasher, u64)> = None;
    let mut close = |open: Option<(usize, blake3::Hasher, u64)>| {
        if let Some((n, hasher, count)) = open {
            sums[n] = finish(&hasher, count);
        }
    };
    let is_bucket = range.bits() + step == BUCKET_BITS;
    let mut buckets = Vec::new();
    let (first, last) = range.buckets();
    holdings.buckets(first, last, &mut |bucket, sum| {
        let n = range.child_of(step, u64::from(bucket) << (64 - BUCKET_BITS));
        if is_bucket {
            buckets.push((n, sum));
            return;
        }
        if open.as_ref().is_none_or(|(at, ..)| *at != n) {
            let hasher = blake3::Hasher::new_derive_key("farhaul reconcile range v1");
            close(open.replace((n, hasher, 0)));
        }
        if let Some((_, hasher, count)) = &mut open {
            hasher.update(&bucket.to_be_bytes()).update(&sum.digest);
            *count = count.saturating_add(sum.count);
        }
    })?;
    close(open);
    buckets.into_iter().for_each(|(n, sum)| sums[n] = sum);
    Ok(sums)
}

/// The sums of the children of what lies in one bucket.
fn lists<H: Holdings>(holdings: &H, range: Range, step: u8) -> Result<Vec<Sum>, H::Error> {
    let mut sums = vec![Sum::default(); 1 << step];
    let mut open: Option<(usize, ListSum)> = None;
    holdings.places(range, &mut |place, _| {
        let n = range.child_of(step, place.position());
        match &mut open {
            Some((at, list)) if *at == n => list.add(place),
            before => {
                let mut list = ListSum::new();
                list.add(place);
                if let Some((at, list)) = before.replace((n, list)) {
                    sums[at] = list.finish();
                }
            }
        }
    })?;
    if let Some((at, list)) = open {
        sums[at] = list.finish();
    }
    Ok(sums)
}
