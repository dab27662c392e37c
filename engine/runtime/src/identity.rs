//! Who a site is: an Ed25519 key pair on disk, its self-signed certificate, the name derived from it.
//!
//! The name is the hash of the public key, so certificates may be renewed without changing it and
//! nothing else in a certificate is ever believed. It does not decide who may connect (`tls`).

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ED25519, PublicKeyData};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use zeroize::Zeroizing;

pub use farhaul_proto::ids::{SiteId, SiteIdError};

/// Name of the key file inside the home directory.
const KEY_FILE: &str = "identity.key";
/// A PKCS#8 Ed25519 key has about 120 bytes as PEM.
const KEY_FILE_LEN_MAX: usize = 4096;
/// Why a site has no identity.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The disk is at fault, or its permissions.
    #[error("{}: {source}", .path.display())]
    Disk {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read the key, so it may have been copied.
    #[error(
        "{}: others have access to the key (mode {mode:04o}); mend it with: chmod 600 {}",
        .path.display(),
        .path.display()
    )]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others can replace the key.
    #[error(
        "{}: others can write to the home directory (mode {mode:04o}); mend it with: chmod 700 {}",
        .path.display(),
        .path.display()
    )]
    HomeExposed {
        /// The home directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else than one Ed25519 key.
    #[error("{}: not an Ed25519 private key (PKCS#8, PEM); restore it or move it away", .path.display())]
    KeyMalformed {
        /// The key file.
        path: PathBuf,
    },
    /// The library could not make a key or certificate.
    #[error("cannot make a key pair or its certificate: {0}")]
    Crypto(#[from] rcgen::Error),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// The library does not take the key.
    #[error("the cryptographic library does not take the key of this site")]
    KeyRejected,
}

/// What a signature is for. It stands before everything that is signed, with a zero byte behind it, so
/// that nothing signed for one purpose can be taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose(&'static str);

impl Purpose {
    /// The purpose of that name. TLS signs with the same key, certificates and handshakes: what these
    /// sign begins otherwise.
    ///
    /// # Panics
    /// If the name does not begin with `farhaul `, or holds a zero byte; in a constant, that is an error of
    /// the compiler.
    pub const fn new(name: &'static str) -> Self {
        let (bytes, prefix) = (name.as_bytes(), b"farhaul ");
        assert!(bytes.len() > prefix.len(), "a purpose has a name behind `farhaul `");
        let mut at = 0;
        while at < bytes.len() {
            assert!(at >= prefix.len() || bytes[at] == prefix[at], "it begins with `farhaul `");
            assert!(bytes[at] != 0, "a zero byte ends a purpose");
            at += 1;
        }
        Self(name)
    }

    /// What is signed for it.
    fn of(self, statement: &[u8]) -> Vec<u8> {
        [self.0.as_bytes(), &[0], statement].concat()
    }
}

/// Bytes of a signature.
pub const SIGNATURE_LEN: usize = 64;
/// What stands before the bytes of an Ed25519 key in a DER `SubjectPublicKeyInfo` (RFC 8410).
const SPKI_PREFIX: [u8; 12] =
    [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// An Ed25519 public key: with it anybody can verify what its site signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The site that it belongs to.
    pub fn site(&self) -> SiteId {
        SiteId::of_public_key(&[&SPKI_PREFIX[..], &self.0].concat())
    }

    /// Whether its site signed `statement` for that purpose.
    pub fn has_signed(
        &self,
        purpose: Purpose,
        statement: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, &self.0);
        key.verify(&purpose.of(statement), signature).is_ok()
    }
}

/// The key pair of this site, with its certificate.
pub struct Identity {
    id: SiteId,
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    /// The same, ready to sign.
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl Identity {
    /// Reads the key of the site at `home`, or makes one if there is none.
    ///
    /// The file appears whole or not at all, readable by its owner only; when two processes race,
    /// both end up with the same key.
    ///
    /// Errors: see [`IdentityError`]; an exposed or unreadable key is never replaced.
    pub fn load_or_create(home: &Path) -> Result<Self, IdentityError> {
        make_home(home)?;
        let path = home.join(KEY_FILE);
        match load(&path) {
            Err(IdentityError::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                create(home, &path)?;
                load(&path)
            }
            other => other,
        }
    }

    /// A key pair that lives in memory only.
    pub fn ephemeral() -> Result<Self, IdentityError> {
        Self::from_key_pair(&KeyPair::generate_for(&PKCS_ED25519)?)
    }

    /// The name of this site.
    pub const fn id(&self) -> SiteId {
        self.id
    }

    /// The self-signed certificate, made anew with each start.
    pub const fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A copy of the private key, for the TLS library.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }

    /// The public key alone.
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// Signs a statement for a purpose (Ed25519, RFC 8032): the name of the purpose, a zero byte, the
    /// statement.
    ///
    /// # Errors
    /// [`IdentityError::KeyRejected`].
    pub fn sign(
        &self,
        purpose: Purpose,
        statement: &[u8],
    ) -> Result<[u8; SIGNATURE_LEN], IdentityError> {
        let signature = self.pair.sign(&purpose.of(statement));
        <[u8; SIGNATURE_LEN]>::try_from(signature.as_ref()).map_err(|_| IdentityError::KeyRejected)
    }

    #[cfg(test)]
    pub(crate) fn pkcs8(&self) -> PrivatePkcs8KeyDer<'static> {
        self.key.clone_key()
    }

    /// A secret that follows from the private key and `info`, and says nothing about the key.
    pub(crate) fn derive(&self, info: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut secret = Zeroizing::new([0; 32]);
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"farhaul site");
        let key = salt.extract(self.key.secret_pkcs8_der());
        let info = [info];
        let okm = key.expand(&info, hkdf::HKDF_SHA256).expect("32 bytes are within the bound");
        okm.fill(&mut secret[..]).expect("as long as the hash");
        secret
    }

    fn from_key_pair(pair: &KeyPair) -> Result<Self, IdentityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "farhaul site");
        let certificate = params.self_signed(pair)?;
        let key = PrivatePkcs8KeyDer::from(pair.serialize_der());
        let rejected = || IdentityError::KeyRejected;
        let ready = Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der())
            .map_err(|_| rejected())?;
        let public = <[u8; 32]>::try_from(ready.public_key().as_ref()).map_err(|_| rejected())?;
        Ok(Self {
            id: SiteId::of_public_key(&pair.subject_public_key_info()),
            certificate: certificate.der().clone(),
            key,
            pair: Arc::new(ready),
            public: PublicKey(public),
        })
    }
}

impl Clone for Identity {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            certificate: self.certificate.clone(),
            key: self.key.clone_key(),
            pair: Arc::clone(&self.pair),
            public: self.public,
        }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Attaches the path to an I/O error.
fn disk(path: &Path) -> impl FnOnce(io::Error) -> IdentityError {
    move |source| IdentityError::Disk { path: path.to_owned(), source }
}

fn make_home(home: &Path) -> Result<(), IdentityError> {
    DirBuilder::new().recursive(true).mode(0o700).create(home).map_err(disk(home))?;
    let mode = fs::metadata(home).map_err(disk(home))?.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(IdentityError::HomeExposed { path: home.to_owned(), mode });
    }
    Ok(())
}

fn load(path: &Path) -> Result<Identity, IdentityError> {
    let no_follow = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let file =
        OpenOptions::new().read(true).custom_flags(no_follow).open(path).map_err(disk(path))?;
    let metadata = file.metadata().map_err(disk(path))?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::KeyExposed { path: path.to_owned(), mode });
    }
    let malformed = || IdentityError::KeyMalformed { path: path.to_owned() };
    if !metadata.is_file() || metadata.len() > KEY_FILE_LEN_MAX as u64 {
        return Err(malformed());
    }
    let mut pem = Zeroizing::new(String::with_capacity(KEY_FILE_LEN_MAX));
    file.take(KEY_FILE_LEN_MAX as u64).read_to_string(&mut pem).map_err(|error| {
        match error.kind() {
            io::ErrorKind::InvalidData => malformed(),
            _ => disk(path)(error),
        }
    })?;
    let pair = KeyPair::from_pkcs8_pem_and_sign_algo(&pem, &PKCS_ED25519);
    Identity::from_key_pair(&pair.map_err(|_| malformed())?)
}

/// Puts a new key in place unless there is one by then.
fn create(home: &Path, path: &Path) -> Result<(), IdentityError> {
    let pem = Zeroizing::new(KeyPair::generate_for(&PKCS_ED25519)?.serialize_pem());
    let mut unique = [0; 8];
    SystemRandom::new().fill(&mut unique).map_err(|_| IdentityError::Randomness)?;
    let staged = home.join(format!("{KEY_FILE}.{:016x}.tmp", u64::from_ne_bytes(unique)));
    let result = write_durably(&staged, pem.as_bytes()).and_then(|()| publish(&staged, path));
    if result.is_err() {
        // The error at hand matters more than a leftover that holds an unused key.
        let _ = fs::remove_file(&staged);
    }
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(disk(path)),
    }?;
    File::open(home).and_then(|dir| dir.sync_all()).map_err(disk(home))
}

fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Gives the staged file its name without ever replacing another.
fn publish(staged: &Path, path: &Path) -> io::Result<()> {
    match renameat_with(CWD, staged, CWD, path, RenameFlags::NOREPLACE) {
        // Some file systems know no such rename; a hard link refuses to replace as well.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            fs::hard_link(staged, path)?;
            fs::remove_file(staged)
        }
        other => other.map_err(io::Error::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const TEST: Purpose = Purpose::new("farhaul tests v1");

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("own file");
    }

    fn home() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let home = dir.path().join("deep/home");
        (dir, home)
    }

    #[test]
    fn what_a_site_signs_is_verified_with_the_key_that_names_it_and_no_other() {
        let (identity, other) = (Identity::ephemeral().expect("made"), Identity::ephemeral());
        let key = identity.public_key();
        assert_eq!(key.site(), identity.id());
        let signature = identity.sign(TEST, b"a statement").expect("its own key");
        assert!(key.has_signed(TEST, b"a statement", &signature));
        assert!(!key.has_signed(TEST, b"another one", &signature));
        let other = other.expect("made").public_key();
        assert!(!other.has_signed(TEST, b"a statement", &signature));
        let mut forged = signature;
        forged[7] ^= 1;
        assert!(!key.has_signed(TEST, b"a statement", &forged));
        assert_eq!(identity.clone().sign(TEST, b"a statement").expect("the same key"), signature);
    }

    #[test]
    fn what_is_signed_for_one_purpose_is_nothing_for_another() {
        let identity = Identity::ephemeral().expect("made");
        let signature = identity.sign(TEST, b"a statement").expect("its own key");
        let key = identity.public_key();
        for (purpose, statement) in [
            (Purpose::new("farhaul tests v1 "), &b"a statement"[..]),
            (Purpose::new("farhaul tests v"), b"1\0a statement"),
            (Purpose::new("farhaul other tests v1"), b"a statement"),
        ] {
            assert!(!key.has_signed(purpose, statement, &signature), "{purpose:?}");
        }
        // The bytes are those of the specification: a name, a zero byte, the statement.
        let bytes = UnparsedPublicKey::new(&ED25519, &key.0);
        assert!(bytes.verify(b"farhaul tests v1\0a statement", &signature).is_ok());
    }

    #[test]
    fn a_purpose_that_could_be_another_is_refused() {
        for name in
            ["", "farhaul ", "TLS 1.3, client", "farhaul\0tests", "farhaul a\0b", "0farhaul a"]
        {
            assert!(std::panic::catch_unwind(|| Purpose::new(name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_site_keeps_its_identity_over_restarts() {
        let (_dir, home) = home();
        let first = Identity::load_or_create(&home).expect("created");
        let second = Identity::load_or_create(&home).expect("loaded");
        assert_eq!(first.id(), second.id());
        assert_eq!(fs::metadata(&home).expect("exists").mode() & 0o7777, 0o700);
        assert_eq!(fs::metadata(home.join(KEY_FILE)).expect("exists").mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(&home).expect("readable").count(), 1, "no leftovers");
    }

    #[test]
    fn the_id_is_the_hash_of_the_key_inside_the_certificate() {
        let identity = Identity::ephemeral().expect("created");
        let (_, parsed) =
            x509_parser::parse_x509_certificate(identity.certificate()).expect("valid");
        assert_eq!(identity.id(), SiteId::of_public_key(parsed.tbs_certificate.subject_pki.raw));
        assert_ne!(identity.id(), Identity::ephemeral().expect("created").id());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused_with_the_remedy() {
        let (_dir, home) = home();
        Identity::load_or_create(&home).expect("created");
        let key = home.join(KEY_FILE);
        for mode in [0o640, 0o604, 0o610] {
            set_mode(&key, mode);
            let error = Identity::load_or_create(&home).expect_err("exposed");
            assert!(
                matches!(error, IdentityError::KeyExposed { mode: found, .. } if found == mode)
            );
            let remedy = format!("chmod 600 {}", key.display());
            assert!(error.to_string().contains(&remedy), "{error}");
        }
    }

    #[test]
    fn a_home_that_others_can_write_to_is_refused_with_the_remedy() {
        let (_dir, home) = home();
        Identity::load_or_create(&home).expect("created");
        set_mode(&home, 0o770);
        let error = Identity::load_or_create(&home).expect_err("exposed");
        assert!(error.to_string().contains(&format!("chmod 700 {}", home.display())), "{error}");
    }

    #[test]
    fn a_damaged_or_foreign_key_is_refused_and_left_alone() {
        let (_dir, home) = home();
        Identity::load_or_create(&home).expect("created");
        let key = home.join(KEY_FILE);
        let whole = fs::read(&key).expect("own file");
        let other = KeyPair::generate().expect("ECDSA").serialize_pem().into_bytes();
        for bytes in
            [vec![], whole[..whole.len() / 2].to_vec(), vec![0xFF; 200], vec![b'x'; 9000], other]
        {
            fs::write(&key, &bytes).expect("own file");
            let error = Identity::load_or_create(&home).expect_err("no key");
            assert!(matches!(error, IdentityError::KeyMalformed { .. }), "{error}");
            assert_eq!(fs::read(&key).expect("own file"), bytes);
        }
    }

    #[test]
    fn a_key_file_that_is_a_link_is_not_followed() {
        let (_dir, home) = home();
        Identity::load_or_create(&home).expect("created");
        let (key, moved) = (home.join(KEY_FILE), home.join("moved"));
        fs::rename(&key, &moved).expect("own file");
        symlink(&moved, &key).expect("a link");
        let error = Identity::load_or_create(&home).expect_err("a link");
        assert!(matches!(error, IdentityError::Disk { .. }), "{error}");
    }

    #[test]
    fn a_race_of_two_creations_has_one_winner() {
        let (_dir, home) = home();
        make_home(&home).expect("created");
        let path = home.join(KEY_FILE);
        create(&home, &path).expect("first");
        let first = load(&path).expect("loaded").id();
        create(&home, &path).expect("second finds the first");
        assert_eq!(load(&path).expect("loaded").id(), first);
        assert_eq!(fs::read_dir(&home).expect("readable").count(), 1, "no leftovers");
    }
}
