//! Requests to the API of a site, over TCP or a Unix socket; one connection each.

use super::SiteArgs;
use super::place::Place;
use crate::farhaul::failure::{Failure, Kind};
use farhaul_api::{Problem, TreePath};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Bytes of an answer that is an object.
const ANSWER_MAX: usize = 64 << 20;
/// The site gives up a request after a minute, and says so.
const PATIENCE: Duration = Duration::from_secs(90);

/// The way to a site.
#[derive(Clone, Debug)]
pub(super) struct Client {
    place: Place,
}

impl Client {
    pub(super) fn of(args: &SiteArgs) -> Result<Self, Failure> {
        Ok(Self { place: Place::of(args)? })
    }

    /// Asks for an object.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        object(self.send(Method::GET, path, None).await?).await
    }

    /// Orders something.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        order: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        let body = order.map(serde_json::to_vec).transpose().map_err(nonsense)?;
        object(self.send(Method::POST, path, body).await?).await
    }

    /// Asks for something that comes bit by bit.
    pub(super) async fn open(&self, path: &str) -> Result<Incoming, Failure> {
        Ok(self.send(Method::GET, path, None).await?.into_body())
    }

    /// Sends a request; an answer that tells of a problem is a failure.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::builder().method(method).uri(path).header(ACCEPT, "*/*");
        request = match &self.place {
            Place::Tcp(addr, token) => request
                .header(HOST, addr.to_string())
                .header(AUTHORIZATION, format!("Bearer {token}")),
            Place::Unix(_) => request.header(HOST, "localhost"),
        };
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())));
        let request = request.map_err(nonsense)?;
        let answered = tokio::time::timeout(PATIENCE, self.exchange(request)).await;
        let response = answered.unwrap_or_else(|_| Err(self.unreached("it does not answer")))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refused(response).await)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let failed = |error: io::Error| self.unreached(&error.to_string());
        match &self.place {
            Place::Tcp(addr, _) => {
                self.talk(TcpStream::connect(addr).await.map_err(failed)?, request).await
            }
            Place::Unix(path) => {
                self.talk(UnixStream::connect(path).await.map_err(failed)?, request).await
            }
        }
    }

    async fn talk<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        &self,
        stream: S,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        let failed = |error: hyper::Error| self.unreached(&error.to_string());
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(async move { connection.await.is_ok() });
        sender.send_request(request).await.map_err(failed)
    }

    fn unreached(&self, why: &str) -> Failure {
        let place = match &self.place {
            Place::Tcp(addr, _) => addr.to_string(),
            Place::Unix(path) => path.display().to_string(),
        };
        let what = format!("the site at {place} is not reached: {why}");
        let advice = "see that farhauld runs, and that --api or its configuration names its place";
        Failure::new(Kind::Peer, what, advice)
    }
}

async fn object<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Failure> {
    let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.map_err(nonsense)?;
    serde_json::from_slice(&body.to_bytes()).map_err(nonsense)
}

async fn refused(response: Response<Incoming>) -> Failure {
    let status = response.status();
    let kind = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST => {
            Kind::Peer
        }
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS => Kind::Transfer,
        status if status.is_client_error() => Kind::Usage,
        _ => Kind::Transfer,
    };
    match object::<Problem>(response).await {
        Ok(problem) => {
            Failure::new(kind, format!("{}: {}", problem.title, problem.detail), problem.next)
        }
        Err(_) => Failure::new(kind, format!("the site answered {status}"), "look into its log"),
    }
}

fn nonsense(error: impl std::fmt::Display) -> Failure {
    let what = format!("what the site says is not understood: {error}");
    Failure::new(Kind::Transfer, what, "use the `farhaul` of the release that the site runs")
}

/// The address of something about a folder.
pub(super) fn of_folder(folder: &str, rest: &str) -> String {
    format!("/api/v1/folders/{}{rest}", encoded(folder))
}

/// With a path to ask for.
pub(super) fn with_path(address: &str, name: &str, path: &TreePath) -> String {
    let sign = if address.contains('?') { '&' } else { '?' };
    format!("{address}{sign}{name}={}", encoded(path.as_str()))
}

/// As it may stand in an address (RFC 3986, section 2.3).
pub(super) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_in_a_name_stays_in_its_part_of_the_address() {
        assert_eq!(of_folder("a/../b", "/why"), "/api/v1/folders/a%2F..%2Fb/why");
        let path = TreePath::from_bytes("a&b=ü?#".as_bytes());
        assert_eq!(with_path("/x", "path", &path), "/x?path=a%26b%3D%C3%BC%3F%23");
        let ascii: TreePath = TreePath::from_bytes(b"\xff");
        assert_eq!(with_path("/x?a=1", "path", &ascii), "/x?a=1&path=%5Cxff");
    }
}
