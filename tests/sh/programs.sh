# Builds a program of the lab (tests/src/bin) and the daemons, and runs it where the kernel has IPVS: here, or in the
# virtual machine. Sourced after common.sh and tools.sh; `profile` chooses how it is built.

profile=dev
work=$(mktemp -d "${TMPDIR:-/var/tmp}/trivet-lab.XXXXXX")

finish_program() {
    local status=$?
    trap - EXIT INT TERM
    end_child
    sweep
    rm -rf "$work"
    exit "$status"
}
trap finish_program EXIT
trap 'exit 130' INT TERM

have_ipvs() { modprobe ip_vs 2>/dev/null; ipvsadm -Ln >/dev/null 2>&1; }

run_program() {
    local name=$1 built; shift
    install_tools
    find_cargo
    sweep
    built=$PWD/target/$([[ $profile == dev ]] && echo debug || echo "$profile")
    say "building the daemons and $name (profile $profile)"
    attended cargo build --locked --profile "$profile" -p vrrpd -p ipvsd -p checkd -p trivet-tests --bin vrrpd --bin ipvsd --bin checkd --bin "$name"
    if have_ipvs; then
        say "this kernel has IPVS: running in network namespaces"
        attended "$built/$name" "$@"
        return
    fi
    say "this kernel has no IPVS: running in a virtual machine"
    mkdir -p "$work/sbin"
    cp "$built"/{vrrpd,ipvsd,checkd} "$work/sbin"
    TRIVET_BIN=/payload/sbin TRIVET_FIXTURES=/payload/fixtures TRIVET_ELAPSED=$SECONDS \
        attended "$here/vm" --with "$work/sbin" --with "$here/fixtures" "$built/$name" "$@"
}
