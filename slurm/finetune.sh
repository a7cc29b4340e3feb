#!/usr/bin/env bash
# Fine-tuning on one data set as a plain SLURM job; see slurm/pretrain.sh.
#
#   sbatch --gpus-per-node=1 --cpus-per-task=8 slurm/finetune.sh market1501
#   VILLS_GPUS_PER_NODE=1 bash slurm/finetune.sh market1501
#
# Variables and their defaults: slurm/job.sh. Afterwards `dvc repro` collects what it computed.
#SBATCH --job-name=finetune
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.log

SCRIPT="slurm/finetune.sh ${1:-DATASET}"
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}" || exit 2
if [ $# != 1 ]; then
  echo "finetune.sh: the data set is missing. Allowed: an entry of finetune in params.yaml." \
    "What to do: sbatch $SCRIPT" >&2
  exit 2
fi
# shellcheck source=slurm/job.sh
source slurm/job.sh
run_stage "finetune@$1" "$1"
