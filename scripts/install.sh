#!/usr/bin/env bash
# Installs what building and testing need, from Debian 12's packages. Does nothing, and needs no
# network and no rights, when all of it is there.
#
#   install.sh [--tests]      --tests: also npm and CLIPS, for the tests with other people's servers and engines
set -euo pipefail

packages=(
    g++ cmake ninja-build ccache git python3 pkg-config ca-certificates
    libboost1.81-dev libboost-json1.81-dev libboost-system1.81-dev
    librocksdb-dev libyaml-cpp-dev doctest-dev libssl-dev libcli11-dev libvalijson-dev
    libre2-dev libsodium-dev libxxhash-dev libsqlite3-dev zlib1g-dev openssl
)

case ${1:-} in
    '') ;;
    --tests)
        packages+=(libclips-dev clips)
        # Any other Node serves as well as Debian's.
        if [[ -z $(command -v npm || true) ]]; then packages+=(nodejs npm); fi
        ;;
    *)
        echo "usage: install.sh [--tests]" >&2
        exit 2
        ;;
esac

missing=()
for package in "${packages[@]}"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    # pkg-config is a name that pkgconf answers to as well.
    if [[ $package == pkg-config && -n $(command -v pkg-config || true) ]]; then status=installed; fi
    if [[ $status != installed ]]; then missing+=("$package"); fi
done
if (( ${#missing[@]} == 0 )); then exit 0; fi

as_root=()
if (( EUID != 0 )); then
    if [[ -z $(command -v sudo || true) ]]; then
        echo "install.sh: these packages are missing, and installing them needs root or sudo: ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "installing ${missing[*]}"
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
