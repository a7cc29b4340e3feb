"""Entries that the command line adds, and keys that it must not."""

import shlex
from pathlib import Path

import pytest

from vills.config.checks import ConfigError
from vills.config.curate import SourceConfig
from vills.config.load import load_params, load_profile, save_params
from vills.config.model import PublishedConfig

NEW = "{layout: folder, path: mine/v-2}"


@pytest.mark.slow
@pytest.mark.parametrize(
    "source",
    [
        [f"+curate.sources.new={NEW}"],
        [f"++curate.sources.new={NEW}"],
        [f"+curate.sources={{new: {NEW}}}"],
        ["+curate.sources.new.layout=folder", "+curate.sources.new.path=mine/v-2"],
    ],
)
def test_a_data_set_is_added_on_the_command_line(tmp_path: Path, source: list[str]) -> None:
    overrides = [*source, "+finetune.new={modality: image, epochs: 5}", "+evaluate.new.rerank=true"]
    overrides += ["+finetune.new.published.dino={file: dino.pth, layout: dino}"]
    overrides += ["finetune.new.initialisations=[scratch,dino]", "+finetune.new.num_ids=3"]
    save_params(tmp_path, profile="tiny", overrides=overrides)
    params = load_params(tmp_path)
    assert params.curate.sources["new"] == SourceConfig(layout="folder", path="mine/v-2")
    assert list(params.curate.sources)[:-1] == list(load_profile("tiny").curate.sources)
    tuned = params.finetune["new"]
    assert (tuned.epochs, tuned.num_ids, tuned.num_instances) == (5, 3, 4)
    assert tuned.published == {"dino": PublishedConfig("dino.pth", "dino")}
    assert (params.evaluate["new"].rerank, params.evaluate["new"].model) == (True, "new")
    command = (tmp_path / "params.yaml").read_text().splitlines()[0].split("`")[1]
    assert shlex.split(command)[3:] == overrides


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "parts"),
    [
        (f"curate.sources.new={NEW}", ["no entry 'new'", "+curate.sources.new={field"]),
        ("finetune.mars.published.dino.file=x", ["+finetune.mars.published.dino={field"]),
        ("+curate.sources.new={pfad: x}", ["curate.sources.new.pfad", "What to do"]),
        ("+curate.sources.new=mine", ["'mine' is not allowed", "{field: value}", "What to do"]),
        ("+evaluate.new={model: mars}", ["evaluate.new has no source", "curate.sources.new"]),
        ("+finetune.mars.fliip=0.3", ["finetune.mars.fliip", "What to do"]),
        ("+pretrain.views.fliip=0.3", ["pretrain.views.fliip is not a parameter", "flip, jitter"]),
        ("+curate.source.new={path: x}", ["curate.source is not a parameter", "sources, detector"]),
        ("+sources=3", ["sources is not a parameter", "miniature, curate"]),
    ],
)
def test_what_nobody_knows_is_not_added(override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_profile("tiny", [override])
    for part in parts:
        assert part in str(caught.value)
