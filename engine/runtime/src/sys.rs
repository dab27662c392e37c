//! The only module with `unsafe`: thin, safe faces over what the kernel offers and the libraries
//! do not wrap. No policy lives here.

pub(crate) mod fanotify;
pub(crate) mod memory;
pub(crate) mod udp;
pub(crate) mod uring;
pub(crate) mod writeback;
