#!/usr/bin/env bash
# Makes the results of this directory again: some minutes of compiling and measuring on one core that
# is left alone. A C++ compiler and `pip install 'benchsuite[engines]'` are needed.
#   reports/ladder/make.sh OUT
set -euo pipefail
out=${1:?name a directory for the report}
mkdir -p "$out"
status=0
benchsuite run ladder || status=$? # 1: some compiled for longer than their limit, which is a row
[ "$status" -le 1 ]
cp "${BENCHSUITE_HOME:-.benchsuite}"/ladder/records.jsonl "$out"
benchsuite report "$out" -o "$out" --compress
for mathematics in lstm gru tcn; do
  benchsuite ladder "$mathematics" --study "$out"/records.jsonl --json >"$out/ladder-$mathematics.json"
  COLUMNS=100 benchsuite ladder "$mathematics" --study "$out"/records.jsonl >"$out/ladder-$mathematics.txt"
done
rm "$out"/records.jsonl # records.parquet has every row and every sample
