# shellcheck shell=bash
# What pretrain.sh, finetune.sh and lse.sh share: `run_stage STAGE` submits the script when it is
# called by hand (bash slurm/pretrain.sh), and runs the stage when SLURM calls it (sbatch).
#
# Every setting is an environment variable. Those down to VILLS_SBATCH are the job's shape, which sbatch must know
# before it runs this file: use them with `bash slurm/pretrain.sh`; with sbatch, use its own options.
set -euo pipefail
for name in VILLS_NODES VILLS_GPUS_PER_NODE VILLS_TASKS_PER_NODE VILLS_CPUS_PER_TASK VILLS_SIGNAL_SECONDS \
  VILLS_LOADERS; do
  case "${!name:-0}" in *[!0-9]* | 0?* | ??????*)
    echo "$name = ${!name} is not allowed. Allowed: whole numbers from 0 to 99999. What to do: export $name=1, or unset it." >&2
    exit 2 ;;
  esac
done
SHAPE=()
for name in VILLS_NODES VILLS_GPUS_PER_NODE VILLS_TASKS_PER_NODE VILLS_CPUS_PER_TASK VILLS_TIME \
  VILLS_SIGNAL_SECONDS VILLS_PARTITION VILLS_SBATCH; do
  [ -z "${!name:-}" ] || SHAPE+=("$name")
done
: "${VILLS_NODES:=1}"              # nodes
: "${VILLS_GPUS_PER_NODE:=0}"      # GPUs of each node; 0: none is requested
: "${VILLS_TASKS_PER_NODE:=$((VILLS_GPUS_PER_NODE > 0 ? VILLS_GPUS_PER_NODE : 1))}" # processes
: "${VILLS_CPUS_PER_TASK:=1}"      # CPUs of a process
: "${VILLS_TIME:=}"                # time limit of a job; empty: the partition's. A run may take several jobs
: "${VILLS_SIGNAL_SECONDS:=120}"   # seconds before the limit: checkpoint and requeue
: "${VILLS_PARTITION:=}"           # partition; empty: the cluster's default
: "${VILLS_SBATCH:=}"              # further options of sbatch, e.g. "--account=lab --mem=64G"
: "${VILLS_LOADERS:=0}"            # processes that load batches beside each process
: "${VILLS_PYTHON:=}"              # python that has vills; empty: .venv/bin/python, else python3
: "${VILLS_REQUEUE:=1}"            # 0: a job that is told to stop does not requeue itself
# and the variables of all commands: VILLS_DATA, VILLS_WEIGHTS, VILLS_RUNS, MLFLOW_TRACKING_URI, NCCL_*, GLOO_*.

run_stage() {
  if [ -z "${SLURM_JOB_ID:-}" ]; then
    submit "$@"
  else
    check_shape
    start "$@"
  fi
}

submit() {
  local options=(
    "--nodes=$VILLS_NODES"
    "--ntasks-per-node=$VILLS_TASKS_PER_NODE"
    "--cpus-per-task=$VILLS_CPUS_PER_TASK"
    "--signal=USR2@$VILLS_SIGNAL_SECONDS"
  )
  [ "$VILLS_GPUS_PER_NODE" = 0 ] || options+=("--gpus-per-node=$VILLS_GPUS_PER_NODE")
  [ -z "$VILLS_TIME" ] || options+=("--time=$VILLS_TIME")
  [ -z "$VILLS_PARTITION" ] || options+=("--partition=$VILLS_PARTITION")
  # shellcheck disable=SC2206 # several options in one variable
  options+=($VILLS_SBATCH)
  exec sbatch "${options[@]}" --export=ALL,VILLS_SHAPED=1 "slurm/${0##*/}" "${@:2}"
}

# A variable that is set too late is an error, since ignoring it would give another job than the user wants.
check_shape() {
  [ -z "${VILLS_SHAPED:-}" ] && [ "${#SHAPE[@]}" -gt 0 ] || return 0
  echo "${SHAPE[*]}: not allowed with sbatch, which has given this job its shape already." \
    "Allowed: with \`bash $SCRIPT\`. What to do: use bash, or sbatch's own options (--nodes=2)." >&2
  exit 2
}

start() {
  export VILLS_LOADERS VILLS_REQUEUE
  export VILLS_WORKERS="${VILLS_WORKERS:-${SLURM_CPUS_PER_TASK:-1}}"
  unset VILLS_CLUSTER
  if [ -z "$VILLS_PYTHON" ]; then
    VILLS_PYTHON=python3
    [ ! -x .venv/bin/python ] || VILLS_PYTHON=$PWD/.venv/bin/python
  fi
  # One process per task; processes find each other by env://. srun does not inherit the CPUs of a task
  # from sbatch, and one failed process must end them all.
  # SLURM's signals are ignored until Python has a handler: a process that a signal ends while it is still
  # importing would count as failed; one that continues until SLURM ends it is requeued.
  # shellcheck disable=SC2016 # the inner shell expands it
  exec srun --kill-on-bad-exit=1 --cpu-bind=none --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    bash -c 'trap "" USR2 TERM; exec "$@"' vills "$VILLS_PYTHON" -m vills run "$1"
}
