#!/usr/bin/env bash
# Train with several processes:  tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
#
# GPUS is the total number of processes over all nodes, one per GPU (without GPUs: one per core,
# with gloo).
#
# One machine      tools/dist_train.sh configs/r2o/r50_in1k.py 8 --auto-scale-lr
# Several          on each of 16 nodes, with NODE_RANK from 0 to 15:
#                  NNODES=16 NODE_RANK=0 MASTER_ADDR=node0 [MASTER_PORT=29500] \
#                      tools/dist_train.sh configs/r2o/r50_in1k.py 128
# Slurm            in a batch script (it starts on every node by itself), or
#                  srun --nodes=16 --ntasks-per-node=1 --gpus-per-node=8 \
#                      tools/dist_train.sh configs/r2o/r50_in1k.py 128
#                  or tools/slurm_train.sh
#
# An impossible value of GPUS is an error that prints the commands to use instead.
#
# Elastic restart. torchrun restarts all processes of a run when one dies; with --resume they
# continue from the latest checkpoint in the work directory:
#   MAX_RESTARTS=3 tools/dist_train.sh CONFIG 8 --work-dir DIR --resume
# With a rendezvous endpoint, NODE_RANK is not needed, and the run continues whether or not a lost
# node comes back. NNODES=MIN:MAX; GPUS is the number of processes of MAX nodes, and RDZV_ID is an
# identifier of the run:
#   NNODES=2:4 RDZV_ENDPOINT=node0:29500 RDZV_ID=r2o MAX_RESTARTS=3 \
#       tools/dist_train.sh CONFIG 32 --work-dir DIR --resume --auto-scale-lr
# Under Slurm, use `#SBATCH --requeue` and --resume for lost nodes.
#
# PYTHON is the interpreter (default: .venv/bin/python if it exists, otherwise python).
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-$root/.venv/bin/python}"
[ -x "$(command -v "$python")" ] || python=python
launch="$root/orl_mm/engine/launch.py"  # of a checkout, else of an installed package
[ -f "$launch" ] || launch="$root/../engine/launch.py"
# -P: modules beside launch.py must not be imported by name.
exec "$python" -P "$launch" "$0" "$root/tools/train.py" "$@"
