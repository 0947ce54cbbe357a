#!/usr/bin/env bash
# Makes the results of this directory again, one thread, two minutes on one core.
#   reports/traces/make.sh OUT
set -euo pipefail
out=${1:?name a directory for the results}
export OMP_NUM_THREADS=1
traces=$(mktemp -d)
trap 'rm -rf "$traces"' EXIT
for model in lstm_cell lstm_fused lstm tcn; do
  for shape in "1 64" "32 256"; do
    read -r batch hidden <<<"$shape"
    benchsuite trace "$model" -a seq_len=512 -a batch_size="$batch" -a hidden_size="$hidden" -o "$traces"
  done
done
# The explanations and the figures of memory are small; the traces themselves are not kept.
for case in "$traces"/*/; do
  mkdir -p "$out/$(basename "$case")"
  cp "$case"/explanation.json "$case"/memory.svg "$out/$(basename "$case")"
done
