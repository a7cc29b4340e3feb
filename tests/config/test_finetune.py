"""What a fine-tuning is refused for, with field, value, what is allowed and what to do."""

from typing import Any

import pytest

from vills.config.checks import ConfigError
from vills.config.finetune import FinetuneConfig
from vills.config.model import PublishedConfig
from vills.config.pretrain import PretrainConfig

DINO = PublishedConfig("dino.pth", "dino")
STEPS = {"schedule": "steps", "epochs": 30}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"input_size": [256]}, r"input_size = \[256\] .*\[height, width\]"),
        ({"input_size": [0, 128]}, "input_size entry = 0"),
        ({"schedule": "steps"}, r"milestones = \[\] is not allowed with schedule steps"),
        ({"milestones": [20]}, r"milestones = \[20\] is not allowed with schedule cosine"),
        ({**STEPS, "milestones": [20, 40]}, r"\[20, 40\] .* epochs = 30\. Allowed: .* 1 to 29"),
        ({**STEPS, "milestones": [0, 20]}, "milestones entry = 0"),
        ({**STEPS, "milestones": [20, 20]}, r"milestones = \[20, 20\]"),
        ({"published": {"../x": DINO}}, r"published key = '\.\./x' is not allowed"),
        ({"published": {"dino": DINO}}, r"has 'dino', which .*initialisations = \['pretrained'\]"),
        ({"published": {"dino": PublishedConfig()}}, r"published\.dino\.file = '' "),
        ({"initialisations": ["dino"]}, "entry = 'dino' .* Allowed: pretrained, scratch"),
        ({"initialisations": ["scratch", "scratch"]}, "each entry at most once"),
        ({"initialisations": []}, r"initialisations = \[\] .* with 0 entries"),
        ({"split_ids": []}, r"split_ids = \[\] .* with 0 entries"),
        ({"split_ids": [1, 1]}, r"split_ids = \[1, 1\]"),
        ({"lr": float("nan")}, "lr = nan .* Allowed: 0 to 100"),
        ({"num_val_ids": -1}, "num_val_ids = -1 is not allowed. Allowed: 0 to"),
        ({"num_val_ids": 1}, "num_val_ids = 1 .* a single person is always found"),
        ({"num_val_ids": 9, "protocol": "sigset"}, "num_val_ids = 9 .* protocol sigset"),
        ({"num_train_ids": 15}, "num_train_ids = 15 .* Allowed: 0, or 16 and more"),
        ({"triplet_scale": -1.0}, "triplet_scale = -1.0 .* Allowed: 0 to 1000000"),
        ({"triplet_scale": 9.0, "triplet_weight": 0.0}, "triplet_scale = 9.0 .* triplet_weight 0"),
        ({"white_balance": 1.5}, "white_balance = 1.5 .* Allowed: 0.0 to 1.0"),
        ({"identity_weight": 0.0, "triplet_weight": 0.0}, "identity_weight = 0 .* triplet_weight"),
    ],
)
def test_what_would_be_ignored_or_fail_later_is_refused(
    fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        FinetuneConfig(**fields)
    assert "What to do: " in str(caught.value)


def test_a_layout_without_a_file_is_refused() -> None:
    for fields in ({"layout": "pass"}, {"normalisation": "half"}):
        with pytest.raises(ConfigError, match=r"\*\.file = '' is not allowed with layout"):
            PublishedConfig(**fields)


@pytest.mark.parametrize("group", [-1, 1])
def test_a_koleo_group_without_neighbours_is_refused(group: int) -> None:
    with pytest.raises(ConfigError, match=f"pretrain.koleo_group = {group} is not allowed"):
        PretrainConfig(koleo_group=group)
