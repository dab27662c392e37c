//! The largest of recent values, where "recent" is counted in rounds; shared by the BBR models.

use std::collections::VecDeque;

/// See the module. Values fall monotonically from front to back.
#[derive(Debug)]
pub(super) struct MaxFilter {
    span: u64,
    values: VecDeque<(u64, f64)>,
}

impl MaxFilter {
    pub(super) const fn new(span: u64) -> Self {
        Self { span, values: VecDeque::new() }
    }

    pub(super) fn insert(&mut self, round: u64, value: f64) {
        while self.values.back().is_some_and(|&(_, smaller)| smaller <= value) {
            self.values.pop_back();
        }
        self.values.push_back((round, value));
        while self.values.front().is_some_and(|&(at, _)| at + self.span <= round) {
            self.values.pop_front();
        }
    }

    pub(super) fn get(&self) -> f64 {
        self.values.front().map_or(0.0, |&(_, value)| value)
    }
}
