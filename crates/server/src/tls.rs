//! TLS on a listener: certificates from files, read again when the operator says so.
//!
//! Each listener has its own. What is read is checked as a whole before it takes the place of what was: with files that
//! can't be used, the old certificate stays.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use arc_swap::ArcSwap;
use countersign_token::secret::Secret;
use countersign_token::time::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::config::TlsFiles;

mod validity;

/// A bundle of all public authorities has about 200 KiB; a device or another file named by mistake must not fill the
/// memory.
const FILE_MAX: u64 = 4 << 20;

/// What a client may choose to speak, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificate of a listener, and whom it lets connect.
#[derive(Debug)]
pub struct Tls {
    identity: ArcSwap<Identity>,
    failures: AtomicU64,
}

/// What was read of the files.
#[derive(Debug)]
struct Identity {
    config: Arc<ServerConfig>,
    expires_at: Option<Timestamp>,
}

impl Tls {
    /// Reads the files. An error says which one can't be used, and why.
    pub fn load(files: &TlsFiles) -> anyhow::Result<Self> {
        Ok(Self { identity: ArcSwap::from_pointee(read(files)?), failures: AtomicU64::new(0) })
    }

    /// Reads the files again, for connections that come from now on. After an error everything is as before.
    pub fn reload(&self, files: &TlsFiles) -> anyhow::Result<()> {
        self.identity.store(Arc::new(read(files)?));
        Ok(())
    }

    /// The last second in which the certificate is valid; `None` if that can't be read from it.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.identity.load().expires_at
    }

    /// How many handshakes have failed or have taken too long.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Shakes hands, if the client does its part within `patience`.
    pub(crate) async fn accept<I>(&self, io: I, patience: Duration) -> Option<TlsStream<I>>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let handshake = TlsAcceptor::from(Arc::clone(&self.identity.load().config)).accept(io);
        match tokio::time::timeout(patience, handshake).await {
            Ok(Ok(stream)) => return Some(stream),
            // Anybody can provoke this as often as they like, so that it is not for every log.
            Ok(Err(error)) => tracing::debug!(error = %error, "a TLS handshake failed"),
            Err(_elapsed) => tracing::debug!("a TLS handshake did not end in time"),
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
        None
    }
}

fn read(files: &TlsFiles) -> anyhow::Result<Identity> {
    let TlsFiles { certificate, key, client_ca } = files;
    let chain = read_certificates(certificate)?;
    let expires_at = chain.first().and_then(|own| validity::not_after(own));
    let private = read_key(key)?;
    // Named here, and not installed for the whole process: several servers live in one.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .context("cannot set up TLS")?;
    let config = match client_ca {
        None => config.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for authority in read_certificates(path)? {
                roots
                    .add(authority)
                    .with_context(|| format!("{} holds a certificate that is no authority's", path.display()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .with_context(|| format!("cannot use the authorities in {}", path.display()))?;
            config.with_client_cert_verifier(verifier)
        }
    };
    let (certificate, key) = (certificate.display(), key.display());
    let mut config = config.with_single_cert(chain, private).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            anyhow!("the key in {key} is not the one of the certificate {certificate}")
        }
        error => anyhow!("the certificate {certificate} can't be used with the key {key}: {error}"),
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(Identity { config: Arc::new(config), expires_at })
}

fn read_certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let context = || format!("cannot read the certificate {}", path.display());
    let mut pem = Vec::new();
    File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut pem)).with_context(context)?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().with_context(context)?;
    if certificates.is_empty() {
        bail!("there is no certificate in {} (`-----BEGIN CERTIFICATE-----`)", path.display());
    }
    Ok(certificates)
}

fn read_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    let context = || format!("cannot read the TLS key {}", path.display());
    let file = File::open(path).with_context(context)?;
    let mode = file.metadata().with_context(context)?.permissions().mode() & 0o777;
    // A group may read it: distributions keep keys for several servers that way.
    if mode & 0o027 != 0 {
        bail!(
            "the TLS key {0} is open to others (mode {mode:04o}). Whoever has read it can answer in this server's name. \
             Run: chmod 640 {0}",
            path.display()
        );
    }
    let pem = Secret::from(io::read_to_string(file.take(FILE_MAX)).with_context(context)?);
    match PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()) {
        Ok(key) => Ok(key),
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            bail!(
                "there is no key in {} that can be read without a password (`-----BEGIN PRIVATE KEY-----`)",
                path.display()
            )
        }
        Err(error) => Err(error).with_context(context),
    }
}

#[cfg(test)]
pub(crate) mod tests;
