# What tests/run and tests/demo need from Debian and from Rust, and how to get it. Sourced after common.sh.

tools=(
    gcc libc6-dev                                               # cargo links with it
    iproute2 ipvsadm dbus keepalived nginx-light tcpdump tshark procps nftables iputils-ping openssl ca-certificates # the lab on this machine, and its peers
    systemd systemd-container                                   # busctl, systemd-nspawn
    mmdebstrap e2fsprogs qemu-system-x86                        # the image and its virtual machine
    debhelper dpkg-dev mandoc                                   # the package, and whether its manual is well-formed
)

# Installs what is missing, and says so first. Services that Debian would start or enable with it stay off.
install_tools() {
    local missing=() tool
    for tool in "${tools[@]}"; do
        dpkg-query -W -f '${Status}' "$tool" 2>/dev/null | grep -q 'ok installed' || missing+=("$tool")
    done
    ((${#missing[@]})) || { say "everything needed from Debian is installed"; return; }
    command -v apt-get >/dev/null || die "this needs Debian's packages: ${missing[*]}"
    say "installing from Debian: ${missing[*]}"
    local log; log=$(mktemp)
    without_services "$log" "${missing[@]}" || { rm -f "$log"; die "apt could not install them; see above"; }
    rm -f "$log"
}

without_services() {
    local log=$1 policy=/usr/sbin/policy-rc.d status=0 ours= service; shift
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"; ours=1
    fi
    quietly "$log" "apt-get update" apt-get -q update || true
    DEBIAN_FRONTEND=noninteractive quietly "$log" "apt-get install" apt-get -qy install --no-install-recommends "$@" || status=$?
    [[ -z $ours ]] || rm -f "$policy"
    for service in nginx keepalived; do
        [[ " $* " != *" $service"* ]] || systemctl disable "$service" >/dev/null 2>&1 || true
    done
    return "$status"
}

# A cargo of at least this version, in PATH.
find_cargo() {
    local least=1.89 found
    export PATH=$PATH:${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
    if new_enough "$least"; then components; return; fi
    found=$(cargo --version 2>/dev/null || echo "no cargo")
    if apt-cache policy rustup 2>/dev/null | grep -q 'Candidate: [0-9]'; then
        say "installing Rust with Debian's rustup (there is $found; Trivet needs $least)"
        DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends rustup >/dev/null
        rustup toolchain install stable --profile minimal --component clippy,rustfmt
        rustup default stable
        new_enough "$least" && return
    fi
    die "Trivet needs Rust $least or newer, and there is $found. See https://rustup.rs, then run this again"
}

# rustup's minimal profile comes without these two.
components() {
    cargo clippy --version >/dev/null 2>&1 && cargo fmt --version >/dev/null 2>&1 && return
    say "adding clippy and rustfmt with rustup"
    rustup component add clippy rustfmt || die "cargo clippy and cargo fmt are needed: install them as you installed cargo"
}

new_enough() {
    local version
    version=$(cargo --version 2>/dev/null | awk '{print $2}') || return 1
    [[ -n $version && $(printf '%s\n' "$1" "$version" | sort -V | head -n 1) == "$1" ]]
}
