#!/usr/bin/env bash
# Local semantic extraction as a plain SLURM job; see slurm/pretrain.sh. Each process takes its
# share of the chunks; finished chunks are kept, however the job ends.
#
#   sbatch --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=4 slurm/lse.sh
#   VILLS_GPUS_PER_NODE=8 VILLS_CPUS_PER_TASK=4 bash slurm/lse.sh
#
# Variables and their defaults: slurm/job.sh. Afterwards `dvc repro` collects what it computed.
#SBATCH --job-name=lse
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.log

SCRIPT=slurm/lse.sh
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}" || exit 2
# shellcheck source=slurm/job.sh
source slurm/job.sh
run_stage lse
