#!/usr/bin/env bash
# Train with several processes:  tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
#
# GPUS is the number of processes over all nodes, one a GPU (one a core on a
# machine without GPUs, through gloo).
#
# One machine      tools/dist_train.sh configs/r2o/r50_in1k.py 8 --auto-scale-lr
# Several          on each of 16 nodes, with its own NODE_RANK 0 to 15:
#                  NNODES=16 NODE_RANK=0 MASTER_ADDR=node0 [MASTER_PORT=29500] \
#                      tools/dist_train.sh configs/r2o/r50_in1k.py 128
# Slurm            in a batch script (it starts itself on every node), or
#                  srun --nodes=16 --ntasks-per-node=1 --gpus-per-node=8 \
#                      tools/dist_train.sh configs/r2o/r50_in1k.py 128
#                  or tools/slurm_train.sh.
#
# Where GPUS cannot be right it stops and prints the commands to type.
#
# Elastic restart. torchrun starts all processes of a run again when one dies;
# --resume takes them up at the latest checkpoint of the work directory:
#   MAX_RESTARTS=3 tools/dist_train.sh CONFIG 8 --work-dir DIR --resume
# With a meeting point the nodes find each other, without NODE_RANK, and a node
# that was lost may come back or stay away. NNODES=MIN:MAX; GPUS is the number
# of processes of MAX nodes, and RDZV_ID names the run:
#   NNODES=2:4 RDZV_ENDPOINT=node0:29500 RDZV_ID=r2o MAX_RESTARTS=3 \
#       tools/dist_train.sh CONFIG 32 --work-dir DIR --resume --auto-scale-lr
# Under Slurm, `#SBATCH --requeue` and --resume do the same for a lost node.
#
# PYTHON names the interpreter (default: .venv/bin/python, else python).
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
python="${PYTHON:-$root/.venv/bin/python}"
[ -x "$(command -v "$python")" ] || python=python
launch="$root/orl_mm/engine/launch.py"  # of a checkout, else of an installed package
[ -f "$launch" ] || launch="$root/../engine/launch.py"
# -P: modules beside launch.py must not be imported by name.
exec "$python" -P "$launch" "$0" "$root/tools/train.py" "$@"
