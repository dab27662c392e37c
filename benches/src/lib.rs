//! Measurements: runs beside peers, on the same emulated link, interleaved, of transfers and of sites
//! that keep trees equal; an image that spreads to many sites; a file that is longer than the disk; the cost of an interruption; how long the way to another carrier takes.
//!
//! Nothing here is needed to build or run the product.
#![forbid(unsafe_code)]

pub mod carriers;
pub mod failure;
pub mod files;
pub mod huge_file;
pub mod link;
pub mod memory;
pub mod quinn_copy;
pub mod resume;
pub mod rivals;
pub mod side_by_side;
pub mod spread;
pub mod stages;
pub mod sync_beside;
