"""Curated tracklets of the real videos against what is known of them, at both thresholds."""

import dataclasses
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from trackers import load_mot_file

from vills.config.load import load_params
from vills.curation.scoring import PersonBoxes, compute_track_scores, load_tracks
from vills.curation.source import run_source

PAPER_CONFIDENCE = 0.8


def load_mot_truth(path: Path) -> PersonBoxes:
    """Read a MOTChallenge `gt.txt`; its frames count from 1, here from 0."""
    people = load_mot_file(path)
    frames = [np.full(len(rows.ids), number - 1) for number, rows in people.items()]
    # The fifth number of a row says whether it is to be scored.
    scored = np.concatenate([rows.confidences for rows in people.values()]) > 0
    boxes = np.concatenate([rows.boxes for rows in people.values()]).astype(np.float64)
    boxes[:, 2:] += boxes[:, :2]
    ids = np.concatenate([rows.ids for rows in people.values()]).astype(np.int64)
    return PersonBoxes(np.concatenate(frames)[scored], ids[scored], boxes[scored])


def score_street(curated: Path, data: Path) -> str:
    """MOTA, IDF1 and switches of all tracked boxes of TUD-Stadtmitte."""
    tracks = load_tracks(curated / "tracks.parquet", kept_only=False)
    truth = load_mot_truth(data / "mot" / "TUD-Stadtmitte" / "gt" / "gt.txt")
    score = compute_track_scores({name: truth for name in tracks}, tracks=tracks)
    return f"MOTA {score.mota:.3f}, IDF1 {score.idf1:.3f}, {score.switches} switches"


def main() -> None:
    """Print a line per video and threshold."""
    data = Path(sys.argv[1])
    config = load_params(Path.cwd()).curate
    walks = json.loads(Path("artifacts/curated/walks/report.json").read_text())
    print(f"one-by-one clip, six people: {walks['records']} tracklets")
    print(f"street at {config.confidence}: {score_street(Path('artifacts/curated/street'), data)}")
    strict = dataclasses.replace(config, confidence=PAPER_CONFIDENCE)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        run_source(
            "street",
            strict.sources["street"],
            strict,
            root=data,
            out=out,
            work=Path(folder) / "work",
            weights_root=data / "weights",
        )
        print(f"street at the paper's {PAPER_CONFIDENCE}: {score_street(out, data)}")


if __name__ == "__main__":
    main()
