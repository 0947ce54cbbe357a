#!/usr/bin/env bash
# Makes the report of this directory again: two or three minutes on one core that is left alone.
#   reports/streaming/make.sh OUT
set -euo pipefail
out=${1:?name a directory for the report}
benchsuite run stream
study=${BENCHSUITE_HOME:-.benchsuite}/stream
mkdir -p "$out"
cp "$study"/records.jsonl "$out"
benchsuite report "$out" -o "$out" --compress
rm "$out"/records.jsonl # records.parquet has every row and every sample
