//! A connection that acknowledges at once what it has read.
//!
//! Linux puts an acknowledgement off for up to 40 ms, to send it along with an answer (RFC 1122, 4.2.3.2). A peer that has not turned
//! off Nagle's algorithm (RFC 896) holds back its next small message until the last one is acknowledged. So a peer that says two
//! small things in a row, and RivetKit's runners do, would be heard 40 ms late. Only WebSockets need this: over HTTP the answer
//! itself acknowledges.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::lanes::Carried;

pub struct Prompt {
    stream: TcpStream,
    switch: Switch,
    /// All that passes here.
    carried: Carried,
}

/// Turns it on for a connection that became a WebSocket.
#[derive(Clone, Default)]
pub struct Switch(Arc<AtomicBool>);

impl Switch {
    pub fn on(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Prompt {
    pub fn new(stream: TcpStream, carried: Carried) -> Prompt {
        Prompt { stream, switch: Switch::default(), carried }
    }

    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    pub fn switch(&self) -> Switch {
        self.switch.clone()
    }

    /// The kernel forgets it again by itself, so it is asked for after each read.
    #[cfg(target_os = "linux")]
    fn acknowledge(&self) {
        if self.switch.0.load(Ordering::Relaxed) {
            // What comes of a failure is a later acknowledgement.
            let _ = rustix::net::sockopt::set_tcp_quickack(&self.stream, true);
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn acknowledge(&self) {}
}

impl AsyncRead for Prompt {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.carried.add(buffer.filled().len() - before);
        self.acknowledge();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prompt {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.carried.add(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, slices))?;
        self.carried.add(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
