# Shared by the scripts of tests/: progress lines, a heartbeat for long steps, the cache directory. Sourced, never run.

SECONDS=${TRIVET_ELAPSED:-0}    # a script started by another goes on with its clock

# One progress line, with the time since the start.
say() { printf '[%3d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

# The same, to standard error, and the end.
die() { say "FAILED: $*" >&2; exit 1; }

# Runs "$@" in a process group of its own, so that a trap can end the whole of it with end_child.
child=
attended() {
    local status=0
    set -m; "$@" </dev/null & child=$!; set +m
    wait "$child" || status=$?
    child=
    return "$status"
}

end_child() {
    [[ -n $child ]] || return 0
    kill -TERM -- "-$child" 2>/dev/null || true
    wait "$child" 2>/dev/null || true
    local tries
    for ((tries = 0; tries < 100; tries++)); do
        pgrep -g "$child" -r R,S,D,T >/dev/null || return 0
        sleep 0.1
    done
    kill -KILL -- "-$child" 2>/dev/null || true
}

# Runs "$@" with its output in the file $1, with a sign of life every 15 s; shows the output's end if it fails.
quietly() {
    local log=$1 what=$2 status=0 began=$SECONDS next=$((SECONDS + 15)); shift 2
    say "$what …"
    set -m; "$@" >"$log" 2>&1 </dev/null & child=$!; set +m
    while kill -0 "$child" 2>/dev/null; do
        if ((SECONDS >= next)); then say "    … $what: $((SECONDS - began)) s"; next=$((SECONDS + 15)); fi
        sleep 0.2
    done
    wait "$child" || status=$?
    child=
    ((status == 0)) || { say "FAILED ($status): $what; the end of $log:" >&2; tail -n 40 "$log" >&2; }
    return "$status"
}

# Where images are kept between runs, outside the tree.
cache_dir() { printf '%s\n' "${TRIVET_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/trivet}"; }

need_root() { [[ $(id -u) == 0 ]] || { echo "$0: needs root: network namespaces, mounts and machines" >&2; exit 1; }; }

# Whether a process runs: one that only waits to be reaped does not.
runs() { [[ -e /proc/$1 ]] && ! grep -q '^State:[[:space:]]*[ZX]' "/proc/$1/status" 2>/dev/null; }

# What tests that were killed left behind: their namespaces (trv-PID-…) with every process in them, mounts, directories
# and control groups. Those of running tests stay.
sweep() {
    local name pid groups
    groups=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
    for name in $(ls /run/netns 2>/dev/null | grep -E '^trv-[0-9]+-' || true); do
        pid=${name#trv-}; pid=${pid%%-*}
        ! runs "$pid" || continue
        ip netns pids "$name" | xargs -r kill -9 2>/dev/null || true
        ip netns del "$name" 2>/dev/null || true
    done
    for name in $(ls /run/trivet-lab 2>/dev/null || true); do
        pid=${name#trv-}; pid=${pid%%-*}
        ! runs "$pid" || continue
        awk -v under="/run/trivet-lab/$name/" 'index($2, under) == 1 {print $2}' /proc/mounts | xargs -r -n1 umount -l
        rm -rf "/run/trivet-lab/$name"
    done
    for name in $(ls -d "$groups"/trv-* 2>/dev/null || true); do
        pid=${name##*/trv-}; pid=${pid%%-*}
        runs "$pid" || find "$name" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done
}
