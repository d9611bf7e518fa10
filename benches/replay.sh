#!/usr/bin/env bash
# Process replay: trains, tags and scores with two programs alike, and compares what they leave.
#
#     benches/replay.sh OLD NEW TRAIN DEV [ISA ...]
#
# OLD and NEW are programs `elman`, for example of the commit before a change and of the one after; TRAIN and DEV are
# CoNLL files. For each instruction set (by default those of this CPU that fuse) and each way to train, a line has the
# SHA-256 of the weights, the tags and the scores. The exit code is 1 if a line differs.
set -euo pipefail
[ $# -ge 4 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
old=$1 new=$2 train=$3 dev=$4
shift 4
if [ $# -eq 0 ]; then
  set -- avx2
  if grep -qw avx512_vbmi2 /proc/cpuinfo; then set -- avx2 avx512; fi
  case "$(uname -m)" in aarch64 | arm64) set -- neon ;; esac
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The hashes of what a program leaves: weights, tags, scores.
replay() {
  local program=$1
  shift
  rm -rf "$work/model"
  "$program" train --train "$train" --dev "$dev" --model "$work/model" "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
  { sha256sum <"$work/model/weights.safetensors"
    "$program" tag --model "$work/model" --format conll "$dev" | sha256sum
    "$program" tag --model "$work/model" --format conll --scores "$dev" | sha256sum; } | cut -c1-16 | tr '\n' ' '
}

differs=0
for isa in "$@"; do
  while read -r options; do
    # shellcheck disable=SC2086 # options are words
    before=$(replay "$old" --isa "$isa" $options) after=$(replay "$new" --isa "$isa" $options)
    if [ "$before" = "$after" ]; then result=same; else result=DIFFERENT differs=1; fi
    printf '%-9s %-8s %s| %s| %s\n' "$result" "$isa" "$before" "$after" "$options"
  done <<'WAYS'
--epochs 2
--epochs 2 --network jordan
--epochs 1 --by-word --hidden 100
--epochs 3 --hidden 65 --embed 20 --window 9 --digits
WAYS
done
exit $differs
