//! Connections: accepted, wrapped in TLS where that is asked for, served over HTTP/1.1 or HTTP/2 as the client speaks, and brought to an
//! end when the server shuts down.

use crate::front::Peer;
use crate::server::Server;
use crate::tls::Tls;
use crate::traffic::Traffic;
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{interval, timeout};

/// How long a client may take for a handshake, or to answer whether it is still there.
const GREETING: Duration = Duration::from_secs(10);
/// How long a connection may lie idle, and one of HTTP/1 take for the head of a request.
const IDLE: Duration = Duration::from_secs(30);
/// How often it is seen to.
const TICK: Duration = Duration::from_secs(1);
/// Requests at a time on one connection of HTTP/2.
const STREAMS: u32 = 256;
/// Bytes of a head of HTTP/2, and of the buffer that a head of HTTP/1 has to fit into. Bodies pass through it, too: one that stays in the
/// cache costs less than what a larger one saves in calls.
const MAX_HEAD: u32 = 64 << 10;
/// Bytes that a client may send ahead on one stream of HTTP/2, and on a connection.
const WINDOWS: [u32; 2] = [1 << 20, 4 << 20];

pub(crate) struct Listener {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Tls>,
    pub(crate) max_connections: usize,
}

impl Listener {
    /// Serves until `stop` is done; from then on nobody is accepted, and those who are there get their answers, but no longer than
    /// `drain` after it. Whether all got them.
    pub(crate) async fn serve(
        self,
        server: Arc<Server>,
        router: Router,
        stop: impl Future<Output = ()>,
        drain: Duration,
    ) -> bool {
        let mut builder = Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(IDLE).max_buf_size(MAX_HEAD as usize).pipeline_flush(true);
        let mut http2 = builder.http2();
        http2.timer(TokioTimer::new()).max_concurrent_streams(STREAMS).max_header_list_size(MAX_HEAD);
        http2.keep_alive_interval(Duration::from_secs(20)).keep_alive_timeout(GREETING);
        http2.initial_stream_window_size(WINDOWS[0]).initial_connection_window_size(WINDOWS[1]);
        let connections = Arc::new(Semaphore::new(self.max_connections.min(Semaphore::MAX_PERMITS)));
        // Told when the server ends; closed when the last connection is.
        let draining = watch::Sender::new(());
        let mut stop = std::pin::pin!(stop);
        loop {
            // A client that finds no room waits in the backlog of the system.
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = accept(&self.listener, &connections) => accepted,
            };
            let (stream, peer, permit) = accepted;
            let connection = Connection { server: Arc::clone(&server), router: router.clone(), builder: builder.clone(), peer };
            tokio::spawn(connection.run(stream, self.tls.clone(), draining.subscribe(), permit));
        }
        drop(self.listener);
        draining.send_replace(());
        timeout(drain, draining.closed()).await.is_ok()
    }
}

async fn accept(listener: &TcpListener, connections: &Arc<Semaphore>) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
    loop {
        let permit = Arc::clone(connections).acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, peer, permit),
            Err(e) => {
                // Most likely there are no file descriptors left: those who leave make room.
                tracing::warn!("cannot accept a connection: {e}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

struct Connection {
    server: Arc<Server>,
    router: Router,
    builder: Builder<TokioExecutor>,
    peer: SocketAddr,
}

impl Connection {
    async fn run(self, stream: TcpStream, tls: Option<Tls>, draining: watch::Receiver<()>, _permit: OwnedSemaphorePermit) {
        // Answers are written whole: waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let connections = self.server.metrics.connections.clone();
        connections.inc();
        match tls {
            None => self.speak(stream, draining).await,
            #[cfg(feature = "tls")]
            Some(tls) => match timeout(GREETING, tls.accept(stream)).await {
                Ok(Ok(stream)) => self.speak(stream, draining).await,
                Ok(Err(e)) => tracing::info!(peer = %self.peer, "no TLS: {e}"),
                Err(_) => tracing::info!(peer = %self.peer, "no TLS within {} seconds", GREETING.as_secs()),
            },
            #[cfg(not(feature = "tls"))]
            Some(never) => match never {},
        }
        connections.dec();
    }

    async fn speak<S: AsyncRead + AsyncWrite + Unpin + 'static>(&self, stream: S, mut draining: watch::Receiver<()>) {
        let traffic = Arc::new(Traffic::new());
        let peer = Peer { address: self.peer, traffic: Arc::clone(&traffic) };
        let router = self.router.clone().layer(axum::Extension(peer));
        let connection = self.builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
        let mut connection = std::pin::pin!(connection);
        let (mut is_ending, mut tick) = (false, interval(TICK));
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(e) = ended {
                        tracing::debug!(peer = %self.peer, "the connection ended: {e}");
                    }
                    return;
                }
                _ = draining.changed(), if !is_ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                _ = tick.tick() => {
                    let idle = traffic.idle().unwrap_or_default();
                    if traffic.unread().is_some_and(|unread| unread > self.server.terms.timeout) || idle > IDLE + GREETING {
                        tracing::debug!(peer = %self.peer, "the client neither asks nor reads");
                        return;
                    }
                    if idle > IDLE && !is_ending {
                        is_ending = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }
}
