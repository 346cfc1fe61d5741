# How tests/image makes a Debian root file system. Sourced after common.sh.

suite=trixie

# The mirror that this machine already uses for Debian itself; apt knows it once its lists have been fetched.
mirror() {
    local uri
    uri=${TRIVET_MIRROR:-$(known_mirror)}
    if [[ -z $uri ]]; then
        apt-get -q update >/dev/null 2>&1 || true
        uri=$(known_mirror)
    fi
    [[ -n $uri ]] || die "this machine's apt names no Debian mirror: set TRIVET_MIRROR to one"
    printf '%s\n' "$uri"
}

known_mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 2>/dev/null | sed -n 1p
}

# The machine's own settings for reaching it (proxies and the like), in the form that apt reads.
apt_settings() { apt-config dump | grep -E '^Acquire::(http|https)::' || true; }

# bootstrap TREE PACKAGE…: a minimal system with these packages, without what only people read, and without the compiler
# that PostgreSQL could do some queries with (160 MB).
bootstrap() {
    local tree=$1 options uri; shift
    options=$(apt_settings)
    uri=$(mirror)
    mmdebstrap --variant=minbase --include="$(IFS=,; echo "$*")" --mode=root \
        ${options:+--aptopt="$options"} --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/lib/postgresql/*/lib/bitcode/*' \
        --dpkgopt='path-exclude=/usr/lib/*/libLLVM*' --dpkgopt='path-exclude=/usr/lib/*/libz3*' \
        "$suite" "$tree" "$uri"
}

# made DIRECTORY FUNCTION: runs FUNCTION with a new directory, which then becomes DIRECTORY. Others of its kind that are
# older than a day go; a younger one may be in use.
made() {
    local directory=$1 kind
    kind=$(basename "$directory"); kind=${kind%%-*}
    mkdir -p "$(dirname "$directory")"
    building=$(mktemp -d "$(dirname "$directory")/building.XXXXXX")
    trap 'end_child; rm -rf "$building"' EXIT
    trap 'exit 130' INT TERM
    chmod 755 "$building"
    "$2" "$building"
    find "$(dirname "$directory")" -mindepth 1 -maxdepth 1 -name "$kind-*" -mmin +1440 -exec rm -rf {} +
    mv "$building" "$directory"
    trap - EXIT INT TERM
}
