#!/bin/bash
# Pretrains the T5 on a borrowed GPU within a few minutes.
#
#   benchmarks/pretrain_gpu.sh DATA OUT [MINUTES]
#
# DATA is the folder that `python -m mpt_jax.tasks.pretraining.packed.gather --data DATA`
# wrote, about 35 MB, to be carried along. The machine needs Python with jax,
# flax, optax and NumPy. OUT gets checkpoint.npz every two minutes, the log, and
# at the end the T5 in OUT/t5. Where the way back has a limit for a file, set
# PART_BYTES: files above it are cut into parts, which `cat` joins again.
# More options of benchmarks/pretrain.py follow in the variable OPTIONS.
set -euo pipefail

data=$1 out=$2 minutes=${3:-8}
cores=$(nproc)
cd "$(dirname "$0")/.."
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$out"

# The run is kept apart from OUT: its checkpoint is too large to come back.
run=${RUN_FOLDER:-$out/run}
# shellcheck disable=SC2086
python3 benchmarks/pretrain.py --data "$data" --out "$run" \
  --minutes "$minutes" --steps 1000000 --rows 128 --dtype bfloat16 \
  --save_seconds 120 --workers "$((cores > 2 ? cores - 2 : 1))" \
  ${OPTIONS:-} | tee "$out/pretraining.log"

cp "$run/metrics.jsonl" "$run/settings.json" "$out/"
python3 benchmarks/pretrain.py --data "$data" --out "$run" --export "$out/t5"
if [ -n "${PART_BYTES:-}" ]; then
  find "$out/t5" -type f -size +"${PART_BYTES}"c | while read -r file; do
    split -b "$PART_BYTES" "$file" "$file.part"
    rm "$file"
  done
fi
