"""What the stages before the report leave, in little: two data sets, models that nobody trained."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from tests.evaluation.curated import write_curated
from tests.evaluation.networks import SIZE, make_backbone, make_reid
from vills.config.evaluate import EvaluateConfig
from vills.config.finetune import FinetuneConfig, list_variants
from vills.evaluation.baselines import ModelRow, StripeHistogram
from vills.evaluation.entries import load_test_sets
from vills.evaluation.evaluate import run_evaluation
from vills.models.weights import save_backbone, save_reid
from vills.report.inputs import ReportInputs

MODELS = {
    "people": FinetuneConfig(
        source="people",
        modality="image",
        num_val_ids=8,
        initialisations=["pretrained", "scratch"],
        input_size=list(SIZE),
    ),
    "tracks": FinetuneConfig(
        source="walks",
        modality="video",
        split_ids=[0, 1],
        input_size=list(SIZE),
        num_frames=2,
        protocol="video",
    ),
}
PROTOCOLS = {"people": ["image"], "tracks": ["video", "image_to_video"], "others": ["image"]}
ITEMS = {"people": "people", "tracks": "tracks", "others": "people"}
SOURCES = {"people": "people", "tracks": "walks", "others": "strangers"}


def make_artifacts(root: Path) -> ReportInputs:
    """Curated sets, models, scores, curves and metrics files."""
    artifacts = root / "artifacts"
    for item, model in ITEMS.items():
        config = MODELS[model]
        curated = artifacts / "curated" / SOURCES[item]
        write_curated(curated, modality=config.modality)
        report = {
            "records": 5,
            "damaged": {"count": 0, "files": 5, "named": []},
            "notes": [f"{item}: a <strange> file"],
            "splits": {"query": {"records": 2}},
        }
        save_json(curated / "report.json", report)
        rows = [
            ModelRow("histogram", StripeHistogram),
            *(
                ModelRow(
                    name,
                    partial(make_reid, config.modality, seed=seed),
                    keep_features=True,
                )
                for seed, name in ((1, "scratch"), (0, "finetuned"))
            ),
        ]
        run_evaluation(
            EvaluateConfig(protocols=PROTOCOLS[item], bootstrap=20, num_frames=2, ranks=[1, 5]),
            splits=load_test_sets(curated, split_ids=[0]),
            models=rows,
            input_size=SIZE,
            out=artifacts / "evaluate" / item,
        )
        save_json(
            artifacts / "metrics" / f"evaluate_{item}.json",
            {"fingerprint": f"e{item}" * 9, "model": model},
        )
    for name, config in MODELS.items():
        lines = ["initialisation,epoch,map,rank1"]
        for seed, variant in enumerate(list_variants(config)):
            save_reid(
                make_reid(config.modality, seed=seed),
                artifacts / "finetune" / name / variant.name,
            )
            lines += [f"{variant.name},{epoch},0.{epoch}{seed},0.{epoch}5" for epoch in (1, 2, 3)]
        plots = artifacts / "plots" / f"finetune_{name}.csv"
        plots.parent.mkdir(parents=True, exist_ok=True)
        plots.write_text("\n".join(lines) + "\n")
        save_json(artifacts / "metrics" / f"finetune_{name}.json", {"fingerprint": f"f{name}" * 9})
    save_json(
        artifacts / "metrics" / "curate.json",
        {"fingerprint": "c" * 40, "curated": {name: {"records": 5} for name in SOURCES.values()}},
    )
    save_json(
        artifacts / "metrics" / "lse.json",
        {"fingerprint": "d" * 40, "iou": {"people": {"head": 0.5}}},
    )
    save_backbone(make_backbone(), artifacts / "pretrain" / "teacher")
    return ReportInputs(artifacts, ITEMS, SOURCES, MODELS)


def save_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
