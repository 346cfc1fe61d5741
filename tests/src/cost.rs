//! What a program's processes cost: memory, and processor time.

use std::fs::{read_dir, read_to_string};

use nix::unistd::Pid;

/// KiB.
#[derive(Debug, Clone, Copy, Default)]
pub struct Memory {
    /// With its share of what others use too.
    pub proportional: u64,
    pub resident: u64,
}

/// Of all these processes together.
pub fn memory(pids: &[Pid]) -> Memory {
    let mut sum = Memory::default();
    for pid in pids {
        let text = read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let kib = |key: &str| -> u64 {
            let line = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
            line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
        };
        sum.proportional += kib("Pss:");
        sum.resident += kib("Rss:");
    }
    sum
}

/// Processor time of all threads of these processes so far, nanoseconds.
pub fn processor_time(pids: &[Pid]) -> u64 {
    let of_thread = |path: std::path::PathBuf| -> u64 {
        let text = read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    let threads = |pid: &Pid| read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    pids.iter().flat_map(threads).map(|thread| of_thread(thread.path())).sum()
}
