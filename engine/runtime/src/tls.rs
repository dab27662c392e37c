//! TLS for the control channel: version 1.3 only, both sides prove their key, nothing else counts.
//!
//! Trust is in public keys alone. Names, dates, issuers and extensions of certificates are not
//! read; the key that is hashed into the identity is the very key that checks the signature of the
//! handshake. No 0-RTT, no tickets, no resumption: every connection proves itself anew.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
};

use crate::identity::{Identity, SiteId};

/// The application protocol; its version changes with every incompatible change of the wire.
pub const ALPN: &[u8] = b"farhaul/1";

/// Whether a site may connect; asked once per connection, after nothing but its key is known.
pub type Allow = Arc<dyn Fn(&SiteId) -> bool + Send + Sync>;

/// Where a client finds the identity of a server that was not the expected one.
pub type FoundSite = Arc<OnceLock<SiteId>>;

/// The application protocol of the TLS connection that a link is.
pub const CARRIER_ALPN: &[u8] = b"farhaul-carrier/1";

/// The configuration to connect to `expect` and nobody else. `found` receives the identity of the
/// server, expected or not, if it got as far as presenting one.
///
/// Errors: the key of `identity` does not suit the library.
pub fn client_config(
    identity: &Identity,
    expect: SiteId,
    found: FoundSite,
) -> Result<ClientConfig, Error> {
    let provider = provider();
    let verifier = Arc::new(ServerKey { expect, found, provider: Arc::clone(&provider) });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_auth_cert(vec![identity.certificate().clone()], identity.private_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    config.enable_sni = false;
    Ok(config)
}

/// The configuration to admit the sites that `allow` approves. Everybody else gets the same alert,
/// whatever was wrong.
///
/// Errors: the key of `identity` does not suit the library.
pub fn server_config(identity: &Identity, allow: Allow) -> Result<ServerConfig, Error> {
    let provider = provider();
    let verifier = Arc::new(ClientKey { allow, provider: Arc::clone(&provider) });
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![identity.certificate().clone()], identity.private_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.max_early_data_size = 0;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// As [`client_config`], for the connection that carries datagrams.
///
/// Errors: the key of `identity` does not suit the library.
pub fn carrier_client_config(
    identity: &Identity,
    expect: SiteId,
    found: FoundSite,
) -> Result<ClientConfig, Error> {
    let mut config = client_config(identity, expect, found)?;
    config.alpn_protocols = vec![CARRIER_ALPN.to_vec()];
    Ok(config)
}

/// As [`server_config`], for the connection that carries datagrams.
///
/// Errors: the key of `identity` does not suit the library.
pub fn carrier_server_config(identity: &Identity, allow: Allow) -> Result<ServerConfig, Error> {
    let mut config = server_config(identity, allow)?;
    config.alpn_protocols = vec![CARRIER_ALPN.to_vec()];
    Ok(config)
}

/// The identity behind the certificates that a peer presented: exactly one, well-formed.
pub fn site_of(certificates: &[CertificateDer<'_>]) -> Option<SiteId> {
    match certificates {
        [leaf] => public_key(leaf).map(|spki| SiteId::of_public_key(&spki)),
        _ => None,
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The DER `SubjectPublicKeyInfo` of a certificate.
fn public_key<'a>(certificate: &'a CertificateDer<'_>) -> Option<SubjectPublicKeyInfoDer<'a>> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok(([], parsed)) => Some(parsed.tbs_certificate.subject_pki.raw.into()),
        _ => None,
    }
}

/// The one error for every peer that is not welcome.
fn not_welcome() -> Error {
    Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
}

fn presented(leaf: &CertificateDer<'_>, others: &[CertificateDer<'_>]) -> Option<SiteId> {
    if others.is_empty() { site_of(std::slice::from_ref(leaf)) } else { None }
}

/// Checks that the peer holds the private key of the public key that names it.
fn verify_possession(
    provider: &CryptoProvider,
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signature: &DigitallySignedStruct,
) -> Result<HandshakeSignatureValid, Error> {
    let key = public_key(certificate).ok_or_else(not_welcome)?;
    let algorithms = &provider.signature_verification_algorithms;
    verify_tls13_signature_with_raw_key(message, &key, signature, algorithms)
        .map_err(|_| not_welcome())
}

/// TLS 1.2 is not compiled in; should it ever be, it is not spoken.
fn refuse_tls12() -> Result<HandshakeSignatureValid, Error> {
    Err(not_welcome())
}

/// Accepts one server: the one that was asked for.
struct ServerKey {
    expect: SiteId,
    found: FoundSite,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerKey").field("expect", &self.expect).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for ServerKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let site = presented(end_entity, intermediates).ok_or_else(not_welcome)?;
        let _first = self.found.set(site);
        if site == self.expect { Ok(ServerCertVerified::assertion()) } else { Err(not_welcome()) }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_possession(&self.provider, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Accepts the clients that the predicate names.
struct ClientKey {
    allow: Allow,
    provider: Arc<CryptoProvider>,
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientKey").finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let site = presented(end_entity, intermediates).ok_or_else(not_welcome)?;
        if (self.allow)(&site) { Ok(ClientCertVerified::assertion()) } else { Err(not_welcome()) }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_possession(&self.provider, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustls::{ClientConnection, ServerConnection};

    fn identity() -> Identity {
        Identity::ephemeral().expect("a key pair")
    }

    /// Runs a handshake in memory and returns what each side ended with.
    fn shake(client: ClientConfig, server: ServerConfig) -> (Result<(), Error>, Result<(), Error>) {
        let name = ServerName::try_from("farhaul").expect("a valid name");
        let mut client = ClientConnection::new(Arc::new(client), name).expect("a valid config");
        let mut server = ServerConnection::new(Arc::new(server)).expect("a valid config");
        let (mut client_end, mut server_end) = (Ok(()), Ok(()));
        for _ in 0..8 {
            let mut wire = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut wire).expect("memory");
            }
            server.read_tls(&mut &wire[..]).expect("memory");
            server_end = server_end.and(server.process_new_packets().map(drop));
            let mut wire = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut wire).expect("memory");
            }
            client.read_tls(&mut &wire[..]).expect("memory");
            client_end = client_end.and(client.process_new_packets().map(drop));
        }
        (client_end, server_end)
    }

    fn allow_only(site: SiteId) -> Allow {
        Arc::new(move |asked| *asked == site)
    }

    #[test]
    fn two_sites_that_know_each_other_agree() {
        let (client, server) = (identity(), identity());
        let found = FoundSite::default();
        let ends = shake(
            client_config(&client, server.id(), Arc::clone(&found)).expect("valid"),
            server_config(&server, allow_only(client.id())).expect("valid"),
        );
        assert_eq!(ends, (Ok(()), Ok(())));
        assert_eq!(found.get(), Some(&server.id()));
    }

    #[test]
    fn another_server_than_the_expected_is_refused_and_named() {
        let (client, server, expected) = (identity(), identity(), identity());
        let found = FoundSite::default();
        let (client_end, server_end) = shake(
            client_config(&client, expected.id(), Arc::clone(&found)).expect("valid"),
            server_config(&server, allow_only(client.id())).expect("valid"),
        );
        assert_eq!(client_end, Err(not_welcome()));
        assert!(server_end.is_err());
        assert_eq!(found.get(), Some(&server.id()));
    }

    #[test]
    fn a_client_that_is_not_allowed_is_refused() {
        let (client, server) = (identity(), identity());
        let (client_end, server_end) = shake(
            client_config(&client, server.id(), FoundSite::default()).expect("valid"),
            server_config(&server, allow_only(server.id())).expect("valid"),
        );
        assert_eq!(server_end, Err(not_welcome()));
        assert_eq!(client_end, Err(Error::AlertReceived(rustls::AlertDescription::AccessDenied)));
    }

    #[test]
    fn a_certificate_without_its_private_key_gets_the_same_answer() {
        let (client, server, thief) = (identity(), identity(), identity());
        let resolver = Arc::new(Stolen(rustls::sign::CertifiedKey::new(
            vec![client.certificate().clone()],
            rustls::crypto::ring::sign::any_eddsa_type(&thief.pkcs8()).expect("valid"),
        )));
        let mut config = client_config(&client, server.id(), FoundSite::default()).expect("valid");
        config.client_auth_cert_resolver = resolver;
        let (client_end, server_end) =
            shake(config, server_config(&server, allow_only(client.id())).expect("valid"));
        assert_eq!(server_end, Err(not_welcome()));
        assert_eq!(client_end, Err(Error::AlertReceived(rustls::AlertDescription::AccessDenied)));
    }

    #[test]
    fn a_chain_of_more_than_one_certificate_is_refused() {
        let (client, server) = (identity(), identity());
        let chain = vec![client.certificate().clone(), server.certificate().clone()];
        assert_eq!(site_of(&chain), None);
        assert_eq!(site_of(&[]), None);
        let resolver = Arc::new(Stolen(rustls::sign::CertifiedKey::new(
            chain,
            rustls::crypto::ring::sign::any_eddsa_type(&client.pkcs8()).expect("valid"),
        )));
        let mut config = client_config(&client, server.id(), FoundSite::default()).expect("valid");
        config.client_auth_cert_resolver = resolver;
        let (_, server_end) =
            shake(config, server_config(&server, allow_only(client.id())).expect("valid"));
        assert_eq!(server_end, Err(not_welcome()));
    }

    #[derive(Debug)]
    struct Stolen(rustls::sign::CertifiedKey);

    impl rustls::client::ResolvesClientCert for Stolen {
        fn resolve(
            &self,
            _hints: &[&[u8]],
            _schemes: &[SignatureScheme],
        ) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(Arc::new(self.0.clone()))
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_certificate_and_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            prop_assert_eq!(site_of(&[CertificateDer::from(bytes)]), None);
        }

        #[test]
        fn a_damaged_certificate_names_nobody_or_the_key_it_holds(at in 0usize..200, flip in 1u8..) {
            let identity = identity();
            let mut der = identity.certificate().to_vec();
            let at = at % der.len();
            der[at] ^= flip;
            let der = CertificateDer::from(der);
            if let Some(site) = site_of(std::slice::from_ref(&der)) {
                let key = public_key(&der).expect("it named a site");
                prop_assert_eq!(site, SiteId::of_public_key(&key));
            }
        }
    }
}
