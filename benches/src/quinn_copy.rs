//! The peer that uses a QUIC library as it comes: one file, one connection, one stream.
//!
//! It is what somebody would write with quinn in an afternoon: the library's own congestion
//! control, windows large enough for long links, reads and writes of 1 MiB. The keys are checked as
//! Farhaul checks them, so that neither pays less for its handshake.
//!
//! Wire: the bytes of the file; back: 8 bytes with the number written, big-endian.

use anyhow::{Context, Result, anyhow, ensure};
use farhaul_engine::identity::{Identity, SiteId};
use farhaul_engine::tls;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig, TransportConfig, VarInt};
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

const PART: usize = 1 << 20;
/// Parts between the file and the network.
const PARTS: usize = 4;
/// More than any link here holds: 1 Gbit/s at 200 ms are 25 MB.
const WINDOW: u32 = 64 << 20;

/// Accepts one connection at `listen` and writes what comes to `output`. Tells `ready` its identity
/// once it listens.
///
/// # Errors
/// Any of the network or the file.
pub async fn receive(
    listen: SocketAddr,
    output: &Path,
    ready: impl FnOnce(SiteId) -> Result<()>,
) -> Result<()> {
    let identity = Identity::ephemeral()?;
    let tls = tls::server_config(&identity, Arc::new(|_| true))?;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()));
    let endpoint = Endpoint::server(config, listen).context("cannot listen")?;
    ready(identity.id())?;
    let incoming = endpoint.accept().await.ok_or_else(|| anyhow!("the endpoint closed"))?;
    let connection = incoming.await?;
    let (mut answer, mut stream) = connection.accept_bi().await?;
    let file = File::create(output)?;
    let (parts, writer) = writer(file);
    while let Some(chunk) = stream.read_chunk(PART, true).await? {
        parts.send(chunk.bytes).await.map_err(|_| anyhow!("the writer ended"))?;
    }
    drop(parts);
    let written = writer.await??;
    answer.write_all(&written.to_be_bytes()).await?;
    answer.finish()?;
    connection.closed().await;
    Ok(())
}

/// Writes parts to `file` on a thread of its own, so that the network never waits for a copy.
fn writer(
    mut file: File,
) -> (mpsc::Sender<bytes::Bytes>, tokio::task::JoinHandle<std::io::Result<u64>>) {
    let (sender, mut parts) = mpsc::channel::<bytes::Bytes>(PARTS * PART / 1200);
    let task = tokio::task::spawn_blocking(move || {
        let mut written = 0;
        while let Some(part) = parts.blocking_recv() {
            file.write_all(&part)?;
            written += part.len() as u64;
        }
        Ok(written)
    });
    (sender, task)
}

/// Sends `file` to the receiver `expect` at `to`.
///
/// # Errors
/// Any of the network or the file; the receiver wrote another number of bytes.
pub async fn send(to: SocketAddr, expect: SiteId, file: &Path) -> Result<()> {
    let identity = Identity::ephemeral()?;
    let tls = tls::client_config(&identity, expect, Arc::default())?;
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()));
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let endpoint = Endpoint::client(any.parse()?)?;
    let connection = endpoint.connect_with(config, to, "quinn-copy")?.await?;
    let (mut stream, mut answer) = connection.open_bi().await?;
    let mut file = File::open(file)?;
    let len = file.metadata()?.len();
    let (sender, mut parts) = mpsc::channel::<bytes::Bytes>(PARTS);
    let reader = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        loop {
            let mut part = vec![0; PART];
            let read = file.read(&mut part)?;
            part.truncate(read);
            if read == 0 || sender.blocking_send(part.into()).is_err() {
                return Ok(());
            }
        }
    });
    while let Some(part) = parts.recv().await {
        stream.write_chunk(part).await?;
    }
    reader.await??;
    stream.finish()?;
    let mut written = [0; 8];
    answer.read_exact(&mut written).await?;
    ensure!(u64::from_be_bytes(written) == len, "the receiver wrote another length");
    connection.close(VarInt::from_u32(0), b"done");
    endpoint.wait_idle().await;
    Ok(())
}

fn transport() -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW));
    config
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_file_arrives_whole() {
        let directory = tempfile::tempdir().expect("a directory");
        let (source, target) = (directory.path().join("source"), directory.path().join("target"));
        let content: Vec<u8> = (0..3_000_000_u32).map(|index| (index % 251) as u8).collect();
        std::fs::write(&source, &content).expect("written");
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let at = probe.local_addr().expect("bound");
        drop(probe);
        let (ready, listening) = oneshot::channel();
        let output = target.clone();
        let receiver = tokio::spawn(async move {
            receive(at, &output, |id| ready.send(id).map_err(|_| anyhow!("nobody waits"))).await
        });
        let id = listening.await.expect("it listens");
        send(at, id, &source).await.expect("sent");
        receiver.await.expect("no panic").expect("received");
        assert_eq!(std::fs::read(&target).expect("readable"), content);
    }
}
