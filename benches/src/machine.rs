use std::path::Path;
#[cfg(feature = "ours")]
use std::time::Instant;
use std::{fs, io};

use serde_json::{Value, json};

/// What a report says about the machine: `cpu`, `cores`, `system`, and `load`, the average of the last minute
/// where the system tells.
pub fn machine() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model =
        info.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(':'));
    json!({
        "cpu": model.map_or(std::env::consts::ARCH, |(_, name)| name.trim()),
        "cores": std::thread::available_parallelism().map_or(1, usize::from),
        "system": format!("{} {}", std::env::consts::OS, read("/proc/sys/kernel/osrelease").trim()),
        "load": read("/proc/loadavg").split(' ').next().and_then(|load| load.parse::<f64>().ok()),
    })
}

/// Writes a file, whole or not at all.
///
/// # Errors
/// The file cannot be written; the message names it.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    fs::write(&temporary, text).map_err(named)?;
    fs::rename(&temporary, path).map_err(named)
}

/// Seconds of one call: the least of at least three runs, each of at least a millisecond, since whatever else the
/// machine does only slows.
#[cfg(feature = "ours")]
pub fn least_seconds(budget: f64, call: impl FnMut()) -> f64 {
    let origin = Instant::now();
    least(budget, || origin.elapsed().as_secs_f64(), call)
}

/// The same in seconds of this thread on a core, where the system tells: other work on the machine then changes
/// little even if the call is long.
#[cfg(feature = "ours")]
pub fn least_cpu_seconds(budget: f64, call: impl FnMut()) -> f64 {
    #[cfg(unix)]
    return least(
        budget,
        || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
            time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
        },
        call,
    );
    #[cfg(not(unix))]
    least_seconds(budget, call)
}

#[cfg(feature = "ours")]
fn least(budget: f64, now: impl Fn() -> f64, mut call: impl FnMut()) -> f64 {
    let (mut calls, mut runs) = (1u32, 0);
    let begin = Instant::now();
    let mut best = f64::INFINITY;
    loop {
        let start = now();
        for _ in 0..calls {
            call();
        }
        let run = now() - start;
        if run < 1e-3 && calls < 1 << 28 {
            calls *= 2;
            continue;
        }
        best = best.min(run / f64::from(calls));
        runs += 1;
        if runs >= 3 && begin.elapsed().as_secs_f64() > budget {
            return best;
        }
    }
}
