//! Sending something to an address that the operator has named, over HTTP/1.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::ServerName;

/// An address to send to. Each time takes a connection of its own: it is meant for what is sent once a minute.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    uri: Uri,
    host: String,
    port: u16,
    /// The authorities are those that the platform trusts.
    tls: Option<Arc<ClientConfig>>,
}

impl Post {
    /// Prepares sending to `http://…` or `https://…`. Nothing is sent yet.
    pub(crate) fn to(uri: &Uri) -> anyhow::Result<Self> {
        let (host, port) = address(uri)?;
        let tls = match uri.scheme_str() {
            Some("https") => {
                let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                    .with_safe_default_protocol_versions()?
                    .with_platform_verifier()
                    .context("this machine trusts no authority for certificates")?;
                Some(Arc::new(builder.with_no_client_auth()))
            }
            _ => None,
        };
        Ok(Self { uri: uri.clone(), host, port, tls })
    }

    /// Sends a body. Whatever is answered but a status of 200 to 299 within `patience` is an error.
    pub(crate) async fn send(&self, content_type: &'static str, body: Bytes, patience: Duration) -> anyhow::Result<()> {
        let status = tokio::time::timeout(patience, self.exchange(content_type, body));
        let status = status.await.map_err(|_| anyhow!("no answer within {} s", patience.as_secs()))??;
        if status.is_success() { Ok(()) } else { bail!("the answer was {status}") }
    }

    async fn exchange(&self, content_type: &'static str, body: Bytes) -> anyhow::Result<StatusCode> {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.uri.authority().map_or(self.host.as_str(), |authority| authority.as_str());
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, authority)
            .header(USER_AGENT, concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, content_type)
            .body(Full::new(body))?;
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await.context("cannot connect")?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some(config) => {
                let name = ServerName::try_from(self.host.clone())?;
                let connector = TlsConnector::from(Arc::clone(config));
                let stream = connector.connect(name, stream).await.context("the TLS handshake has failed")?;
                exchange(stream, request).await
            }
        }
    }
}

/// Whether something can be sent to an address, and to which host and port.
pub(crate) fn address(uri: &Uri) -> anyhow::Result<(String, u16)> {
    let usual_port = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => bail!("it does not begin with http:// or https://"),
    };
    let authority = uri.authority().context("it names no host")?;
    if authority.as_str().contains('@') {
        bail!("it holds a user or a password, which are not sent");
    }
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok((host, authority.port_u16().unwrap_or(usual_port)))
}

async fn exchange<I>(io: I, request: Request<Full<Bytes>>) -> anyhow::Result<StatusCode>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await?;
    let answered = async move {
        let answer = sender.send_request(request).await;
        // The connection ends once nobody can send on it any more.
        drop(sender);
        answer.map(|answer| answer.status())
    };
    let (status, _ended) = tokio::join!(answered, connection);
    status.context("no answer has come")
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        let check = |uri: &str, host: &str, port: u16| {
            assert_eq!(address(&uri.parse().unwrap()).unwrap(), (host.to_owned(), port), "{uri}");
        };
        check("http://log.internal", "log.internal", 80);
        check("https://log.internal/heads?of=1", "log.internal", 443);
        check("http://[::1]:8080/", "::1", 8080);
        for uri in ["/heads", "log.internal:80", "ftp://log.internal/", "https://user:secret@log.internal/"] {
            let error = address(&uri.parse().unwrap()).expect_err(uri).to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
