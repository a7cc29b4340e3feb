"""What a curated source gets beside its records: report, templates, official splits.

report.json holds counts alone, the same for the same input.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vills.config.curate import CurateConfig, SourceConfig
from vills.curation.crops import FRAME_REASONS, KEPT
from vills.curation.packer import DamageLog
from vills.curation.tracklets import EVERYBODY, NO_SUBJECT, TRACKLET_REASONS
from vills.curation.units import VideoSummary
from vills.data.files import save_table
from vills.data.layouts import PersonSplit, RawTemplate, RawVideo, describe_count_differences
from vills.data.records import (
    DISTRACTOR_PID,
    JUNK_PID,
    SPLITS_FILE,
    TEMPLATES_FILE,
    TEMPLATES_SCHEMA,
    Manifest,
    build_record_id,
    find_people,
)
from vills.io import open_atomic

DETECTION_REASONS = ("low_confidence", "untracked")


def build_report(
    manifest: Manifest,
    *,
    source: SourceConfig,
    damage: DamageLog,
    num_shards: int,
    notes: Iterable[str] = (),
) -> dict[str, Any]:
    """Count what a source holds and what of it could not be read; `notes` are of its reader."""
    splits = _count_splits(manifest)
    # Named as the official counts are: rows without junk, and people.
    counts = {split: found["records"] - found["junk"] for split, found in splits.items()}
    counts |= {f"{split} ids": found["people"] for split, found in splits.items()}
    return {
        "source": damage.source,
        "layout": source.layout,
        "role": source.role,
        "records": len(manifest),
        "frames": int(manifest.column("num_frames").sum()),
        "shards": num_shards,
        "splits": splits,
        "damaged": {
            "files": damage.total,
            "count": len(damage.named),
            "share": len(damage.named) / damage.total,
            "named": [{"path": path, "reason": reason} for path, reason in damage.named],
        },
        "notes": [*notes, *describe_count_differences(source.layout, counts)],
    }


def build_video_report(
    videos: Iterable[RawVideo], summaries: Sequence[VideoSummary], *, config: CurateConfig
) -> dict[str, Any]:
    """Count what happened to the videos, boxes, frames and tracklets of a source, by reason.

    Labelled videos, if any, are counted beside, and those that gave no tracklet are named.
    """
    states = Counter(
        "whole" if not s.damage else "damaged" if s.num_frames else "unreadable" for s in summaries
    )
    detections, frames, tracklets = (
        sum((Counter(getattr(s, level)) for s in summaries), Counter[str]())
        for level in ("detections", "frames", "tracklets")
    )
    detections[KEPT] = sum(s.num_detections for s in summaries) - detections.total()
    report = {
        "detector": config.detector,
        "tracker": config.tracker,
        "confidence": config.confidence,
        "videos": {name: states[name] for name in ("whole", "damaged", "unreadable")},
        "frames_decoded": sum(summary.num_frames for summary in summaries),
        "frames_lost": sum(summary.num_lost for summary in summaries),
        "detections": _split_reasons(detections, DETECTION_REASONS),
        "tracked_frames": _split_reasons(frames, (*FRAME_REASONS, *TRACKLET_REASONS)),
        "tracklets": _split_reasons(tracklets, TRACKLET_REASONS),
        "split_at_jumps": sum(summary.num_jumps for summary in summaries),
    }
    pairs = [(v, s) for v, s in zip(videos, summaries, strict=True) if s.subject != EVERYBODY]
    lost = [video.video_id for video, summary in pairs if summary.subject == NO_SUBJECT]
    if pairs:
        report["labelled"] = {
            "videos": len(pairs),
            "with_subject": len(pairs) - len(lost),
            "without_subject": {"count": len(lost), "named": lost},
            "shorter_than_min_seconds": sum(
                0 < summary.subject_seconds < config.min_seconds for _, summary in pairs
            ),
        }
    return report


def _split_reasons(counts: Counter[str], reasons: Iterable[str]) -> dict[str, Any]:
    rejected = {reason: counts[reason] for reason in reasons}
    kept = counts[KEPT]
    return {"found": kept + sum(rejected.values()), "kept": kept, "rejected": rejected}


def _count_splits(manifest: Manifest) -> dict[str, dict[str, int]]:
    all_splits, frames = manifest.column("split"), manifest.column("num_frames")
    pids, camids = manifest.column("pid"), manifest.column("camid")
    counts = {}
    for split in sorted(set(all_splits.tolist())):
        rows = all_splits == split
        counts[split] = {
            "records": int(rows.sum()),
            "frames": int(frames[rows].sum()),
            "people": len(np.unique(pids[rows & find_people(pids)])),
            "cameras": len(np.unique(camids[rows & (camids >= 0)])),
            "junk": int((pids[rows] == JUNK_PID).sum()) if split != "pretrain" else 0,
            "distractors": int((pids[rows] == DISTRACTOR_PID).sum()),
        }
    return counts


def save_templates(
    folder: Path, templates: Sequence[RawTemplate], *, manifest: Manifest
) -> dict[str, Any]:
    """Write the templates, in their order, and count them.

    Returns:
        By group: templates, their people, and the names of those without a record.
    """
    of_video: dict[str, list[str]] = defaultdict(list)
    for record_id, video_id in zip(*map(manifest.column, ("record_id", "video_id")), strict=True):
        of_video[video_id].append(record_id)
    alone = set(of_video.pop("", ()))  # images and tracklets of images: a record of its own each
    ids = [
        [name for key in t.members for name in of_video.get(key) or alone & {build_record_id(key)}]
        for t in templates
    ]
    table = [
        {"group": template.group, "name": template.name, "pid": template.pid, "record_ids": found}
        for template, found in zip(templates, ids, strict=True)
    ]
    save_table(folder / TEMPLATES_FILE, pa.Table.from_pylist(table, schema=TEMPLATES_SCHEMA))
    report: dict[str, Any] = {}
    for group in sorted({template.group for template in templates}):
        rows = [i for i, template in enumerate(templates) if template.group == group]
        empty = [templates[i].name for i in rows if not ids[i]]
        report[group] = {
            "entries": len(rows),
            "people": len({templates[i].pid for i in rows}),
            "empty": {"count": len(empty), "named": empty},
        }
    return report


def save_splits(folder: Path, splits: Sequence[PersonSplit]) -> None:
    """Write the official splits: the people of training and test of each."""
    with open_atomic(folder / SPLITS_FILE) as temporary:
        temporary.write_text(json.dumps([asdict(split) for split in splits]) + "\n")
