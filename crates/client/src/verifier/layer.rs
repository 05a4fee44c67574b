//! A verifier before a service.

use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response};
use tower::{Layer, Service};

use super::{Decision, Demand, Refusal, Verifier};

const REASON: HeaderName = HeaderName::from_static("countersign-reason");
const SECRET: HeaderName = HeaderName::from_static("cf-access-client-secret");
const ASSERTION: HeaderName = HeaderName::from_static("cf-access-jwt-assertion");
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"countersign\"");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const SOON: HeaderValue = HeaderValue::from_static("1");

/// Admits or refuses requests as the gate does: what is refused never reaches the service, and is answered with the gate's
/// status, `Countersign-Reason` and `WWW-Authenticate`.
///
/// What is admitted has its [`Identity`](super::Identity) in its extensions. Headers in which a proxy would name somebody
/// (`Countersign-…`, `Cf-Access-Jwt-Assertion`) are taken out, and those that carry a secret are marked, so that `Debug` does
/// not show them.
#[derive(Clone)]
pub struct VerifyLayer {
    verifier: Verifier,
    demand: Demand,
    locate: Option<Arc<Locate>>,
}

/// Says where a request comes from.
type Locate = dyn Fn(&HeaderMap, &Extensions) -> Option<IpAddr> + Send + Sync;

impl VerifyLayer {
    /// A layer that admits by `verifier` what meets `demand`.
    pub fn new(verifier: Verifier, demand: Demand) -> Self {
        Self { verifier, demand, locate: None }
    }

    /// Says where requests come from, for tokens that may only come from some networks. Without it, and where it returns
    /// `None`, they are refused.
    ///
    /// What it believes is the service's own affair: the address of the connection is a proxy's if there is one, and a header
    /// is to be believed only as far as one's own proxies have written it.
    ///
    /// ```
    /// # use std::net::SocketAddr;
    /// # use countersign_client::verifier::VerifyLayer;
    /// # fn locating(checked: VerifyLayer) -> VerifyLayer {
    /// checked.locating(|_headers, extensions| extensions.get::<SocketAddr>().map(SocketAddr::ip))
    /// # }
    /// ```
    #[must_use]
    pub fn locating(
        mut self,
        locate: impl Fn(&HeaderMap, &Extensions) -> Option<IpAddr> + Send + Sync + 'static,
    ) -> Self {
        self.locate = Some(Arc::new(locate));
        self
    }
}

impl fmt::Debug for VerifyLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { verifier, demand, locate } = self;
        f.debug_struct("VerifyLayer")
            .field("verifier", verifier)
            .field("demand", demand)
            .field("is_locating", &locate.is_some())
            .finish()
    }
}

impl<S> Layer<S> for VerifyLayer {
    type Service = Verify<S>;

    fn layer(&self, inner: S) -> Verify<S> {
        Verify { inner, layer: self.clone() }
    }
}

/// A service behind a [`VerifyLayer`].
#[derive(Clone, Debug)]
pub struct Verify<S> {
    inner: S,
    layer: VerifyLayer,
}

impl<S, B, R> Service<Request<B>> for Verify<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = VerifyFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let VerifyLayer { verifier, demand, locate } = &self.layer;
        let address = locate.as_ref().and_then(|locate| locate(request.headers(), request.extensions()));
        match verifier.check_from(address, request.headers(), demand) {
            Decision::Admit(identity) => {
                clean(request.headers_mut());
                request.extensions_mut().insert(identity);
                VerifyFuture::Admitted(Box::pin(self.inner.call(request)))
            }
            Decision::Refuse(refusal) => VerifyFuture::Refused(refusal),
        }
    }
}

/// The answer of a [`Verify`], to be awaited.
#[derive(Debug)]
pub enum VerifyFuture<F> {
    /// That of the service.
    Admitted(Pin<Box<F>>),
    /// The refusal.
    Refused(Refusal),
}

impl<F, R, E> Future for VerifyFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.get_mut() {
            Self::Admitted(future) => future.as_mut().poll(context),
            Self::Refused(refusal) => Poll::Ready(Ok(refused(*refusal))),
        }
    }
}

/// Nobody but this layer names who is admitted, and no secret is shown by accident.
fn clean(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("countersign-") || **name == ASSERTION)
        .cloned()
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [SECRET, AUTHORIZATION] {
        if let Some(value) = headers.get_mut(name) {
            value.set_sensitive(true);
        }
    }
}

fn refused<R: Default>(refusal: Refusal) -> Response<R> {
    let mut response = Response::new(R::default());
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(REASON, HeaderValue::from_static(refusal.as_str()));
    headers.insert(CACHE_CONTROL, NO_STORE);
    match refusal {
        Refusal::Missing | Refusal::Malformed => {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        Refusal::Credential(_) if refusal.status() == http::StatusCode::UNAUTHORIZED => {
            headers.insert(WWW_AUTHENTICATE, CHALLENGE);
        }
        Refusal::Stale => {
            headers.insert(RETRY_AFTER, SOON);
        }
        Refusal::Credential(_) => {}
    }
    response
}
