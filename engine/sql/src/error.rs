//! What can go wrong with a statement or a database: each says what, how much, and what to do.

use std::fmt;

use libsqlite3_sys as sqlite;

use crate::pages::PagesError;

/// SQLite's own sentences are passed on as they are; programs read them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SqlError {
    /// SQLite refused the statement: syntax, no such table, a constraint. `sqlite_code` is its extended result code.
    Statement {
        message: String,
        sqlite_code: i32,
    },
    /// `execute` was given two or more.
    MultipleStatements,
    /// Not a statement that could be compiled at all.
    ZeroByte {
        at: usize,
    },
    TooManyParameters {
        given: usize,
        taken: usize,
    },
    /// The parameter with this number, counted from 1.
    ParameterTooLarge {
        number: usize,
        bytes: usize,
        bytes_max: usize,
    },
    SqlTooLarge {
        bytes: usize,
        bytes_max: usize,
    },
    /// Inside of SQLite, or in a row of the database.
    ValueTooLarge {
        bytes_max: usize,
    },
    ResultTooLarge {
        bytes_max: usize,
    },
    TooManySteps {
        steps_max: u64,
    },
    TookTooLong {
        ms_max: u64,
    },
    HeapExhausted {
        bytes_max: usize,
    },
    HeldExhausted {
        bytes_max: usize,
    },
    DatabaseFull {
        pages_max: u32,
    },
    /// What statements may not do here.
    Denied {
        what: String,
    },
    /// The pages are not what SQLite ever wrote.
    Corrupt {
        message: String,
    },
    /// A database that SQLite could read, but not on these pages.
    Unsupported {
        what: String,
    },
    Pages(PagesError),
    /// SQLite itself cannot be used in this process.
    Setup {
        cause: String,
    },
}

impl SqlError {
    pub const GROUP: &str = "sqlite";

    /// Stable; for programs.
    pub fn code(&self) -> &'static str {
        match self {
            SqlError::Statement { sqlite_code, .. } if sqlite_code & 0xff == sqlite::SQLITE_CONSTRAINT => "constraint_failed",
            SqlError::Statement { .. } => "statement_failed",
            SqlError::MultipleStatements => "multiple_statements",
            SqlError::ZeroByte { .. } => "zero_byte",
            SqlError::TooManyParameters { .. } => "too_many_parameters",
            SqlError::ParameterTooLarge { .. } => "parameter_too_large",
            SqlError::SqlTooLarge { .. } => "sql_too_large",
            SqlError::ValueTooLarge { .. } => "value_too_large",
            SqlError::ResultTooLarge { .. } => "result_too_large",
            SqlError::TooManySteps { .. } => "too_many_steps",
            SqlError::TookTooLong { .. } => "took_too_long",
            SqlError::HeapExhausted { .. } => "heap_exhausted",
            SqlError::HeldExhausted { .. } => "held_exhausted",
            SqlError::DatabaseFull { .. } => "database_full",
            SqlError::Denied { .. } => "denied",
            SqlError::Corrupt { .. } => "corrupt",
            SqlError::Unsupported { .. } => "unsupported",
            SqlError::Pages(_) => "pages_unreadable",
            SqlError::Setup { .. } => "setup_failed",
        }
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SqlError::Statement { message, .. } => f.write_str(message),
            SqlError::MultipleStatements => f.write_str("sqlite execute only supports a single statement"),
            SqlError::ZeroByte { at } => write!(f, "the SQL has a zero byte at {at}; bind such a value as a parameter"),
            SqlError::TooManyParameters { given, taken } => {
                write!(f, "{given} parameters were given and the statement takes {taken}; leave the others out")
            }
            SqlError::ParameterTooLarge { number, bytes, bytes_max } => {
                write!(f, "parameter {number} has {bytes} bytes and may have {bytes_max}; store it in several rows")
            }
            SqlError::SqlTooLarge { bytes, bytes_max } => {
                write!(f, "the SQL has {bytes} bytes and may have {bytes_max}; bind values as parameters, or divide it")
            }
            SqlError::ValueTooLarge { bytes_max } => {
                write!(f, "a value or a row is larger than {bytes_max} bytes; divide it into several")
            }
            SqlError::ResultTooLarge { bytes_max } => {
                write!(f, "the result takes more than {bytes_max} bytes; read it in parts with LIMIT")
            }
            SqlError::TooManySteps { steps_max } => {
                write!(f, "stopped after {steps_max} steps; give the statement an index, or divide the work")
            }
            SqlError::TookTooLong { ms_max } => {
                write!(f, "stopped after {ms_max} ms; give the statement an index, or divide the work")
            }
            SqlError::HeapExhausted { bytes_max } => {
                write!(f, "SQLite needed more than {bytes_max} bytes of memory; use smaller values, or divide the work")
            }
            SqlError::HeldExhausted { bytes_max } => write!(
                f,
                "what is written and not yet stored, with journal and temporary tables, takes more than {bytes_max} bytes; \
                 use smaller transactions"
            ),
            SqlError::DatabaseFull { pages_max } => {
                write!(f, "the database would have more than {pages_max} pages; delete something first")
            }
            SqlError::Denied { what } => write!(f, "{what} is not available here; the engine decides how the database is kept"),
            SqlError::Corrupt { message } => {
                write!(f, "the database is damaged ({message}); restore it from a backup, or delete it")
            }
            SqlError::Unsupported { what } => {
                write!(f, "the database {what}; rewrite it with 4096-byte pages and journal_mode=delete")
            }
            SqlError::Pages(cause) => write!(f, "a page of the database could not be read: {cause}; check the store"),
            SqlError::Setup { cause } => {
                write!(f, "SQLite cannot be set up: {cause}; nothing else in the process may have used it before")
            }
        }
    }
}

impl std::error::Error for SqlError {}
