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
    """Seed of the whole world: people, outfits, cameras, walks, predictions."""
    num_pretrain_ids: int = 80
    """People seen only in pre-training (luperson, kinetics)."""
    num_train_ids: int = 60
    """People of the training splits of market1501 and mars."""
    num_test_ids: int = 60
    """Held-out people of the query and gallery splits."""
    num_prcc_ids: int = 60
    """prcc: people of the training split; half as many are in the test split, as in the release."""
    num_ltcc_ids: int = 30
    """ltcc: people of the training split, and as many of the test split; a quarter of them never
    change clothes."""
    num_prid_ids: int = 30
    """prid2011: people of each half of a split; some more are in no split, as in the release."""
    num_sigset_ids: int = 16
    """sigset: subjects for training, and as many that probes ask for."""
    num_distractors: int = 20
    """People of galleries that no query asks for: in market1501 and mars under pid 0 (and as many
    bad boxes under pid -1), in the sigset's two galleries by halves."""
    num_outfits: int = 3
    """Outfits of a pre-training person, and the most of a person of ltcc (at least 2 there); in
    market1501, mars and prid2011 everybody keeps to one, in prcc and sigset everybody has two."""
    num_cameras: int = 4
    """Cameras of market1501, mars and ltcc: background, colour cast, blur and compression
    differ."""
    images_per_camera: int = 3
    """market1501, prcc, ltcc: images of a training person in each camera that sees it (ltcc: in
    each outfit); a test person has one more, to ask with."""
    num_luperson_images: int = 600
    """luperson: unlabelled person crops."""
    num_scenes: int = 24
    """kinetics: mp4 scenes with several walkers."""
    num_scene_cameras: int = 8
    """kinetics: cameras that take turns with the scenes; with one for each scene, the place alone
    would tell who is in it."""
    scene_frames: int = 48
    """kinetics: frames of a scene."""
    people_per_scene: int = 3
    """kinetics: walkers of a scene, at most."""
    tracklet_frames: int = 12
    """mars, prid2011: frames of a tracklet, at most; sigset: 4 more in a video."""
    image_height: int = 128
    """Height of a rendered person crop, px; the width is half of it."""

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
