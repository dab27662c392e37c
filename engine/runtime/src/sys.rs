//! Raw system interfaces behind safe faces; the only place of this crate that holds `unsafe`.

pub(crate) mod udp;
