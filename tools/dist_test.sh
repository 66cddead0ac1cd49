#!/usr/bin/env bash
# Test with several processes:  tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
#
# GPUS is the total number of processes over all nodes. For several nodes, Slurm and PYTHON, see
# tools/dist_train.sh.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-$root/.venv/bin/python}"
[ -x "$(command -v "$python")" ] || python=python
launch="$root/orl_mm/engine/launch.py"  # of a checkout, else of an installed package
[ -f "$launch" ] || launch="$root/../engine/launch.py"
# -P: modules beside launch.py must not be imported by name.
exec "$python" -P "$launch" "$0" "$root/tools/test.py" "$@"
