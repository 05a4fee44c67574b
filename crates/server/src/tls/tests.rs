//! Files that can be used, and files that can't; and certificates for the tests of the listeners.

use std::path::PathBuf;

use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::*;

/// The name on every certificate that is made here.
const NAME: &str = "countersign.test";

/// An authority with a directory of its own.
pub(crate) struct Authority {
    dir: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key.
pub(crate) struct Certified {
    certificate: Certificate,
    key: KeyPair,
}

/// A client's side of TLS.
pub(crate) struct Client(Arc<ClientConfig>);

impl Authority {
    /// An authority that has certified the files of [`Authority::files`].
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { dir: tempfile::tempdir().unwrap(), issuer };
        std::fs::write(authority.file(), authority.issuer.pem()).unwrap();
        authority.renew();
        authority
    }

    pub(crate) fn certify(&self) -> Certified {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([NAME.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        Certified { certificate, key }
    }

    /// Puts a new certificate in the place of the old one.
    pub(crate) fn renew(&self) -> CertificateDer<'static> {
        let Certified { certificate, key } = self.certify();
        let files = self.files();
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
        certificate.der().clone()
    }

    pub(crate) fn files(&self) -> TlsFiles {
        let at = |name| self.dir.path().join(name);
        TlsFiles { certificate: at("certificate.pem"), key: at("key.pem"), client_ca: None }
    }

    /// The authority's own certificate.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("authority.pem")
    }

    /// A client that trusts this authority, and speaks `protocols`.
    pub(crate) fn client(&self, identity: Option<&Certified>, protocols: &[&str]) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match identity {
            None => config.with_no_client_auth(),
            Some(Certified { certificate, key }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                config.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Client(Arc::new(config))
    }
}

impl Client {
    pub(crate) async fn connect(&self, address: &str) -> io::Result<client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(NAME).unwrap();
        TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await
    }
}

/// The certificate that a server has shown.
pub(crate) fn shown<I>(stream: &client::TlsStream<I>) -> CertificateDer<'static> {
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn refused(files: &TlsFiles, expected: &[&str]) {
    let message = format!("{:#}", Tls::load(files).map(drop).expect_err("they can't be used"));
    for part in expected {
        assert!(message.contains(part), "{message:?} lacks {part:?}");
    }
    assert!(!message.contains("BEGIN PRIVATE KEY-----\nM"), "{message}");
}

#[test]
fn files_that_can_be_used_are() {
    let authority = Authority::new();
    let files = authority.files();
    Tls::load(&files).unwrap();
    for mode in [0o400, 0o440, 0o640] {
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(mode)).unwrap();
        Tls::load(&files).unwrap();
    }
    // A chain, with words between its certificates; and authorities to demand clients' certificates from.
    let chain = std::fs::read_to_string(&files.certificate).unwrap() + "subject=CN = an authority\n";
    std::fs::write(&files.certificate, chain + &authority.issuer.pem()).unwrap();
    Tls::load(&TlsFiles { client_ca: Some(authority.file()), ..files }).unwrap();
}

#[test]
fn files_that_can_not_be_used_are_named() {
    let authority = Authority::new();
    let files = authority.files();
    let nowhere = PathBuf::from("/nowhere/x.pem");
    let missing = "No such file";
    refused(&TlsFiles { certificate: nowhere.clone(), ..files.clone() }, &["/nowhere/x.pem", missing]);
    refused(&TlsFiles { key: nowhere.clone(), ..files.clone() }, &["/nowhere/x.pem", missing]);
    refused(&TlsFiles { client_ca: Some(nowhere), ..files.clone() }, &["/nowhere/x.pem", missing]);
    let (certificate, key) = (files.certificate.to_str().unwrap(), files.key.to_str().unwrap());
    // The two are easily swapped.
    refused(&TlsFiles { certificate: files.key.clone(), ..files.clone() }, &["there is no certificate in", key]);
    std::fs::set_permissions(&files.certificate, std::fs::Permissions::from_mode(0o600)).unwrap();
    refused(&TlsFiles { key: files.certificate.clone(), ..files.clone() }, &["there is no key in", certificate]);
    refused(&TlsFiles { client_ca: Some(files.key.clone()), ..files.clone() }, &["there is no certificate in", key]);
    for mode in [0o644, 0o604, 0o660] {
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(mode)).unwrap();
        refused(&files, &[&format!("mode {mode:04o}"), &format!("chmod 640 {key}")]);
    }
    std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600)).unwrap();
    // Another certificate's key.
    std::fs::write(&files.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    refused(&files, &[key, "is not the one of the certificate", certificate]);
    std::fs::write(&files.key, "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
        .unwrap();
    refused(&files, &["there is no key in", "without a password"]);
    authority.renew();
    std::fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    refused(&files, &["can't be used", certificate]);
    std::fs::write(&files.certificate, "-----BEGIN CERTIFICATE-----\nAAAA\n").unwrap();
    refused(&files, &["cannot read the certificate", certificate]);
}

#[tokio::test]
async fn what_can_not_be_used_changes_nothing() {
    let authority = Authority::new();
    let files = authority.files();
    let tls = Tls::load(&files).unwrap();
    let shakes = async |tls: &Tls| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let client = authority.client(None, &[]);
        let served = async { tls.accept(listener.accept().await.unwrap().0, Duration::from_secs(10)).await };
        let (client, _) = tokio::join!(client.connect(&address), served);
        shown(&client.unwrap())
    };
    let old = shakes(&tls).await;
    std::fs::write(&files.key, "garbage").unwrap();
    tls.reload(&files).expect_err("that is no key");
    assert_eq!(shakes(&tls).await, old);
    let new = authority.renew();
    assert_ne!(new, old);
    assert_eq!(shakes(&tls).await, old, "nothing is read before it is said");
    tls.reload(&files).unwrap();
    assert_eq!(shakes(&tls).await, new);
}

#[tokio::test]
async fn a_silent_client_is_given_up() {
    let tls = Tls::load(&Authority::new().files()).unwrap();
    let (_silent, io) = tokio::io::duplex(64);
    assert!(tls.accept(io, Duration::from_millis(1)).await.is_none());
}
