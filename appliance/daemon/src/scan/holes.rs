//! Where a file on disk has holes, as the file system tells it.

use farhaul_engine::files::dir::Meta;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{Hole, Holes};
use farhaul_sync::limits::HOLES_MAX;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::fs::File;

/// The holes of `file`, of which `meta` was told; none where the file system does not say. Moves
/// the file's position.
pub(super) fn holes_of(file: &File, meta: &Meta) -> Holes {
    let size = meta.size();
    let mut holes = Holes::default();
    if meta.allocated >= size {
        return holes;
    }
    let mut at = 0;
    while at < size && holes.count() < HOLES_MAX {
        let data = match seek(file, SeekFrom::Data(at)) {
            Ok(data) => data.clamp(at, size),
            // Nothing but a hole up to the end.
            Err(Errno::NXIO) => size,
            Err(_) => return Holes::default(),
        };
        holes.push(Hole { offset: Bytes::new(at), len: Bytes::new(data - at) });
        at = match seek(file, SeekFrom::Hole(data)) {
            Ok(hole) if hole > data => hole,
            Ok(_) | Err(_) => size,
        };
    }
    holes
}
