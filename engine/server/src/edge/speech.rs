//! Tells a client that speaks TLS where none is spoken, and one that does not where it is expected.
//!
//! Both show in the first byte. Without this the one would get a fragment of HTTP where its library wants TLS, and the other
//! something that is no text.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use protocol::limits::KIB;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::prompt::Prompt;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speech {
    Plain,
    Tls,
}

/// What every conversation in TLS begins with: a record of the handshake.
const HANDSHAKE: u8 = 0x16;
/// A fatal alert, `protocol_version`: what libraries show as one by its name.
const ALERT: &[u8] = &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 70];
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
    this port speaks TLS: use https://\n";
/// What the client has sent is read before the connection ends, or it would be reset under the answer.
const UNREAD_BYTES_MAX: usize = 16 * KIB;

pub struct Spoken {
    stream: Prompt,
    /// Until the first byte.
    expected: Option<Speech>,
}

impl Spoken {
    pub fn new(stream: Prompt, expected: Speech) -> Spoken {
        Spoken { stream, expected: Some(expected) }
    }

    fn refuse(&self, answer: &[u8], why: &'static str) -> io::Error {
        let stream: &TcpStream = self.stream.socket();
        let mut unread = [0; KIB];
        for _ in 0..UNREAD_BYTES_MAX / KIB {
            if !stream.try_read(&mut unread).is_ok_and(|read| read > 0) {
                break;
            }
        }
        // A new connection has room for it; if not, the client learns nothing.
        let _ = stream.try_write(answer);
        io::Error::new(io::ErrorKind::InvalidData, why)
    }
}

impl AsyncRead for Spoken {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if let (Some(expected), Some(first)) = (self.expected, buffer.filled().get(before)) {
            let spoken = if *first == HANDSHAKE { Speech::Tls } else { Speech::Plain };
            self.expected = None;
            match (expected, spoken) {
                (Speech::Plain, Speech::Tls) => {
                    return Poll::Ready(Err(
                        self.refuse(ALERT, "a client speaks TLS to the port that does not; it is guard.https.port")
                    ));
                }
                (Speech::Tls, Speech::Plain) => {
                    return Poll::Ready(Err(self.refuse(PLAIN, "a client does not speak TLS to the port that does")));
                }
                (Speech::Plain, Speech::Plain) | (Speech::Tls, Speech::Tls) => {}
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Spoken {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
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
