#!/usr/bin/env bash
# Makes the report of this directory again: some 35 minutes on one core that is left alone.
#   reports/default/make.sh OUT
set -euo pipefail
out=${1:?name a directory for the report}
benchsuite run default --trace
study=${BENCHSUITE_HOME:-.benchsuite}/default
mkdir -p "$out/traces"
# The explanations are small; the traces themselves are not kept.
for case in "$study"/traces/*/; do
  mkdir -p "$out/traces/$(basename "$case")"
  cp "$case"/explanation.json "$out/traces/$(basename "$case")"
done
cp "$study"/records.jsonl "$out"
benchsuite report "$out" -o "$out" --compress
rm "$out"/records.jsonl # records.parquet has every row and every sample
