//! A key pair, its certificate, and the name that follows from it.

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use std::sync::Arc;

use crate::KitError;

/// Letters of a name, five bits each.
const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// One site of ours.
pub struct Site {
    /// BLAKE3 of the public key.
    pub id: [u8; 32],
    certificate: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Site {
    /// A fresh one.
    ///
    /// # Errors
    /// [`KitError::NoSession`] if the library makes no key.
    pub fn new() -> Result<Self, KitError> {
        let no = |error: rcgen::Error| KitError::NoSession(error.to_string());
        let pair = KeyPair::generate_for(&PKCS_ED25519).map_err(no)?;
        let params = CertificateParams::new(Vec::new()).map_err(no)?;
        let certificate = params.self_signed(&pair).map_err(no)?;
        let id = *blake3::hash(&pair.subject_public_key_info()).as_bytes();
        Ok(Self { id, certificate: certificate.der().clone(), key: pair.serialize_der() })
    }

    /// The name as written on a command line.
    pub fn name(&self) -> String {
        name_of(&self.id)
    }

    /// TLS for a client that takes whatever server answers.
    pub(crate) fn tls(&self) -> Result<ClientConfig, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_client_auth_cert(vec![self.certificate.clone()], key)?;
        config.alpn_protocols = vec![b"farhaul/1".to_vec()];
        config.enable_sni = false;
        Ok(config)
    }
}

/// The name of a key's hash: base 32 without padding.
pub fn name_of(id: &[u8; 32]) -> String {
    let bit = |at: usize| id.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let letter = |index: usize| (0..5).fold(0, |value, at| value << 1 | bit(index * 5 + at));
    (0..52).map(|index| char::from(LETTERS[usize::from(letter(index))])).collect()
}

/// The hash behind a name; `None` if it is none.
pub fn id_of(name: &str) -> Option<[u8; 32]> {
    let mut id = [0; 32];
    for (index, letter) in name.bytes().enumerate() {
        let value = LETTERS.iter().position(|&known| known == letter)?;
        for at in (0..5).filter(|at| value >> (4 - at) & 1 == 1) {
            let bit = index * 5 + at;
            *id.get_mut(bit / 8)? |= 0x80 >> (bit % 8);
        }
    }
    (name.len() == 52).then_some(id)
}

/// Asks nobody for anything.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_its_hash_are_the_same_thing() {
        let id = *blake3::hash(b"somebody").as_bytes();
        assert_eq!(id_of(&name_of(&id)), Some(id));
        assert_eq!(name_of(&[0; 32]), "a".repeat(52));
        assert_eq!(id_of("a"), None);
    }
}
