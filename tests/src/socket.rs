//! A WebSocket to the engine, as a client opens it.

use futures_util::{SinkExt, StreamExt};
use http::HeaderMap;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::engine::Engine;
use crate::until::LONG;

pub struct Socket {
    stream: WebSocketStream<TcpStream>,
    /// Of the answer to the handshake.
    pub headers: HeaderMap,
}

impl Socket {
    /// Offers these protocols; none if they are empty.
    pub async fn open(engine: &Engine, target: &str, protocols: &str) -> Socket {
        let headers: &[(&str, &str)] = if protocols.is_empty() { &[] } else { &[("sec-websocket-protocol", protocols)] };
        Socket::open_with(engine, target, headers).await.unwrap_or_else(|error| panic!("{target}: a socket expected, seen {error}"))
    }

    pub async fn open_with(engine: &Engine, target: &str, headers: &[(&str, &str)]) -> Result<Socket, Error> {
        let host = engine.url().strip_prefix("http://").expect("an engine's address");
        let stream = TcpStream::connect(host).await?;
        let mut request = format!("ws://{host}{target}").into_client_request()?;
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            request.headers_mut().append(name, value.parse().expect("a header's value"));
        }
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let (stream, response) = client_async_with_config(request, stream, Some(config)).await?;
        Ok(Socket { stream, headers: response.headers().clone() })
    }

    pub async fn send(&mut self, message: Message) -> Result<(), Error> {
        self.stream.send(message).await
    }

    /// The next message, and that within reason.
    pub async fn next(&mut self) -> Option<Result<Message, Error>> {
        let next = tokio::time::timeout(LONG, self.stream.next()).await;
        next.unwrap_or_else(|_| panic!("nothing was said within {LONG:?}"))
    }

    /// Reads until the engine closes it: code, and reason without the ray id, which must be there with an error.
    pub async fn closed(&mut self) -> (u16, String) {
        let (code, reason) = self.closed_by_actor().await;
        let (coded, ray) = reason.split_once('#').unwrap_or((&reason, ""));
        assert_eq!(coded.contains('.'), !ray.is_empty(), "group.code and a ray id go together: {reason}");
        (code, coded.to_string())
    }

    /// Reads until the other side closes it: code, and reason as it is. What an actor says has no ray id.
    pub async fn closed_by_actor(&mut self) -> (u16, String) {
        loop {
            match self.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.as_str().to_string()),
                Some(Ok(_)) => {}
                other => panic!("a close expected, seen {other:?}"),
            }
        }
    }

    pub async fn close(mut self) {
        // It may be closed already.
        let _ = self.stream.close(None).await;
        while let Some(Ok(_)) = self.next().await {}
    }
}
