//! The authenticated cipher of the lanes, behind a face of three functions.
//!
//! It chooses no nonces and keeps no state.

use farhaul_proto::limits::TAG_LEN;
use ring::aead;

/// Length of a key, in bytes.
pub const KEY_LEN: usize = 32;
/// Length of a nonce, in bytes.
pub const NONCE_LEN: usize = 12;

/// One authenticated cipher. The lanes are generic over it, so that another provider is a type
/// parameter and not a change here.
pub trait Aead: Send + Sync {
    /// Expands a key.
    fn new(key: &[u8; KEY_LEN]) -> Self;

    /// Encrypts `body` in place and returns the tag; `None` if it is longer than the cipher takes.
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], body: &mut [u8]) -> Option<[u8; TAG_LEN]>;

    /// Checks and decrypts in place; `None` if anything was changed. What `body_and_tag` holds
    /// then is undefined.
    fn open<'a>(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        body_and_tag: &'a mut [u8],
    ) -> Option<&'a mut [u8]>;
}

/// AES-256-GCM by ring, which picks the machine's instructions. The expanded key is not wiped when
/// dropped: the library offers no way to.
#[derive(Debug)]
pub struct Aes256Gcm(aead::LessSafeKey);

impl Aead for Aes256Gcm {
    fn new(key: &[u8; KEY_LEN]) -> Self {
        let key = aead::UnboundKey::new(&aead::AES_256_GCM, key).expect("AES-256 takes 32 bytes");
        Self(aead::LessSafeKey::new(key))
    }

    #[inline]
    fn seal(&self, nonce: [u8; NONCE_LEN], aad: &[u8], body: &mut [u8]) -> Option<[u8; TAG_LEN]> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, aead::Aad::from(aad), body).ok()?;
        tag.as_ref().try_into().ok()
    }

    #[inline]
    fn open<'a>(
        &self,
        nonce: [u8; NONCE_LEN],
        aad: &[u8],
        body_and_tag: &'a mut [u8],
    ) -> Option<&'a mut [u8]> {
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        self.0.open_in_place(nonce, aead::Aad::from(aad), body_and_tag).ok()
    }
}
