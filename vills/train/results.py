"""What a training stage leaves for the next stages and the report: the same bytes for one run."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vills.config.pretrain import PretrainConfig
from vills.io import atomic_path
from vills.models.backbone import Backbone
from vills.models.published import LoadReport
from vills.models.weights import export_backbone


def save_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` with sorted keys, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


def build_health_report(
    config: PretrainConfig,
    *,
    start: Mapping[str, float],
    end: Mapping[str, float],
    num_steps: int,
    initial: LoadReport | None = None,
    probe: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Content of health.json: values at step 0 and over the last tenth, with what bounds them.

    `initial` says which published weights the encoders started from, null if from none. `probe` is
    there if features were probed.
    """
    bounds = {
        "entropy_of_uniform_target": math.log(config.heads.feature_prototypes),
        "alignment_loss_of_chance": math.log(config.video_batch),
        "feature_spread_of_even_sphere": config.model.width**-0.5,
    }
    report = {
        "num_steps": num_steps,
        "initial": None if initial is None else initial.build_row(),
        "bounds": bounds,
        "start": dict(start),
        "end": dict(end),
    }
    return report if probe is None else {**report, "probe": dict(probe)}


def save_networks(out: Path, networks: Mapping[str, Backbone]) -> None:
    """Write every backbone into a folder of its name: model.safetensors and model.json."""
    for name, backbone in networks.items():
        export_backbone(backbone, out / name)
