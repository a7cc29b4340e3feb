#!/usr/bin/env bash
# make real: the whole DAG on real inputs, in a work copy that git ignores (real/).
# This checkout's params.yaml and dvc.lock stay as they are. Killed, it goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/../.."
if [ ! -d "${VILLS_REAL_DATA:-}" ]; then
  echo "VILLS_REAL_DATA = '${VILLS_REAL_DATA:-}' is not a folder. What to do: make real VILLS_REAL_DATA=/path/to/it" >&2
  exit 2
fi
origin=$(cd "$VILLS_REAL_DATA" && pwd)
export VILLS_DATA=$PWD/real/inputs VILLS_WEIGHTS=$origin/weights

mkdir -p real/data/inventories
# Nobody of the test is among the unlabelled: `folder` learns the first half of the sorted people.
rm -rf real/inputs && mkdir -p real/inputs/reid/pku_train real/inputs/mot
cp -r --no-preserve=mode "$origin/video" real/inputs/
cp -r --no-preserve=mode "$origin/mot/TUD-Stadtmitte" real/inputs/mot/
cp -r --no-preserve=mode "$origin/reid/pku" real/inputs/reid/
people=$(cd real/inputs/reid/pku && printf '%s\n' *_c*_v*.jpg | cut -d_ -f1 | sort -u)
for person in $(echo "$people" | head -n $(($(echo "$people" | wc -l) / 2))); do
  cp real/inputs/reid/pku/"$person"_* real/inputs/reid/pku_train/
done
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
# The rendered scenes are raw videos like the others: YOLOX finds who walks there.
vills run miniature
cp -r --no-preserve=mode artifacts/miniature/kinetics/train inputs/world
for source in crops street walks world pku; do vills data register "$source"; done
dvc repro
vills scores
python ../tests/real/score_tracklets.py "$origin"
echo "report: $PWD/report/index.html"
