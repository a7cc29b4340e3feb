"""Pre-training from published weights: both encoders are the file, all else is as without it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.publishers import build_dino, build_pass
from tests.train.synthetic import build_batch, build_config
from vills.config.model import PublishedConfig
from vills.config.params import Params
from vills.config.pretrain import PretrainConfig
from vills.data.pretrain_sources import PretrainData
from vills.interrupt import InterruptedRunError
from vills.models.description import WeightsError
from vills.models.encoder import Encoder
from vills.models.published import load_published
from vills.models.weights import load_backbone
from vills.pipeline.pretrain import STAGE
from vills.runner.store.journal import Journal
from vills.train.meta_arch import SSLMetaArch
from vills.train.param_groups import set_schedule
from vills.train.pretrain import run_pretrain

GRID = (4, 2)


def build_initial(folder: Path, layout: str = "dino") -> tuple[PretrainConfig, Path]:
    build = {"dino": build_dino, "pass": build_pass}[layout]
    torch.save(build(GRID)[1], folder / "published.pth")
    config = build_config(initial=PublishedConfig(file="published.pth", layout=layout))
    config = replace(config, model=replace(config.model, depth=3))
    return config, folder / "published.pth"


@pytest.mark.parametrize("layout", ["dino", "pass"])
def test_teacher_and_student_start_from_the_file(tmp_path: Path, layout: str) -> None:
    config, path = build_initial(tmp_path, layout)
    arch = SSLMetaArch(config, initial=path)
    plain = SSLMetaArch(replace(config, initial=PublishedConfig()))
    encoder = Encoder(config.model)
    random = set(load_published(encoder, path, layout=layout).random)
    published = {f"backbone.encoder.vit.{k}": v for k, v in encoder.vit.state_dict().items()}
    student, teacher = arch.student.compute_state(), arch.teacher.state_dict()
    fresh = plain.student.compute_state()
    assert student.keys() == teacher.keys() == fresh.keys() > published.keys()
    for name, tensor in student.items():
        from_file = name in published and name.split("vit.")[1] not in random
        expected = published[name] if from_file else fresh[name]
        assert torch.equal(tensor, expected), name
        assert torch.equal(teacher[name], expected), name
    assert arch.initial is not None
    assert arch.initial.random == sorted(random)
    assert plain.initial is None


def test_a_step_from_the_file_trains_all_of_the_encoder(tmp_path: Path) -> None:
    config, path = build_initial(tmp_path)
    arch = SSLMetaArch(config, initial=path)
    set_schedule(arch.student.param_groups, lr=1e-3, prototype_lr=1e-3, weight_decay=0.0)
    before = {k: v.clone() for k, v in arch.student.compute_state().items()}
    output = arch.compute_losses(build_batch(config), teacher_temperature=0.04)
    total = arch.compute_total(output.terms)
    assert torch.isfinite(total)
    arch.student.backward(total)
    arch.student.step()
    after = arch.student.compute_state()
    vit = [name for name in after if name.startswith("backbone.encoder.vit.")]
    assert all(not torch.equal(before[name], after[name]) for name in vit)


def test_the_file_and_the_parameters_go_together(tmp_path: Path) -> None:
    config, path = build_initial(tmp_path)
    with pytest.raises(AssertionError, match="named by the config"):
        SSLMetaArch(config)
    with pytest.raises(AssertionError, match="named by the config"):
        SSLMetaArch(build_config(), initial=path)
    with pytest.raises(WeightsError, match=r"missing \(12\): blocks.3.*model.depth=3"):
        SSLMetaArch(replace(config, model=replace(config.model, depth=4)), initial=path)


def run(config: PretrainConfig, data: PretrainData, folder: Path, path: Path | None) -> bytes:
    run_pretrain(
        config,
        data=data,
        work=folder / "work",
        out=folder / "out",
        journal=Journal(folder / "journal.jsonl"),
        guard=lambda: None,
        initial=path,
        checkpoint_steps=1,
    )
    return (folder / "out" / "teacher" / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_a_run_records_where_it_started_and_resumes_to_the_same_bits(
    pretrain_data: PretrainData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, path = build_initial(tmp_path)
    config = replace(config, max_steps=2)
    whole = run(config, pretrain_data, tmp_path / "whole", path)
    health = json.loads((tmp_path / "whole" / "out" / "health.json").read_text())
    assert health["initial"] == {
        "file": "published.pth",
        "layout": "dino",
        "wrapper": "teacher",
        "num_used": 42,
        "dropped": health["initial"]["dropped"],
        "random": ["reg_token"],
        "zero": [],
        "normalisation": "imagenet",
        "file_grid": [4, 2],
        "grid": [4, 2],
    }
    assert len(health["initial"]["dropped"]) == 8
    compute = SSLMetaArch.compute_losses

    def stop(self: SSLMetaArch, batch: object, **kwargs: Any) -> object:
        if getattr(batch, "step", 0) == 1:
            raise InterruptedRunError("killed")
        return compute(self, batch, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(SSLMetaArch, "compute_losses", stop)
        with pytest.raises(InterruptedRunError):
            run(config, pretrain_data, tmp_path / "killed", path)
    assert run(config, pretrain_data, tmp_path / "killed", path) == whole
    killed = json.loads((tmp_path / "killed" / "out" / "health.json").read_text())
    assert killed["initial"] == health["initial"]
    fresh = replace(config, initial=PublishedConfig())
    assert run(fresh, pretrain_data, tmp_path / "fresh", None) != whole
    assert json.loads((tmp_path / "fresh" / "out" / "health.json").read_text())["initial"] is None
    load_backbone(tmp_path / "whole" / "out" / "teacher")


def test_the_file_is_an_input_of_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VILLS_WEIGHTS", str(tmp_path))
    (tmp_path / "dino.pth").write_bytes(b"weights")
    params = Params()
    assert "initial" not in STAGE.inputs(params, "")
    params.pretrain.initial = PublishedConfig(file="dino.pth", layout="dino")
    assert STAGE.inputs(params, "")["initial"] == tmp_path / "dino.pth"
