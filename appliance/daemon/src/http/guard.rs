//! Who may ask: whoever shows the token, over TCP; whoever may open the socket, over a Unix socket.

use super::fail::Failed;
use super::token::Token;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// What is answered without a token: whoever watches over processes has none, and it says nothing
/// but yes or no.
pub(super) const OPEN: [&str; 2] = ["/healthz", "/readyz"];

/// Who is let in.
#[derive(Clone, Debug)]
pub(super) enum Guard {
    /// Whoever could open the socket.
    Socket,
    /// Whoever shows the token, and asked for this machine by one of its own names.
    Token(Arc<Token>),
}

/// Answers, or says why not.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let Guard::Token(token) = &guard else { return next.run(request).await };
    if !names_this_machine(request.headers()) {
        return strange_host().into_response();
    }
    let is_open = OPEN.contains(&request.uri().path());
    if is_open || shown(request.headers()).is_some_and(|shown| token.is(shown)) {
        return next.run(request).await;
    }
    let mut refused = Failed::new(
        StatusCode::UNAUTHORIZED,
        "no token, or another one",
        "over TCP the API answers who shows its token",
        "send `Authorization: Bearer TOKEN` with what is in `api-token` of the state directory",
    )
    .into_response();
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, "Bearer".parse().expect("plain"));
    refused
}

pub(super) fn shown(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A page of somebody else's whose name was made to lead here asks by that name.
pub(super) fn names_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    if let Ok(addr) = host.parse::<std::net::SocketAddr>() {
        return addr.ip().is_loopback();
    }
    if let Ok(addr) = host.trim_matches(['[', ']']).parse::<std::net::IpAddr>() {
        return addr.is_loopback();
    }
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name.eq_ignore_ascii_case("localhost")
}

fn strange_host() -> Failed {
    Failed::new(
        StatusCode::MISDIRECTED_REQUEST,
        "asked for by a strange name",
        "the header `Host` names no address of this machine's own",
        "ask 127.0.0.1, [::1] or localhost",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(hosts: &[&str]) -> HeaderMap {
        hosts.iter().map(|host| (header::HOST, host.parse().expect("plain"))).collect()
    }

    #[test]
    fn only_names_of_this_machine_itself_are_taken() {
        for host in
            ["127.0.0.1:7412", "127.0.0.1", "localhost:7412", "LocalHost", "[::1]:1", "[::1]"]
        {
            assert!(names_this_machine(&headers(&[host])), "{host}");
        }
        for host in
            ["evil.example", "evil.example:7412", "localhost.evil.example", "10.0.0.1:7412", ""]
        {
            assert!(!names_this_machine(&headers(&[host])), "{host}");
        }
        assert!(!names_this_machine(&headers(&[])));
        assert!(!names_this_machine(&headers(&["localhost", "evil.example"])));
    }

    #[test]
    fn a_token_is_shown_as_a_bearer() {
        let shows = |text: &str| {
            let headers =
                HeaderMap::from_iter([(header::AUTHORIZATION, text.parse().expect("plain"))]);
            shown(&headers).map(str::to_owned)
        };
        assert_eq!(shows("Bearer abc"), Some("abc".to_owned()));
        assert_eq!(shows("bearer  abc "), Some("abc".to_owned()));
        assert_eq!(shows("Basic abc"), None);
        assert_eq!(shows("abc"), None);
    }
}
