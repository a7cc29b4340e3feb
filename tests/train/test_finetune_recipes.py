"""docs/recipes.md: its blocks load, say all that they differ in, and train."""

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.train.tuning import save_pretrained, tune
from vills.config.finetune import FinetuneConfig, list_variants
from vills.config.load import load_params
from vills.config.protocols import PROTOCOLS
from vills.data.reid import ReidData, load_reid_data
from vills.models.weights import load_reid

DOC = Path(__file__).parents[2] / "docs/recipes.md"
BLOCKS: list[dict[str, dict[str, Any]]] = [
    yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", DOC.read_text(), re.DOTALL)
]
RECIPES = [(name, number) for number, block in enumerate(BLOCKS) for name in block]
IDS = [f"{name}-{number}" for name, number in RECIPES]
SIZES = {  # supplement 2
    "market1501": ([256, 128], "image"),
    "prcc": ([384, 192], "image"),
    "ltcc": ([384, 192], "image"),
    "mars": ([256, 128], "video"),
    "prid2011": ([256, 128], "video"),
    "sigset": ([384, 128], "mixed"),
}


def load_recipe(folder: Path, name: str, number: int) -> FinetuneConfig:
    """As a user has it: in params.yaml."""
    sources = {name: {"layout": "folder", "path": name, "role": "reid"}}
    params = {
        "defaults": ["schema", "_self_"],
        "curate": {"sources": sources},
        "finetune": {name: BLOCKS[number][name]},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return load_params(folder).finetune[name]


@pytest.mark.parametrize(("name", "number"), RECIPES, ids=IDS)
def test_recipes_load_with_the_papers_sizes(tmp_path: Path, name: str, number: int) -> None:
    config = load_recipe(tmp_path, name, number)
    assert (config.input_size, config.modality) == SIZES[name]
    assert config.protocol in PROTOCOLS
    assert config.protocol.split("_")[0] == name
    if config.modality != "image":
        assert config.num_frames == 8
    # no value is left to a default that could change: only parts that the recipe does not use
    unused = {"network", "seed", "published", "stride", "max_track", "jitter", "zoom"}
    unused |= {"layer_decay", "bias_lr_factor", "identity_weight", "label_smoothing", "split_ids"}
    unused |= {"threads_per_rank", "source", "num_val_ids"}
    unused |= {"epochs_of", "lr_of", "num_train_ids", "triplet_scale", "white_balance"}
    unused |= {"milestones", "gamma"} if config.schedule == "cosine" else set()
    unused |= {"num_frames", "sampling"} if config.modality == "image" else set()
    unused |= set() if config.triplet_weight else {"triplet_margin"}
    stated = set(BLOCKS[number][name])
    assert {field.name for field in fields(FinetuneConfig)} - stated <= unused
    assert len(list_variants(config)) == len(config.split_ids) * len(config.initialisations)


def test_every_data_set_of_the_paper_has_one() -> None:
    assert {name for name, _ in RECIPES} == set(SIZES)
    assert "silent" in DOC.read_text()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number"), RECIPES, ids=IDS)
def test_recipes_train(
    name: str, number: int, tmp_path: Path, people: ReidData, curated: Path
) -> None:
    """A short epoch of the recipe as it is, on small pictures and few people."""
    recipe = load_recipe(tmp_path, name, number)
    height, width = recipe.input_size
    config = replace(
        recipe,
        initialisations=["pretrained"],
        split_ids=[0],
        input_size=[height // 4 // 16 * 16, width // 4 // 16 * 16],
        num_ids=4,
        num_instances=2,
        epochs=2,
        milestones=recipe.milestones and [1],
        warmup_epochs=min(recipe.warmup_epochs, 1.0),
        eval_epochs=0,
        threads_per_rank=1,
    )
    data = people
    if config.modality != "image":
        data = load_reid_data(curated / "curated" / "walks", modality=config.modality)
    tune(
        data,
        save_pretrained(tmp_path / "pretrained"),
        tmp_path,
        config=config,
        accuracy=lambda model, split_id: {"mAP": 0.0, "R-1": 0.0},
    )
    model = load_reid(tmp_path / "out" / "pretrained")
    assert (model.modality, model.neck is None) == (config.modality, config.neck == "none")
