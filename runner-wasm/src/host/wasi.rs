//! WASI, as little of it as programs need to run: clocks and random numbers, and what is printed goes to the actor's log.
//!
//! Languages with a large runtime import files, sockets and more whatever a program does, so all of it is linked; but nothing
//! is behind it: no environment, no arguments, no input, no sockets, and only those folders that the operator named. Outgoing
//! requests go where the deployment allows; see [`crate::outbound`].

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use protocol::limits::LOG_LINE_BYTES_MAX;
use protocol::message::LogLevel;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{FsPerms, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use super::Host;
use crate::actor::{Actor, lock};
use crate::clock::Clock;
use crate::config::RANDOM_BYTES_MAX;

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| {
            let mut builder = WasiCtx::builder();
            builder
                .stdout(Output::new(&self.actor, LogLevel::Info))
                .stderr(Output::new(&self.actor, LogLevel::Warn))
                .allow_tcp(false)
                .allow_udp(false)
                .allow_ip_name_lookup(false)
                .max_random_size(RANDOM_BYTES_MAX);
            let clock = &self.actor.shared.clock;
            if clock.is_given() {
                builder.wall_clock(Given(clock.clone())).monotonic_clock(Given(clock.clone()));
            }
            for grant in self.grants.iter() {
                let perms = if grant.read_only { FsPerms::ReadOnly } else { FsPerms::ReadWrite };
                if let Err(error) = builder.preopened_dir(&grant.host_path, &grant.guest_path, perms) {
                    tracing::warn!(path = %grant.host_path.display(), error = format!("{error:#}"), "a granted folder cannot be opened");
                }
            }
            Box::new(builder.build())
        });
        WasiCtxView { ctx, table: &mut self.resources }
    }
}

impl WasiHttpView for Host {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.outgoing, table: &mut self.resources, ctx: &mut self.wasi_http }
    }
}

/// A clock that was given to the runner, as guests see it. Their own waits take the machine's time all the same.
struct Given(Clock);

impl HostWallClock for Given {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.now_ms())
    }
}

impl HostMonotonicClock for Given {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        self.0.passed().as_nanos().try_into().unwrap_or(u64::MAX)
    }
}

/// Standard output or standard error, line by line into the actor's log.
#[derive(Clone)]
struct Output {
    actor: Arc<Actor>,
    level: LogLevel,
    /// The line that has no end yet.
    line: Arc<Mutex<Vec<u8>>>,
}

impl Output {
    fn new(actor: &Arc<Actor>, level: LogLevel) -> Output {
        Output { actor: Arc::clone(actor), level, line: Arc::default() }
    }

    fn take(&self, bytes: &[u8]) {
        let mut line = lock(&self.line);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            // One byte more than fits, so that the log sees that something was cut.
            let room = (LOG_LINE_BYTES_MAX + 1).saturating_sub(line.len());
            line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.actor.log(self.level, String::from_utf8_lossy(&std::mem::take(&mut *line)).into_owned());
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        let rest = lock(&self.line);
        // The last line of a panic has no end; only the last holder may say that it is the last.
        if Arc::strong_count(&self.line) == 1 && !rest.is_empty() {
            self.actor.log(self.level, String::from_utf8_lossy(&rest).into_owned());
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(LOG_LINE_BYTES_MAX)
    }
}

impl tokio::io::AsyncWrite for Output {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.take(bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: std::pin::Pin<&mut Self>, _cx: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: std::pin::Pin<&mut Self>, _cx: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}
