//! What a comparison costs: the rows of the index that it goes through.

use super::place::{Place, Range};
use super::sum::{Holdings, Sum};
use core::cell::Cell;

/// Holdings that count what is read of them.
pub(super) struct Counted<'a, H> {
    holdings: &'a H,
    rows: Cell<u64>,
}

impl<'a, H> Counted<'a, H> {
    pub(super) const fn new(holdings: &'a H) -> Self {
        Self { holdings, rows: Cell::new(0) }
    }

    /// How many rows were read so far.
    pub(super) const fn rows(&self) -> u64 {
        self.rows.get()
    }

    fn count(&self) {
        self.rows.set(self.rows.get().saturating_add(1));
    }
}

impl<H: Holdings> Holdings for Counted<'_, H> {
    type Error = H::Error;

    fn buckets(
        &self,
        first: u16,
        last: u16,
        each: &mut dyn FnMut(u16, Sum),
    ) -> Result<(), Self::Error> {
        self.holdings.buckets(first, last, &mut |bucket, sum| {
            self.count();
            each(bucket, sum);
        })
    }

    fn places(&self, range: Range, each: &mut dyn FnMut(Place, u64)) -> Result<(), Self::Error> {
        self.holdings.places(range, &mut |place, seq| {
            self.count();
            each(place, seq);
        })
    }
}
