//! What the kernel is told about connections: when one whose other side has vanished is over.
//!
//! Told once, to the socket that listens: those that it accepts are like it. A connection on which nothing is said is asked after a
//! minute, and over after another; one whose client takes nothing of what waits for it is over after two.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;

const IDLE_SECONDS: u64 = 60;
const ASK_SECONDS: u64 = 15;
const ASKED_MAX: u32 = 4;
#[cfg(target_os = "linux")]
const UNTAKEN_MS_MAX: u32 = 120_000;

pub fn watch_peers(listener: &TcpListener) {
    // Without it a vanished client is found when something is sent to it.
    if let Err(error) = ask(listener) {
        tracing::debug!(%error, "connections are not watched by the system");
    }
}

fn ask(listener: &TcpListener) -> io::Result<()> {
    use rustix::net::sockopt;
    // Answers are small and wait for nothing: each leaves at once.
    sockopt::set_tcp_nodelay(listener, true)?;
    sockopt::set_socket_keepalive(listener, true)?;
    sockopt::set_tcp_keepidle(listener, Duration::from_secs(IDLE_SECONDS))?;
    sockopt::set_tcp_keepintvl(listener, Duration::from_secs(ASK_SECONDS))?;
    sockopt::set_tcp_keepcnt(listener, ASKED_MAX)?;
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(listener, UNTAKEN_MS_MAX)?;
    Ok(())
}
