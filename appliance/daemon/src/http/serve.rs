//! Listening, and conversations over HTTP: how many, how long, how slow they may be.

use super::guard::Guard;
use super::token::Token;
use crate::config::ApiPlace;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::fs::Mode;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

/// Conversations at a time; who comes later waits.
const CONVERSATIONS_MAX: usize = 64;
/// How long a client may take for a request's head, and be silent between two requests.
const HEAD_WAIT: Duration = Duration::from_secs(15);
/// Bytes of a request's head.
const HEAD_MAX: usize = 16 << 10;
/// The socket is for this user and its group.
const SOCKET_MODE: u32 = 0o660;

/// Why the API does not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address or path.
    #[error("the API cannot listen at {place}: {source}")]
    Bind {
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// The token.
    #[error("{}: {source}", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than this machine could ask.
    #[error("the API would listen at {place}, where others can read what goes over it")]
    Public {
        /// Where.
        place: String,
    },
}

/// Where the API listens, before it answers.
#[derive(Debug)]
pub struct Listening {
    listener: Listener,
    guard: Guard,
    place: ApiPlace,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listening {
    /// Begins to listen; within a tokio runtime. `state` is where the token is.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn at(place: &ApiPlace, state: &Path) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Bind { place: place.to_string(), source };
        match place {
            ApiPlace::Tcp(addr) => {
                // There is no TLS: the token would go over the wire for anybody to read.
                if !addr.ip().is_loopback() {
                    return Err(ServeError::Public { place: place.to_string() });
                }
                let token = Token::load_or_create(state);
                let path = state.join(super::token::TOKEN_FILE);
                let token = token.map_err(|source| ServeError::Token { path, source })?;
                let listener = TcpListener::bind(addr).await.map_err(failed)?;
                let place = ApiPlace::Tcp(listener.local_addr().map_err(failed)?);
                let guard = Guard::Token(Arc::new(token));
                Ok(Self { listener: Listener::Tcp(listener), guard, place })
            }
            ApiPlace::Unix(path) => {
                let listener = bind_socket(path).map_err(failed)?;
                let listener = Listener::Unix(listener);
                Ok(Self { listener, guard: Guard::Socket, place: place.clone() })
            }
        }
    }

    /// Where: with the port that was found, if none was asked for.
    pub const fn place(&self) -> &ApiPlace {
        &self.place
    }

    pub(super) const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Answers until `over` says so.
    pub(super) async fn answer(self, router: Router, mut over: watch::Receiver<bool>) {
        let seats = Arc::new(Semaphore::new(CONVERSATIONS_MAX));
        let ended = over.clone();
        let answering = async {
            loop {
                let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
                let (router, ended) = (router.clone(), ended.clone());
                match &self.listener {
                    Listener::Tcp(listener) => match listener.accept().await {
                        Ok((stream, _)) => {
                            tokio::spawn(async move { talk(stream, router, ended, seat).await });
                        }
                        Err(error) => rest(&error).await,
                    },
                    Listener::Unix(listener) => match listener.accept().await {
                        Ok((stream, _)) => {
                            tokio::spawn(async move { talk(stream, router, ended, seat).await });
                        }
                        Err(error) => rest(&error).await,
                    },
                }
            }
        };
        tokio::select! {
            () = answering => {}
            _ = over.wait_for(|over| *over) => {}
        }
        if let ApiPlace::Unix(path) = &self.place {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Out of descriptors, most likely: it gets better or worse, but not within a microsecond.
async fn rest(error: &io::Error) {
    tracing::warn!(%error, "the API cannot take a connection");
    tokio::time::sleep(Duration::from_secs(1)).await;
}

async fn talk<S>(
    stream: S,
    router: Router,
    mut over: watch::Receiver<bool>,
    _seat: tokio::sync::OwnedSemaphorePermit,
) where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_WAIT).max_buf_size(HEAD_MAX);
    let service = TowerToHyperService::new(router);
    let talking = builder.serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        ended = talking => if let Err(error) = ended {
            tracing::debug!(%error, "a conversation over HTTP ended early");
        },
        _ = over.wait_for(|over| *over) => {}
    }
}

/// Makes the socket; one that nobody listens at any more is replaced.
fn bind_socket(path: &Path) -> io::Result<UnixListener> {
    if let Ok(meta) = std::fs::symlink_metadata(path) {
        if !meta.file_type().is_socket() {
            let what = "something else stands there: remove it, or name another path";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, what));
        }
        if UnixStream::connect(path).is_ok() {
            let what = "another program listens there";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, what));
        }
        std::fs::remove_file(path)?;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before it has a name: at no moment may others open it.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(SOCKET_MODE))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    // What the process's mask took away.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
    listen(&socket, 128)?;
    UnixListener::from_std(socket.into())
}
