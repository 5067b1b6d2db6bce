//! Every number that bounds what a statement or a database may take.

/// The only page size: what the store keeps, and what the clients that run SQLite themselves use.
pub const PAGE_BYTES: usize = 4096;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// One bound value.
pub const BIND_BYTES_MAX: usize = 128 * KIB;

/// Longest pattern of LIKE and GLOB: comparing takes up to the product of both lengths, and nothing can interrupt it.
pub(crate) const PATTERN_BYTES_MAX: usize = KIB;
/// Of trigger in trigger, and of expression in expression: each takes stack.
pub(crate) const TRIGGER_DEPTH_MAX: u32 = 100;
pub(crate) const EXPRESSION_DEPTH_MAX: u32 = 250;
/// Instructions of one compiled statement: bounds its memory, beside the heap.
pub(crate) const PROGRAM_STEPS_MAX: u32 = 1_000_000;
/// SQLite's steps between two looks at the limits.
pub(crate) const STEPS_PER_LOOK: u32 = 1000;

/// What one [`Database`](crate::Database) may take. A statement that is stopped has changed nothing; if it writes, SQLite may roll
/// back its whole transaction, which [`Database::in_transaction`](crate::Database::in_transaction) shows. All of a call: `exec` and `execute_batch` count all their statements together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Size of the database. One that is larger already can be read, and made smaller.
    pub database_pages_max: u32,
    /// In memory for the database: pages written and not yet [settled](crate::Database::settle), the journal, temporary
    /// tables, large sorts.
    pub held_bytes_max: usize,
    /// What SQLite may allocate during one call, beyond what it had before.
    pub heap_bytes_max: usize,
    /// Pages that SQLite keeps in memory between calls.
    pub cache_bytes_max: usize,
    /// What a call returns, as it lies in memory: contents, and 40 bytes for each value.
    pub result_bytes_max: usize,
    /// One value or one row inside SQLite. Bounds also the longest work that nothing can interrupt: a single `instr` or `replace`
    /// takes up to the product of its arguments' lengths; measured, 6 s for 1 MB and half of it, a quarter for half the limit.
    pub value_bytes_max: usize,
    /// The text of a call.
    pub sql_bytes_max: usize,
    /// Instructions of SQLite's virtual machine, 10 to 50 million a second.
    pub steps_max: u64,
    /// By the caller's clock, for a call.
    pub time_ms_max: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            database_pages_max: 10 * 1024 * (MIB / PAGE_BYTES) as u32,
            held_bytes_max: 64 * MIB,
            heap_bytes_max: 64 * MIB,
            cache_bytes_max: MIB,
            result_bytes_max: 16 * MIB,
            value_bytes_max: MIB,
            sql_bytes_max: MIB,
            steps_max: 500_000_000,
            time_ms_max: 20_000,
        }
    }
}

const _: () = assert!(BIND_BYTES_MAX < MIB, "what can be bound must fit in a row");
