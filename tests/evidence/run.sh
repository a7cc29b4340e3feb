#!/usr/bin/env bash
# make evidence-check: does pre-training help where labels are few? One seed of profile `evidence`, from
# nothing, in a work copy that git ignores (evidence/). CONTROL=shuffled or CONTROL=untrained takes away
# what it should learn from: then no gain is expected. CONTROL=tracklets puts a network in its place that learned
# tracklets as if they were people: the bar. Killed, it goes on where it was.
# Exits 0 if pre-trained is ahead of scratch by its whole interval over test people, else 1.
set -euo pipefail
cd "$(dirname "$0")/../.."
case "${CONTROL:-}" in
  "") changes=() ;;
  shuffled) changes=(pretrain.shuffle_tracklets=true) ;;
  untrained | tracklets) changes=(pretrain.epochs=0 pretrain.optim.base_lr=0.0 pretrain.optim.min_lr=0.0) ;;
  *)
    echo "CONTROL = '$CONTROL' is not allowed. Allowed: shuffled, untrained, tracklets, or nothing. What to do: make evidence-check CONTROL=shuffled" >&2
    exit 2
    ;;
esac

mkdir -p evidence/data/inventories
cp dvc.yaml .dvcignore evidence/
rm -rf evidence/vills && cp -r vills evidence/vills
cd evidence
export PYTHONPATH=$PWD
if [ ! -d .dvc ]; then
  dvc init --quiet --no-scm
  dvc config core.analytics false
  dvc config cache.type reflink,hardlink,copy
fi
vills configure profile=evidence "${changes[@]}" --force
if [ "${CONTROL:-}" = tracklets ]; then
  dvc repro pretrain
  python ../tests/evidence/control.py 3000
  dvc repro --single-item finetune@market1501 evaluate@market1501
else
  dvc repro evaluate@market1501
fi
python ../tests/evidence/judge.py artifacts/evaluate/market1501
