//! Kills this process at a chosen step of a change, and shows what a kill leaves behind.
pub(super) fn step() {}
