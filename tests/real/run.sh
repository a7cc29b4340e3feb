#!/usr/bin/env bash
# make real: the whole DAG on real inputs, in a work copy that git ignores (real/).
# This checkout's params.yaml and dvc.lock stay as they are. Killed, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ ! -d "${VILLS_REAL_DATA:-}" ]; then
  echo "VILLS_REAL_DATA = '${VILLS_REAL_DATA:-}' is no folder. What to do: make real VILLS_REAL_DATA=/path/to/it" >&2
  exit 2
fi
export VILLS_DATA VILLS_WEIGHTS
VILLS_DATA=$(cd "$VILLS_REAL_DATA" && pwd)
VILLS_WEIGHTS=$VILLS_DATA/weights

mkdir -p real/data/inventories
cp dvc.yaml .dvcignore real/
rm -rf real/vills && cp -r vills real/vills
cd real
export PYTHONPATH=$PWD
if [ ! -d .dvc ]; then
  dvc init --quiet --no-scm
  dvc config core.analytics false
  dvc config cache.type reflink,hardlink,copy
fi
vills configure profile=real "$@"
for source in crops street walks pku; do vills data register "$source"; done
dvc repro
vills scores
python ../tests/real/score_tracklets.py "$VILLS_DATA"
echo "report: $PWD/report/index.html"
