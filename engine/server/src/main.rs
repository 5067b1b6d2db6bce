//! The binary: the command line, and the allocator that it runs on.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    rivet_engine::cli::main()
}
