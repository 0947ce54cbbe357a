#!/usr/bin/env bash
# Makes the report of this directory again: some minutes on one core that is left alone.
#   reports/linear/make.sh OUT
set -euo pipefail
out=${1:?name a directory for the report}
benchsuite run linear
study=${BENCHSUITE_HOME:-.benchsuite}/linear
mkdir -p "$out"
cp "$study"/records.jsonl "$out"
benchsuite report "$out" -o "$out" --compress
rm "$out"/records.jsonl # records.parquet has every row and every sample
