//! How names of 32 bytes are written in CBOR: as byte strings of that length.

use crate::chunk::PageId;
use crate::seal::{FolderKey, Hash};
use crate::version::ManifestId;
use farhaul_proto::ids::SiteId;
use minicbor::encode::Write;
use minicbor::{Decoder, Encoder, decode, encode};

/// A name that is 32 bytes.
pub(crate) trait Name: Sized {
    fn of(bytes: [u8; 32]) -> Self;
    fn bytes(&self) -> &[u8; 32];
}

macro_rules! name {
    ($($name:ident),*) => {$(
        impl Name for $name {
            fn of(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            fn bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }
    )*};
}

name!(FolderKey, Hash, ManifestId, PageId, SiteId);

impl Name for [u8; 32] {
    fn of(bytes: [u8; 32]) -> Self {
        bytes
    }

    fn bytes(&self) -> &[u8; 32] {
        self
    }
}

/// For fields: `#[cbor(with = "crate::cbor::name")]`.
pub(crate) mod name {
    use super::*;

    pub(crate) fn encode<C, N: Name, W: Write>(
        name: &N,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        e.bytes(name.bytes())?.ok()
    }

    pub(crate) fn decode<C, N: Name>(d: &mut Decoder<'_>, _: &mut C) -> Result<N, decode::Error> {
        let at = d.position();
        let bytes = <[u8; 32]>::try_from(d.bytes()?);
        bytes.map(N::of).map_err(|_| decode::Error::message("not 32 bytes").at(at))
    }
}

/// For lists of names: their bytes, one after the other, in one byte string.
pub(crate) mod names {
    use super::*;

    pub(crate) fn encode<C, N: Name, W: Write>(
        names: &[N],
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        let bytes: Vec<u8> = names.iter().flat_map(|name| *name.bytes()).collect();
        e.bytes(&bytes)?.ok()
    }

    pub(crate) fn decode<C, N: Name>(
        d: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Vec<N>, decode::Error> {
        let at = d.position();
        let (names, rest) = d.bytes()?.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(decode::Error::message("not whole names of 32 bytes").at(at));
        }
        Ok(names.iter().copied().map(N::of).collect())
    }
}
