//! Which statements are refused: those that would leave the database, or change how it is kept.
//!
//! Asked by SQLite while it compiles a statement. Pragmas are refused unless they are named here, so that a new one of a later
//! SQLite is not allowed by accident.

use libsqlite3_sys as sqlite;

/// What SQLite is about to compile a statement for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Within {
    /// A statement as it was given.
    Statement,
    /// A statement of a batch, which is one transaction.
    Batch,
    /// A statement of a transaction that goes on from call to call, and that is not the statement's to end.
    Transaction,
    /// A statement that SQLite itself runs for one that is being run.
    Run,
}

/// Read and set.
const PRAGMAS: &[&str] = &[
    "analysis_limit",
    "application_id",
    "busy_timeout",
    "case_sensitive_like",
    "collation_list",
    "compile_options",
    "count_changes",
    "data_version",
    "defer_foreign_keys",
    "foreign_key_check",
    "foreign_key_list",
    "foreign_keys",
    "freelist_count",
    "full_column_names",
    "function_list",
    "ignore_check_constraints",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "legacy_alter_table",
    "module_list",
    "optimize",
    "page_count",
    "pragma_list",
    "quick_check",
    "recursive_triggers",
    "reverse_unordered_selects",
    "short_column_names",
    "shrink_memory",
    "synchronous",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
];

/// Read only: to set them would change how the pages are laid out, or what this connection may take.
const PRAGMAS_READ: &[&str] = &[
    "auto_vacuum",
    "automatic_index",
    "cache_size",
    "cell_size_check",
    "encoding",
    "journal_mode",
    "journal_size_limit",
    "locking_mode",
    "max_page_count",
    "page_size",
    "query_only",
    "schema_version",
    "secure_delete",
    "temp_store",
    "trusted_schema",
];

const FUNCTIONS_REFUSED: &[&str] = &["fts3_tokenizer", "load_extension"];

/// What is refused, if it is. `first` and `second` are what SQLite says about the action.
pub(crate) fn refused(within: Within, action: i32, first: &str, second: Option<&str>) -> Option<String> {
    match action {
        // VACUUM builds the new database in a temporary one, which lies in memory and is counted. Nothing else that SQLite runs
        // by itself attaches.
        sqlite::SQLITE_ATTACH if within == Within::Run && first.is_empty() => None,
        sqlite::SQLITE_ATTACH => Some("ATTACH (or VACUUM INTO)".to_owned()),
        sqlite::SQLITE_DETACH => Some("DETACH".to_owned()),
        sqlite::SQLITE_TRANSACTION if within == Within::Batch => Some(format!("{first} within a batch, which is one transaction,")),
        sqlite::SQLITE_TRANSACTION if within == Within::Transaction => {
            Some(format!("{first} within a message, which is one transaction,"))
        }
        sqlite::SQLITE_PRAGMA => refused_pragma(first, second),
        sqlite::SQLITE_FUNCTION => {
            let name = second.unwrap_or_default().to_ascii_lowercase();
            FUNCTIONS_REFUSED.contains(&name.as_str()).then(|| format!("the function {name}"))
        }
        // All others work on the database itself.
        _ => None,
    }
}

fn refused_pragma(name: &str, value: Option<&str>) -> Option<String> {
    let name = name.to_ascii_lowercase();
    if PRAGMAS.contains(&name.as_str()) {
        return None;
    }
    if !PRAGMAS_READ.contains(&name.as_str()) {
        return Some(format!("PRAGMA {name}"));
    }
    value.map(|_| format!("setting PRAGMA {name}"))
}
