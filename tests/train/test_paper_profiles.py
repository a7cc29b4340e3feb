"""The paper's numbers build, and run one step on a CPU with a batch of 2."""

from dataclasses import replace

import pytest
import torch

from tests.train.synthetic import build_batch
from vills.config.load import load_profile
from vills.train.meta_arch import SSLMetaArch
from vills.train.param_groups import set_schedule

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("profile", ["paper_vits", "paper_vitb"])
def test_one_step_of_the_papers_profile(profile: str) -> None:
    config = load_profile(profile).pretrain
    assert config.model.width == {"paper_vits": 384, "paper_vitb": 768}[profile]
    assert config.heads.feature_prototypes == 65536
    config = replace(config, image_batch=2, video_batch=2)
    arch = SSLMetaArch(config)
    before = [p.detach().clone() for p in arch.teacher.backbone.parameters()]
    set_schedule(arch.student.param_groups, lr=1e-4, prototype_lr=0.0, weight_decay=0.04)
    output = arch.compute_losses(build_batch(config), teacher_temperature=0.04)
    arch.student.backward(arch.compute_total(output.terms))
    assert arch.student.step() > 0
    arch.update_teacher(output, momentum=0.996)
    assert all(torch.isfinite(term) for term in output.terms.values())
    after = list(arch.teacher.backbone.parameters())
    moved = [not torch.equal(a, b) for a, b in zip(before, after, strict=True)]
    assert all(moved)
