//! Runs a program and reads from the operating system what it took.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use datafusion::common::exec_err;
use datafusion::error::Result;
use wait4::Wait4;

/// What a process took.
#[derive(Debug, Clone, Copy)]
pub struct Taken {
    /// User and system time of all its threads.
    pub cpu: Duration,
    /// From start to end.
    pub elapsed: Duration,
    /// Peak resident set.
    pub rss_bytes: u64,
}

/// Runs `command` to its end; what it prints is dropped unless it fails.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures the real time")]
pub fn run(command: &mut Command) -> Result<Taken> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        std::io::Read::read_to_string(&mut stderr, &mut said)?;
    }
    let used = child.wait4()?;
    if !used.status.success() {
        return exec_err!("{command:?} failed:\n{said}");
    }
    let rusage = used.rusage;
    Ok(Taken { cpu: rusage.utime + rusage.stime, elapsed: start.elapsed(), rss_bytes: rusage.maxrss })
}
