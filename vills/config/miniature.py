"""Parameters of the miniature stage: the embedded world."""

from dataclasses import dataclass, field

from vills.config.checks import check_range, check_subset

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

# No more people than the official pids have room for.
_OFFICIAL_HALVES = {
    "num_prcc_ids": 150,
    "num_ltcc_ids": 75,
    "num_prid_ids": 89,
    "num_sigset_ids": 200,
}


@dataclass
class MiniatureConfig:
    """What the embedded world renders; an empty `datasets` renders nothing (real data only)."""

    datasets: list[str] = field(default_factory=lambda: list(MINIATURE_DATASETS))
    """Data sets to write, in their official layouts."""
    seed: int = 0
    """Seed of the whole world: people, clothes, cameras, walks, predictions."""
    num_pretrain_ids: int = 80
    """People seen only in pre-training (luperson, kinetics)."""
    num_train_ids: int = 60
    """People of the training splits of market1501 and mars."""
    num_test_ids: int = 60
    """Held-out people of the query and gallery splits."""
    num_prcc_ids: int = 60
    """prcc: people to train on; the test split has half as many, as in the release."""
    num_ltcc_ids: int = 30
    """ltcc: people to train on, and as many to test; a quarter never change clothes."""
    num_prid_ids: int = 30
    """prid2011: people of each half of a split; a few more are in no split, as released."""
    num_sigset_ids: int = 16
    """sigset: subjects to train on, and as many that probes ask for."""
    num_distractors: int = 20
    """Gallery people without a query: market1501 and mars (pid 0; as many bad boxes, pid -1);
    sigset, half in each gallery."""
    num_outfits: int = 3
    """Outfits of a person for pre-training, and at most in ltcc (there 2 or more); fixed elsewhere:
    2 in prcc and sigset, else 1."""
    num_cameras: int = 4
    """market1501, mars, ltcc: cameras; background, colour, blur and compression differ."""
    images_per_camera: int = 3
    """market1501, prcc, ltcc: images of a training person per camera (ltcc: and per outfit); a test
    person has one more, the query."""
    num_luperson_images: int = 600
    """luperson: unlabelled person crops."""
    num_scenes: int = 24
    """kinetics: mp4 scenes with several people walking."""
    num_scene_cameras: int = 8
    """kinetics: cameras that share the scenes; a camera per scene would tell who is in it."""
    scene_frames: int = 48
    """kinetics: frames of a scene."""
    people_per_scene: int = 3
    """kinetics: people in a scene, at most."""
    tracklet_frames: int = 12
    """mars, prid2011: frames of a tracklet, at most; sigset videos have 4 more."""
    image_height: int = 128
    """Height of a rendered crop, px; the width is half of it."""

    def __post_init__(self) -> None:
        check_subset("miniature.datasets", self.datasets, MINIATURE_DATASETS)
        for name in ("num_pretrain_ids", "num_train_ids", "num_test_ids"):
            check_range(f"miniature.{name}", getattr(self, name), low=2, high=100_000)
        for name, high in _OFFICIAL_HALVES.items():
            check_range(f"miniature.{name}", getattr(self, name), low=2, high=high)
        check_range(
            "miniature.num_train_ids + num_test_ids",
            self.num_train_ids + self.num_test_ids,
            high=1500,
            remedy="lower one of them: pids go from 2 to 1501, as in Market-1501",
        )
        # A pixel's owner is told apart among seven.
        check_range("miniature.people_per_scene", self.people_per_scene, low=2, high=7)
        check_range("miniature.num_cameras", self.num_cameras, low=2, high=6)
        # Cameras from 12,000 on belong to labelled data sets.
        check_range("miniature.num_scene_cameras", self.num_scene_cameras, low=1, high=10_000)
        check_range("miniature.image_height", self.image_height, low=48, high=512)
        check_range("miniature.tracklet_frames", self.tracklet_frames, low=2, high=999)
        counts = ("num_outfits", "images_per_camera", "num_luperson_images", "num_scenes")
        for name in (*counts, "scene_frames"):
            check_range(f"miniature.{name}", getattr(self, name), low=1)
        check_range("miniature.num_distractors", self.num_distractors, low=0, high=500)
