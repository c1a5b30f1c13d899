# What the tests share that take other people's programs from npm. They ask for STELE_NPM, the folder in
# which the packages stay between builds.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "$project"

for program in node npm; do
    if [[ -z $(command -v $program || true) ]]; then
        echo "skipped: there is no $program on this machine; scripts/install.sh --tests installs it"
        exit 77
    fi
done

packages=${STELE_NPM:-$project/build/npm}/$(basename "$0" .sh)
mkdir -p "$packages"
