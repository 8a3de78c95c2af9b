#!/bin/bash
# What a borrowed GPU should measure within eight minutes.
#
#   benchmarks/gpu.sh OUT [MINUTES]
#
# The machine needs Python with jax, flax, optax, orbax-checkpoint, NumPy,
# sentencepiece, safetensors, rich, torch, transformers and peft, but neither
# TensorFlow nor seqio. OUT gets parity.log, and a log for each T5 with the table
# and the notes: ratio to PEFT, use of the GPU, memory. What takes longer than
# its share of the time is ended, and the rest goes on.
# MODELS, ROWS, DTYPE and OPTIONS (of benchmarks/run.py) are variables.
set -uo pipefail

out=$1 minutes=${2:-8}
cd "$(dirname "$0")/.."
export PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
mkdir -p "$out"
read -ra models <<<"${MODELS:-t5_base t5_large}"
read -ra rows <<<"${ROWS:-teach distill adapt predict}"
read -ra options <<<"${OPTIONS:---pairs 3 --steps 10}"
dtype=${DTYPE:-bfloat16}
end=$((SECONDS + 60 * minutes))
failed=0

# Runs a command for at most the given share of the time that is left.
run() {
  local share=$1 log=$2
  shift 2
  local seconds=$(((end - SECONDS) * share / 100))
  if [ "$seconds" -lt 1 ]; then
    echo "no time left for: $*" | tee -a "$log"
    failed=1
    return
  fi
  timeout "$seconds" "$@" 2>&1 | tee -a "$log" || {
    echo "ended with code $?: $*" | tee -a "$log"
    failed=1
  }
}

run 20 "$out/parity.log" python3 benchmarks/parity.py \
  --model "${models[0]}" --dtype "$dtype"
for model in "${models[@]}"; do
  run 50 "$out/$model.log" python3 benchmarks/run.py \
    --only "${rows[@]}" --model "$model" --dtype "$dtype" "${options[@]}"
done
# torch.compile for the peer takes minutes, so it gets what is left.
run 100 "$out/${models[0]}_compiled.log" python3 benchmarks/run.py --compile \
  --only "${rows[0]}" --model "${models[0]}" --dtype "$dtype" "${options[@]}"
exit $failed
