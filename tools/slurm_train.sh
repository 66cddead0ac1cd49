#!/usr/bin/env bash
# Train under Slurm:  tools/slurm_train.sh PARTITION JOB CONFIG WORK_DIR [arguments of tools/train.py]
#
#   GPUS=8            processes over all nodes
#   GPUS_PER_NODE=8   processes per node (at most GPUS)
#   CPUS_PER_TASK=5   cores per process
#   SRUN_ARGS=...     additional arguments of srun
#
# Each node runs one task, in which tools/dist_train.sh starts the processes of the node with
# torchrun. Its header describes how to restart a run.
set -euo pipefail
if [ $# -lt 4 ]; then
    echo "usage: $0 PARTITION JOB CONFIG WORK_DIR [arguments], with GPUS=8 GPUS_PER_NODE=8" >&2
    exit 2
fi
partition=$1 job=$2 config=$3 work_dir=$4
shift 4
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
[ "$gpus" -ge "$per_node" ] || per_node=$gpus
if [ $((gpus % per_node)) -ne 0 ]; then
    echo "$0: GPUS=$gpus is not a multiple of GPUS_PER_NODE=$per_node" >&2
    exit 2
fi
if [ ! -f "$config" ] && [[ $config != *::* ]]; then  # package::path is a config in a package
    echo "$0: config '$config' does not exist" >&2
    exit 2
fi
command -v srun >/dev/null || {
    echo "$0: srun not found; run this on a login node of the cluster, or see tools/dist_train.sh" >&2
    exit 2
}
nodes=$((gpus / per_node))
set -x
# shellcheck disable=SC2086  (SRUN_ARGS contains several words)
exec srun --partition="$partition" --job-name="$job" --nodes="$nodes" \
    --ntasks="$nodes" --ntasks-per-node=1 --gres=gpu:"$per_node" \
    --cpus-per-task=$((${CPUS_PER_TASK:-5} * per_node)) --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "$(dirname "$0")/dist_train.sh" "$config" "$gpus" --work-dir "$work_dir" "$@"
