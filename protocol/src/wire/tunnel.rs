//! A client's request or WebSocket, in pieces, on its way through the engine to an actor and back.

use bytes::Bytes;

use super::schema::schema;

schema! {
    /// One request or WebSocket for its whole life, also while its actor sleeps.
    #[derive(Copy, PartialOrd, Ord, Hash)]
    pub struct StreamId {
        /// One engine process.
        pub gateway_id: [u8; 4],
        /// Among those of one gateway.
        pub request_id: [u8; 4],
    }
}

schema! {
    #[derive(Copy)]
    pub struct MessageId {
        pub stream: StreamId,
        /// Counts per stream and direction, from 0, and begins again after 65,535.
        pub index: u16,
    }
}

schema! {
    /// From an actor to a client.
    pub enum ToRivetTunnel {
        ResponseStart {
            status: u16,
            headers: Vec<(String, String)>,
            body: Option<Bytes>,
            /// More of the body follows in chunks.
            stream: bool,
        },
        ResponseChunk { body: Bytes, finish: bool },
        ResponseAbort { reason: AbortReason where HttpStreaming },
        RequestBodyWindowUpdate {
            /// Since the body began.
            consumed_bytes: u64,
        } if HttpStreaming,
        /// No more of the request's body is wanted; the response may still come.
        RequestBodyCancel if HttpStreaming,
        WebSocketOpen { can_hibernate: bool },
        WebSocketMessage { data: Bytes, binary: bool },
        /// This message and all before it are kept by the actor.
        WebSocketMessageAck { index: u16 },
        WebSocketClose { code: Option<u16>, reason: Option<String>, hibernate: bool },
    }
}

schema! {
    /// From a client to an actor.
    pub enum ToEnvoyTunnel {
        RequestStart {
            actor_id: String,
            /// None: whichever is the newest.
            actor_generation: Option<u32> where HttpStreaming,
            method: String,
            path: String,
            headers: Vec<(String, String)>,
            body: Option<Bytes>,
            /// More of the body follows in chunks.
            stream: bool,
            /// The response may come in chunks.
            response_stream: bool where HttpStreaming,
        },
        RequestChunk { body: Bytes, finish: bool },
        RequestAbort {
            actor_id: Option<String> where HttpStreaming,
            actor_generation: Option<u32> where HttpStreaming,
            reason: AbortReason where HttpStreaming,
        },
        /// No more of the request's body will come, and none is missed; the response may still come.
        RequestBodyCancel if HttpStreaming,
        ResponseBodyWindowUpdate {
            /// Since the body began.
            consumed_bytes: u64,
        } if HttpStreaming,
        WebSocketOpen {
            actor_id: String,
            actor_generation: Option<u32> where HttpStreaming,
            path: String,
            headers: Vec<(String, String)>,
        },
        WebSocketMessage { data: Bytes, binary: bool },
        WebSocketClose { code: Option<u16>, reason: Option<String> },
    }
}

schema! {
    #[derive(Default)]
    pub struct AbortReason {
        pub kind: AbortKind,
        pub detail: Option<String>,
    }
}

schema! {
    #[derive(Copy, Default)]
    pub enum AbortKind {
        /// Also what versions that do not say it are read as.
        #[default]
        Unknown,
        Cancelled,
        HandlerError,
        InternalError,
    }
}
