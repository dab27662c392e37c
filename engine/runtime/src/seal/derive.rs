//! Where lane keys come from: the TLS exporter at the start, a one-way ratchet from then on.
//!
//! Binds each secret to protocol version, both sites, lane and direction; the exporter binds it to
//! the session. It does not encrypt.

use std::fmt;

use farhaul_proto::ids::LaneTag;
use ring::hkdf;
use zeroize::Zeroizing;

use super::aead::KEY_LEN;
use super::{OpenKey, SealKey};
use crate::identity::SiteId;

/// Label of the TLS exporter (RFC 8446 section 7.5).
pub const EXPORTER_LABEL: &[u8] = b"EXPORTER-farhaul-lane";
/// Version of everything that the keys protect; part of their derivation.
pub const PROTOCOL_VERSION: u16 = 1;
const LANE_TAG_LEN: usize = 8;
const INFO_REKEY: &[u8] = b"farhaul rekey";

/// Which end of the control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that connected.
    Client,
    /// The end that accepted.
    Server,
}

/// The two sites of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneIds {
    /// The site that connected.
    pub client: SiteId,
    /// The site that accepted.
    pub server: SiteId,
}

/// What one direction of a lane starts from.
pub struct DirectionSecret {
    tag: LaneTag,
    secret: Secret,
}

impl DirectionSecret {
    /// How the packets of this direction name their lane.
    pub const fn tag(&self) -> LaneTag {
        self.tag
    }

    /// The key to seal this direction with. Make one only: two would use the same nonces.
    pub fn seal_key(&self) -> SealKey {
        SealKey::new(self.secret.clone())
    }

    /// The key to open this direction with.
    pub fn open_key(&self) -> OpenKey {
        OpenKey::new(self.secret.clone())
    }
}

impl fmt::Debug for DirectionSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectionSecret").field("tag", &self.tag).finish_non_exhaustive()
    }
}

/// The secrets of one lane.
#[derive(Debug)]
pub struct LaneSecrets {
    /// For packets that we send.
    pub send: DirectionSecret,
    /// For packets that we receive.
    pub recv: DirectionSecret,
}

impl LaneSecrets {
    /// Derives the secrets of `lane` (`spec: W-025`) through `export(output, label, context)`, the exporter of
    /// the live connection. Both sides arrive at the same values, mirrored.
    ///
    /// Errors: what the exporter said.
    pub fn derive<E>(
        export: impl Fn(&mut [u8], &[u8], &[u8]) -> Result<(), E>,
        side: Side,
        lane: u8,
        ids: &LaneIds,
    ) -> Result<Self, E> {
        let from_client = derive_direction(&export, Side::Client, lane, ids)?;
        let from_server = derive_direction(&export, Side::Server, lane, ids)?;
        Ok(match side {
            Side::Client => Self { send: from_client, recv: from_server },
            Side::Server => Self { send: from_server, recv: from_client },
        })
    }
}

fn derive_direction<E>(
    export: &impl Fn(&mut [u8], &[u8], &[u8]) -> Result<(), E>,
    sender: Side,
    lane: u8,
    ids: &LaneIds,
) -> Result<DirectionSecret, E> {
    let mut context = PROTOCOL_VERSION.to_be_bytes().to_vec();
    context.extend(ids.client.as_bytes());
    context.extend(ids.server.as_bytes());
    context.push(lane);
    context.push(match sender {
        Side::Client => 0,
        Side::Server => 1,
    });
    let mut exported = Zeroizing::new([0; LANE_TAG_LEN + KEY_LEN]);
    export(&mut exported[..], EXPORTER_LABEL, &context)?;
    let (mut tag, mut secret) = ([0; LANE_TAG_LEN], Secret::default());
    tag.copy_from_slice(&exported[..LANE_TAG_LEN]);
    secret.copy_from_slice(&exported[LANE_TAG_LEN..]);
    Ok(DirectionSecret { tag: LaneTag::new(u64::from_be_bytes(tag)), secret })
}

pub(super) type Secret = Zeroizing<[u8; KEY_LEN]>;

/// The secret of the next epoch; the way back does not exist.
pub(super) fn ratchet(secret: &Secret) -> Secret {
    let mut next = Secret::default();
    expand(secret, INFO_REKEY, &mut next[..]);
    next
}

pub(super) fn expand(secret: &Secret, info: &[u8], out: &mut [u8]) {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let prk = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret[..]);
    let filled = prk.expand(&[info], Len(out.len())).and_then(|material| material.fill(out));
    filled.expect("HKDF-SHA256 gives up to 8,160 bytes, and the lengths are the same");
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A stand-in for the exporter: any function of label and context that both sides share.
    fn export(out: &mut [u8], label: &[u8], context: &[u8]) -> Result<(), ()> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(label).update(context).finalize_xof().fill(out);
        Ok(())
    }

    fn ids() -> LaneIds {
        LaneIds { client: SiteId([1; 32]), server: SiteId([2; 32]) }
    }

    pub(in crate::seal) fn secrets(side: Side, lane: u8) -> LaneSecrets {
        LaneSecrets::derive(export, side, lane, &ids()).expect("the stand-in never fails")
    }

    #[test]
    fn expansion_is_hkdf_of_rfc_5869() {
        // Test case 1 of RFC 5869 appendix A: its PRK and info, the first 42 bytes.
        let prk = hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
        let info = hex("f0f1f2f3f4f5f6f7f8f9");
        let mut out = [0; 42];
        expand(&Secret::new(prk.try_into().expect("32 bytes")), &info, &mut out);
        let expected = hex(
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        );
        assert_eq!(out[..], expected[..]);
    }

    fn hex(text: &str) -> Vec<u8> {
        data_encoding::HEXLOWER.decode(text.as_bytes()).expect("a literal")
    }

    #[test]
    fn the_two_sides_mirror_each_other_and_everything_else_differs() {
        let (client, server) = (secrets(Side::Client, 3), secrets(Side::Server, 3));
        assert_eq!(client.send.tag(), server.recv.tag());
        assert_eq!(client.recv.tag(), server.send.tag());
        assert_eq!(client.send.secret, server.recv.secret);
        assert_eq!(client.recv.secret, server.send.secret);
        assert_ne!(client.send.secret, client.recv.secret);
        assert_ne!(client.send.secret, secrets(Side::Client, 4).send.secret);
        let swapped = LaneIds { client: ids().server, server: ids().client };
        let other = LaneSecrets::derive(export, Side::Client, 3, &swapped).expect("never fails");
        assert_ne!(client.send.secret, other.send.secret);
    }
}
