//! The command line of SPHERE: what was asked for, and how did it end?
//!
//! Results go to stdout, progress and errors to stderr. Exit code 0: done; 1: failed; 2: wrong usage or input.

mod cli;

use clap::Parser;
use std::process::ExitCode;

/// 100,000 models between the messages that pass them by: with glibc's allocator the forecaster takes twice the memory.
/// Not in builds for tests: some run under libfaketime, which asks for memory while this allocator, starting, asks it for the
/// time, and neither ever answers.
#[cfg(not(any(target_env = "msvc", debug_assertions)))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    // Before any TLS client is made; an error says that there is a provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = cli::Cli::parse();
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cli::CliError::Input(message)) => {
            eprintln!("error: {message}");
            ExitCode::from(2)
        }
        Err(cli::CliError::Failed(error)) => {
            eprintln!("error: {error:#}");
            ExitCode::from(1)
        }
        // Whoever reads our output has seen enough (`sphere … | head`).
        Err(cli::CliError::OutputClosed) => ExitCode::SUCCESS,
    }
}
