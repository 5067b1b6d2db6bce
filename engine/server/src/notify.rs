//! Tells the service manager how the process is: `sd_notify`, without its library.
//!
//! A datagram to the socket that `NOTIFY_SOCKET` names; nothing where there is none. It is never waited for: a manager that does not
//! read loses a message, and the engine goes on.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Of a status: it is one line on somebody's screen.
const STATUS_BYTES_MAX: usize = 256;

/// The way to the service manager, or nowhere.
pub struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// From the environment that the manager gives its services.
    pub fn of_process() -> Manager {
        let socket = env::var_os("NOTIFY_SOCKET").and_then(|name| match open(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                tracing::warn!(%error, "NOTIFY_SOCKET names what cannot be written to; the service manager is told nothing");
                None
            }
        });
        // For this process, says the manager; a child that inherits the environment is another one.
        let is_for_us = env::var("WATCHDOG_PID").map_or(true, |id| id == std::process::id().to_string());
        let interval = env::var("WATCHDOG_USEC").ok().filter(|_| is_for_us).and_then(|text| text.parse().ok());
        Manager { socket, watchdog: interval.filter(|us| *us > 0).map(Duration::from_micros) }
    }

    /// How often the manager wants a sign of life, if it does.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.socket.is_some())
    }

    pub fn status(&self, text: &str) {
        let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(STATUS_BYTES_MAX).collect();
        self.send(&format!("STATUS={text}"));
    }

    pub fn ready(&self) {
        self.send("READY=1\nSTATUS=ready");
    }

    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=draining");
    }

    /// It is alive, and what it does may take so much longer.
    pub fn extend(&self, by: Duration) {
        self.send(&format!("EXTEND_TIMEOUT_USEC={}", by.as_micros()));
    }

    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(text.as_bytes(), address)
        {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}

fn open(name: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        // Abstract: a name that is in no folder.
        [b'@', rest @ ..] => of_abstract(rest)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

#[cfg(target_os = "linux")]
fn of_abstract(name: &[u8]) -> io::Result<SocketAddr> {
    <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name)
}

#[cfg(not(target_os = "linux"))]
fn of_abstract(_: &[u8]) -> io::Result<SocketAddr> {
    Err(io::Error::other("this system has no abstract sockets"))
}
