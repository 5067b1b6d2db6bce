//! What the engine asks of clients, over real connections: how much one may do, how long it may take, TLS.
//!
//! - [`limits`]: each limit at it and beyond it, and whom it counts.
//! - [`slow`]: clients that take too long, and very many that say nothing.
//! - [`rapid`]: requests that are opened and reset at once.
//! - [`tls`]: certificates, names, renewal, and clients that speak something else.
//! - [`proxies`]: nginx and Caddy in front, with the examples in `deploy/`.

mod limits;
mod proxies;
mod rapid;
mod slow;
mod tls;

use std::net::TcpListener;

use rivet_tests::Engine;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// Far above what a short limit in these tests takes, and below what would be another limit.
const WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

/// An engine with such a file of configuration, in which this machine counts like any client.
struct Stage {
    engine: Engine,
    _folder: TempDir,
}

impl Stage {
    async fn start(guard: &str) -> Stage {
        Stage::start_with(&format!("guard:\n  exempt_cidrs: [192.0.2.0/24]\n{guard}")).await
    }

    async fn start_with(text: &str) -> Stage {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("edge.yaml");
        std::fs::write(&path, text).expect("a file");
        let engine = Engine::start_with(&["--config", path.to_str().expect("a path that is text")]).await;
        Stage { engine, _folder: folder }
    }

    fn address(&self) -> &str {
        self.engine.url().strip_prefix("http://").expect("an engine's address")
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address()).await.expect("the engine accepts")
    }
}

/// All that comes after these words, until the other side ends it: an end by force counts too.
async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &[u8]) -> String {
    let mut seen = Vec::new();
    let asked = async {
        if stream.write_all(words).await.is_ok() {
            let _ = stream.read_to_end(&mut seen).await;
        }
    };
    tokio::time::timeout(WITHIN, asked).await.unwrap_or_else(|_| panic!("the connection is still open after {WITHIN:?}"));
    String::from_utf8_lossy(&seen).into_owned()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it listens").port()
}
