//! Hybrid logical clocks: wall time that never runs backwards along a chain of causes.
//!
//! They choose between concurrent versions and date conflict copies. They never decide whether
//! one version came after another: [`super::Context`] does (Kulkarni et al., "Logical Physical
//! Clocks", 2014).

/// Milliseconds since 1970, and a count that orders what one millisecond or a wrong clock cannot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Milliseconds since 1970, as its author's clock said or as the newest cause says.
    pub millis: u64,
    /// Orders stamps of the same millisecond.
    pub count: u32,
}

impl Stamp {
    /// The stamp of something that happens at `wall`, after everything up to `latest`.
    #[must_use]
    pub fn after(latest: Self, wall_millis: u64) -> Self {
        if wall_millis > latest.millis {
            return Self { millis: wall_millis, count: 0 };
        }
        match latest.count.checked_add(1) {
            Some(count) => Self { millis: latest.millis, count },
            None => Self { millis: latest.millis.saturating_add(1), count: 0 },
        }
    }
}
