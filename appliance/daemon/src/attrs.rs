//! Access control lists and extended attributes, as this site reads and sets them.

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

pub(crate) use farhaul_files::attrs::{Principal, Raw};
