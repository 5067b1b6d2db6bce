//! An actor's database: pages that its runner reads and commits, or statements that the engine runs for it.

use bytes::Bytes;

use super::bare::{DecodeError, Reader, Wire, Writer};
use super::schema::schema;

schema! {
    pub struct SqliteGetPages {
        pub actor_id: String,
        pub pgnos: Vec<u32>,
        pub expected_generation: Option<u64>,
        pub expected_head_txid: Option<u64>,
    }
}

schema! {
    pub struct SqliteGetPagesOk {
        pub pages: Vec<SqliteFetchedPage>,
        pub head_txid: Option<u64> where SqliteHead,
    }
}

schema! {
    pub struct SqliteFetchedPage {
        pub pgno: u32,
        /// None for a page beyond the end.
        pub bytes: Option<Bytes>,
    }
}

schema! {
    pub struct SqliteCommit {
        pub actor_id: String,
        pub dirty_pages: Vec<SqliteDirtyPage>,
        pub db_size_pages: u32,
        pub now_ms: i64,
        pub expected_generation: Option<u64>,
        pub expected_head_txid: Option<u64>,
    }
}

schema! {
    pub struct SqliteDirtyPage {
        pub pgno: u32,
        pub bytes: Bytes,
    }
}

schema! {
    /// Of a commit, and of the end of one in stages.
    pub struct SqliteCommitOk {
        pub head_txid: Option<u64> where SqliteHead,
    }
}

schema! {
    pub struct SqliteStageBegin {
        pub actor_id: String,
        pub expected_generation: Option<u64>,
        pub expected_head_txid: Option<u64>,
    }
}

schema! {
    pub struct SqliteStageBeginOk {
        pub txid: u64,
    }
}

schema! {
    pub struct SqliteStageSegment {
        pub actor_id: String,
        pub expected_generation: Option<u64>,
        pub txid: u64,
        pub first_pgno: u32,
        pub dirty_pages: Vec<SqliteDirtyPage>,
    }
}

schema! {
    pub struct SqliteStageSegmentOk {
        pub staged_bytes: u64,
    }
}

schema! {
    pub struct SqliteFinalize {
        pub actor_id: String,
        pub expected_generation: Option<u64>,
        pub txid: u64,
        pub new_db_size_pages: u32,
        pub now_ms: i64,
        pub segment_first_pgnos: Vec<u32>,
    }
}

schema! {
    pub struct SqliteExec {
        /// Its name, whatever the field is called.
        pub namespace_id: String,
        pub actor_id: String,
        pub generation: u64,
        pub sql: String,
    }
}

schema! {
    pub struct SqliteExecOk {
        pub columns: Vec<String>,
        pub rows: Vec<Vec<SqliteValue>>,
    }
}

schema! {
    pub struct SqliteExecute {
        pub namespace_id: String,
        pub actor_id: String,
        pub generation: u64,
        pub sql: String,
        pub params: Option<Vec<SqliteValue>>,
    }
}

schema! {
    pub struct SqliteExecuteBatch {
        pub namespace_id: String,
        pub actor_id: String,
        pub generation: u64,
        pub statements: Vec<SqliteStatement>,
    }
}

schema! {
    pub struct SqliteStatement {
        pub sql: String,
        pub params: Option<Vec<SqliteValue>>,
    }
}

schema! {
    /// What one statement gave, alone or in a batch.
    pub struct SqliteExecuteOk {
        pub columns: Vec<String>,
        pub rows: Vec<Vec<SqliteValue>>,
        pub changes: i64,
        pub last_insert_row_id: Option<i64>,
    }
}

schema! {
    pub enum SqliteValue {
        Null,
        Integer { value: i64 },
        /// An `f64`, big-endian, unlike all other numbers.
        Float { value: [u8; 8] },
        Text { value: String },
        Blob { value: Bytes },
    }
}

schema! {
    /// Versions without a group and a code have only the message.
    pub struct SqliteError {
        pub group: String where SqliteHead else "core".to_owned(),
        pub code: String where SqliteHead else "internal_error".to_owned(),
        pub message: String,
    }
}

/// Every answer is a union of its success and the one error.
impl<T: Wire> Wire for Result<T, SqliteError> {
    fn read(r: &mut Reader) -> Result<Self, DecodeError> {
        let at = r.at();
        match r.uint()? {
            0 => Ok(Ok(T::read(r)?)),
            1 => Ok(Err(SqliteError::read(r)?)),
            tag => Err(r.no_member(at, "an answer about a database", tag)),
        }
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Ok(value) => {
                w.uint(0);
                value.write(w);
            }
            Err(error) => {
                w.uint(1);
                error.write(w);
            }
        }
    }
}
