#!/usr/bin/env bash
# Test with several processes:  tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
#
# GPUS is the number of processes over all nodes; nodes, Slurm and PYTHON as in
# tools/dist_train.sh.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-$root/.venv/bin/python}"
[ -x "$(command -v "$python")" ] || python=python
exec "$python" -P "$root/orl_mm/engine/launch.py" "$0" "$root/tools/test.py" "$@"
