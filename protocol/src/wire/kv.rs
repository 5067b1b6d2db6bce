//! An actor's keys and values: questions, answers, and what a start brings with it.

use bytes::Bytes;

use super::schema::schema;

schema! {
    pub enum KvRequestData {
        Get { keys: Vec<Bytes> },
        List { query: KvListQuery, reverse: Option<bool>, limit: Option<u64> },
        /// As many values as keys, if the sender is right.
        Put { keys: Vec<Bytes>, values: Vec<Bytes> },
        Delete { keys: Vec<Bytes> },
        DeleteRange { start: Bytes, end: Bytes } if KvDeleteRange,
        Drop,
    }
}

schema! {
    pub enum KvListQuery {
        All,
        Range { start: Bytes, end: Bytes, exclusive: bool },
        Prefix { key: Bytes },
    }
}

schema! {
    pub enum KvResponseData {
        Error { message: String },
        /// Those of the keys that exist; three lists of one length.
        Get { keys: Vec<Bytes>, values: Vec<Bytes>, metadata: Vec<KvMetadata> },
        List { keys: Vec<Bytes>, values: Vec<Bytes>, metadata: Vec<KvMetadata> },
        Put,
        /// Also of a range.
        Delete,
        Drop,
    }
}

schema! {
    pub struct KvMetadata {
        /// The engine's, as text.
        pub version: Bytes,
        pub update_ts: i64,
    }
}

schema! {
    pub struct PreloadedKv {
        pub entries: Vec<PreloadedKvEntry>,
        pub requested_get_keys: Vec<Bytes>,
        pub requested_prefixes: Vec<Bytes>,
    }
}

schema! {
    pub struct PreloadedKvEntry {
        pub key: Bytes,
        pub value: Bytes,
        pub metadata: KvMetadata,
    }
}
