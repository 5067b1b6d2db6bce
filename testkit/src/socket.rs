//! A client's WebSocket to an actor.

use futures_util::{SinkExt, StreamExt};
use http::HeaderValue;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio::io::DuplexStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::TestKit;
use crate::error::Error;

/// What clients of RivetKit offer.
const PROTOCOLS: HeaderValue = HeaderValue::from_static("rivet, rivet_encoding.json");

/// Until it is dropped, or the engine is started again.
pub struct Socket<'a> {
    kit: &'a TestKit,
    stream: WebSocketStream<DuplexStream>,
}

/// What the actor says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    Text(String),
    Binary(Vec<u8>),
    Closed { code: u16, reason: String },
}

impl<'a> Socket<'a> {
    pub(crate) fn open(kit: &'a TestKit, target: &str) -> Result<Socket<'a>, Error> {
        let request = format!("ws://localhost{target}").into_client_request();
        let mut request = request.map_err(|error| Error::broken("this is no path", &error))?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, PROTOCOLS);
        let opened = kit.run(async |running| {
            let opened = client_async(request, running.connect()).await;
            running.rest().await;
            opened
        });
        let (stream, _) = opened.map_err(|error| Error::broken("the socket cannot be opened", &error))?;
        Ok(Socket { kit, stream })
    }

    pub fn send_text(&mut self, text: &str) -> Result<(), Error> {
        self.send(Message::text(text))
    }

    pub fn send_binary(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.send(Message::binary(bytes.to_vec()))
    }

    fn send(&mut self, message: Message) -> Result<(), Error> {
        let sent = self.kit.run(async |running| {
            let sent = self.stream.send(message).await;
            running.rest().await;
            sent
        });
        sent.map_err(|error| Error::broken("the socket is not open", &error))
    }

    /// The next that the actor has said. [`Error::WaitsForTime`] if that was all.
    pub fn receive(&mut self) -> Result<Said, Error> {
        self.kit.run(async |running| {
            let said = async {
                loop {
                    match self.stream.next().await {
                        Some(Ok(Message::Text(text))) => return Ok(Said::Text(text.to_string())),
                        Some(Ok(Message::Binary(bytes))) => return Ok(Said::Binary(bytes.to_vec())),
                        Some(Ok(Message::Close(close))) => {
                            // A close without a code counts as this one.
                            let (code, reason) =
                                close.map_or((1005, String::new()), |close| (close.code.into(), close.reason.to_string()));
                            return Ok(Said::Closed { code, reason });
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                        Some(Err(error)) => return Err(Error::broken("the socket has failed", &error)),
                        None => return Err(Error::Broken("the socket is closed".to_string())),
                    }
                }
            };
            running.answered(said).await
        })
    }
}
