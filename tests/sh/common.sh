# Shared by the scripts of tests/: progress lines, a heartbeat for long steps, the cache directory. Sourced, never run.

SECONDS=${TRIVET_ELAPSED:-0}    # a script started by another goes on with its clock

# One progress line, with the time since the start.
say() { printf '[%3d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"; }

# The same, to standard error, and the end.
die() { say "FAILED: $*" >&2; exit 1; }

# Runs "$@" with its output in the file $1, with a sign of life every 15 s; shows the output's end if it fails.
# The process is left in heartbeat_pid while it runs, so that a trap can end it.
heartbeat_pid=
quietly() {
    local log=$1 what=$2 status=0 began=$SECONDS next=$((SECONDS + 15)); shift 2
    say "$what …"
    "$@" >"$log" 2>&1 </dev/null & heartbeat_pid=$!
    while kill -0 "$heartbeat_pid" 2>/dev/null; do
        if ((SECONDS >= next)); then say "    … $what: $((SECONDS - began)) s"; next=$((SECONDS + 15)); fi
        sleep 0.2
    done
    wait "$heartbeat_pid" || status=$?
    heartbeat_pid=
    ((status == 0)) || { say "FAILED ($status): $what; the end of $log:" >&2; tail -n 40 "$log" >&2; }
    return "$status"
}

# Where images are kept between runs, outside the tree.
cache_dir() { printf '%s\n' "${TRIVET_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/trivet}"; }

need_root() { [[ $(id -u) == 0 ]] || { echo "$0: needs root: network namespaces, mounts and machines" >&2; exit 1; }; }
