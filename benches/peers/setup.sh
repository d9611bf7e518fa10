#!/usr/bin/env bash
# Makes a Python virtual environment with the systems to compare with, at the versions of requirements.txt.
#
#     benches/peers/setup.sh [FOLDER]        FOLDER: where; target/peers-venv of the project by default
#
# Packages come from the index that pip is set up for (torch with what it needs takes several gigabytes). A
# package that cannot be installed is named; the comparison then lists its system as missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:-$here/../../target/peers-venv}
python=${PYTHON:-python3}

"$python" -m venv "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet)
if "${pip[@]}" -r "$here/requirements.txt"; then
    echo "all systems are installed in $venv"
    exit
fi
# One is enough to refuse them all, so one after the other.
missing=()
while read -r package; do
    "${pip[@]}" -c "$here/requirements.txt" "$package" || missing+=("$package")
done < <(grep -v '^#' "$here/requirements.txt")
echo "installed in $venv, except for: ${missing[*]:-nothing}" >&2
