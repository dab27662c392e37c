//! Measurements: runs beside peers, on the same emulated link, interleaved; the cost of an
//! interruption.
//!
//! Nothing here is needed to build or run the product.
#![forbid(unsafe_code)]

pub mod files;
pub mod quinn_copy;
pub mod resume;
pub mod rivals;
pub mod side_by_side;
