#!/usr/bin/env bash
# Makes the results of this directory again, one thread, about an hour and a half on one core.
#   reports/learning/make.sh OUT
set -euo pipefail
out=${1:?name a directory for the results}
export OMP_NUM_THREADS=1
train() { # NAME TASK MODEL… OPTION…
  local name=$1
  shift
  benchsuite train "$@" -o "$out/$name" --json >"$out/$name.json"
}
mkdir -p "$out"
train sine-lstm sine lstm
train sine-lstm_cell sine lstm_cell
small=(-a match=params -a hidden_size=32)
for lag in 8 16 32 64 128 256 512; do
  train "delay-$lag" delay tcn_fixed tcn lstm gru -t lag=$lag -a seq_len=$((2 * lag)) "${small[@]}" --steps 600
  train "delay-chrono-$lag" delay lstm gru -t lag=$lag -a seq_len=$((2 * lag)) "${small[@]}" --steps 600 --chrono
done
for lag in 48 56 60 61; do
  train "delay-$lag" delay tcn_fixed -t lag=$lag -a seq_len=128 "${small[@]}" --steps 600
done
train adding adding lstm gru tcn -a seq_len=200 -a match=params -a hidden_size=64 --steps 1500
train copy copy lstm gru tcn -a seq_len=120 -a match=params -a hidden_size=64 --steps 1000
train sine_mix sine_mix lstm gru tcn tcn_fixed conv lstm_fused lstm_cell lstm_peephole \
  lstm_peephole_diag gru_cell "${small[@]}" --steps 300
for lag in 8 16 32; do
  field=(lstm gru tcn --task delay -t lag=$lag -a seq_len=$((2 * lag)) "${small[@]}" --json)
  benchsuite field "${field[@]}" -o "$out/field-$lag-before" >"$out/field-$lag-before.json"
  benchsuite field "${field[@]}" --train --steps 600 -o "$out/field-$lag-after" >"$out/field-$lag-after.json"
done
