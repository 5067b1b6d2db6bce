//! A client that costs little: requests are bytes made beforehand, answers are read only as far as their end.
//!
//! It speaks as much HTTP/1.1 as the engine answers with: a status, `content-length`, or chunks.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Measured;

#[derive(Clone, Default)]
pub struct Latencies(Vec<u32>);

impl Latencies {
    pub fn push(&mut self, time: Duration) {
        // In units of 100 ns, up to seven minutes.
        self.0.push(u32::try_from(time.as_nanos() / 100).unwrap_or(u32::MAX));
    }

    pub fn extend(&mut self, other: Latencies) {
        self.0.extend(other.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// In microseconds.
    pub fn percentile(&mut self, percent: usize) -> f64 {
        self.0.sort_unstable();
        let at = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(at).map_or(f64::NAN, |tenths| f64::from(*tenths) / 10.0)
    }
}

/// As many connections, each with one request under way, for so long.
pub fn run_load(address: SocketAddr, connections: usize, time: Duration, request: impl Fn(usize) -> Vec<u8>) -> Measured {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    // A few hundred requests to choose from: making them is not what is measured.
    let requests: Vec<Vec<u8>> = (0..256).map(request).collect();
    let requests: &'static [Vec<u8>] = requests.leak();
    runtime.block_on(async move {
        let began = Instant::now();
        let clients: Vec<_> = (0..connections)
            .map(|number| {
                tokio::spawn(async move {
                    let mut stream = tokio::net::TcpStream::connect(address).await.expect("the engine listens");
                    stream.set_nodelay(true).expect("a socket option");
                    let mut latencies = Latencies::default();
                    let mut answer = Vec::with_capacity(4096);
                    for at in number * 7.. {
                        let sent = Instant::now();
                        if sent - began >= time {
                            break;
                        }
                        stream.write_all(&requests[at % requests.len()]).await.expect("it takes the request");
                        answer.clear();
                        while end_of(&answer).is_none() {
                            let read = stream.read_buf(&mut answer).await.expect("it answers");
                            assert!(read > 0, "the engine closed the connection");
                        }
                        assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
                        latencies.push(sent.elapsed());
                    }
                    latencies
                })
            })
            .collect();
        let mut all = Latencies::default();
        for client in clients {
            all.extend(client.await.expect("it does not panic"));
        }
        Measured { per_second: all.len() as f64 / began.elapsed().as_secs_f64(), latencies: all }
    })
}

/// One connection, one request at a time.
pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).expect("the engine listens");
        stream.set_nodelay(true).expect("a socket option");
        Connection { stream, answer: Vec::new() }
    }

    /// How long until the whole of a good answer is there.
    pub fn time(&mut self, request: &[u8]) -> Duration {
        let began = Instant::now();
        let answer = self.ask(request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        began.elapsed()
    }

    pub fn ask(&mut self, request: &[u8]) -> String {
        self.stream.write_all(request).expect("it takes the request");
        self.answer.clear();
        let mut buffer = [0; 16 * 1024];
        while end_of(&self.answer).is_none() {
            let read = self.stream.read(&mut buffer).expect("it answers");
            assert!(read > 0, "the engine closed the connection");
            self.answer.extend_from_slice(&buffer[..read]);
        }
        String::from_utf8_lossy(&self.answer).into_owned()
    }
}

/// Where the answer ends, if all of it is there.
fn end_of(answer: &[u8]) -> Option<usize> {
    let head_end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..head_end]).ok()?;
    for line in head.lines() {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            let end = head_end + value.trim().parse::<usize>().ok()?;
            return (answer.len() >= end).then_some(end);
        }
    }
    answer.ends_with(b"0\r\n\r\n").then_some(answer.len())
}
