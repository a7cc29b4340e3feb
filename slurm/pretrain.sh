#!/usr/bin/env bash
# Pre-training as a plain SLURM job: the same run, checkpoints and fingerprint as with `dvc repro` and
# sweeps/launch.py, so that each continues, or collects, what another has begun.
#
#   sbatch slurm/pretrain.sh                                    one process
#   sbatch --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8 slurm/pretrain.sh
#   VILLS_NODES=2 VILLS_GPUS_PER_NODE=8 bash slurm/pretrain.sh  the same, by variables
#
# Variables and their defaults: slurm/job.sh. Run it in the project's folder, after the stages
# before it (`dvc repro lse`); afterwards `dvc repro` collects what it computed.
# At the time limit, when preempted, or when a node fails, the job is requeued and
# continues from its newest checkpoint, also with another number of processes.
#SBATCH --job-name=pretrain
#SBATCH --signal=USR2@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.log

SCRIPT=slurm/pretrain.sh
cd "${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}" || exit 2
# shellcheck source=slurm/job.sh
source slurm/job.sh
run_stage pretrain
