"""Parameters of the miniature stage: the embedded world."""

from dataclasses import dataclass, field
from typing import Annotated

from vills.config.checks import Limits, Seed, check_fields, check_range

MINIATURE_DATASETS = (
    "luperson",
    "kinetics",
    "market1501",
    "prcc",
    "ltcc",
    "mars",
    "prid2011",
    "sigset",
)


@dataclass
class MiniatureConfig:
    """What the embedded world renders; an empty `datasets` renders nothing (real data only)."""

    datasets: Annotated[list[str], MINIATURE_DATASETS] = field(
        default_factory=lambda: list(MINIATURE_DATASETS)
    )
    """Data sets to write, in their official layouts."""
    seed: Seed = 0
    """Seed of the whole world: people, clothes, cameras, walks, predictions."""
    num_pretrain_ids: Annotated[int, Limits(2, 100_000)] = 80
    """People seen only in pre-training (luperson, kinetics)."""
    num_train_ids: Annotated[int, Limits(2, 100_000)] = 60
    """People of the training splits of market1501 and mars."""
    num_test_ids: Annotated[int, Limits(2, 100_000)] = 60
    """Held-out people of the query and gallery splits."""
    # of the next four, no more than the official pids have room for
    num_prcc_ids: Annotated[int, Limits(2, 150)] = 60
    """prcc: people to train on; the test split has half as many, as in the release."""
    num_ltcc_ids: Annotated[int, Limits(2, 75)] = 30
    """ltcc: people to train on, and as many to test; a quarter never change clothes."""
    num_prid_ids: Annotated[int, Limits(2, 89)] = 30
    """prid2011: people of each half of a split; a few more are in no split, as released."""
    num_sigset_ids: Annotated[int, Limits(2, 200)] = 16
    """sigset: subjects to train on; as many others are subjects of the probes."""
    num_distractors: Annotated[int, Limits(0, 500)] = 20
    """Gallery people without a query: market1501 and mars (pid 0; as many bad boxes, pid -1);
    sigset, half in each gallery."""
    num_outfits: Annotated[int, Limits(1, 100)] = 3
    """Outfits of a person in pre-training data; in ltcc the largest number (least 2). Elsewhere it
    is fixed: 2 in prcc and sigset, else 1."""
    num_cameras: Annotated[int, Limits(2, 6)] = 4
    """market1501, mars, ltcc: cameras; background, colour, blur and compression differ."""
    images_per_camera: Annotated[int, Limits(1, 1000)] = 3
    """market1501, prcc, ltcc: images of a training person per camera (ltcc: and per outfit); a test
    person has one more, the query."""
    num_luperson_images: Annotated[int, Limits(1, 10_000_000)] = 600
    """luperson: unlabelled person crops."""
    num_scenes: Annotated[int, Limits(1, 100_000)] = 24
    """kinetics: mp4 scenes with several people walking."""
    # cameras from 12,000 on belong to labelled data sets
    num_scene_cameras: Annotated[int, Limits(1, 10_000)] = 8
    """kinetics: cameras of all scenes; one camera per scene would reveal its people."""
    scene_frames: Annotated[int, Limits(1, 100_000)] = 48
    """kinetics: frames of a scene."""
    # a pixel's owner is told apart among seven
    people_per_scene: Annotated[int, Limits(2, 7)] = 3
    """kinetics: people in a scene, at most."""
    tracklet_frames: Annotated[int, Limits(2, 999)] = 12
    """mars, prid2011: frames of a tracklet, at most; sigset videos have 4 more."""
    image_height: Annotated[int, Limits(48, 512)] = 128
    """Height of a rendered crop, px; the width is half of it."""

    def __post_init__(self) -> None:
        check_fields("miniature", self)
        check_range(
            "miniature.num_train_ids + num_test_ids",
            self.num_train_ids + self.num_test_ids,
            high=1500,
            remedy="lower one of them: pids go from 2 to 1501, as in Market-1501",
        )
