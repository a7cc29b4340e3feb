"""Published weights that the pipeline can use: fetched by an explicit command, never silently.

The paper's parts are here: Keypoint R-CNN for K and segment-anything for M. A download is kept only
if its SHA-256 is the published one.
"""

import shutil
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from vills.config.checks import ConfigError
from vills.io import compute_sha256
from vills.refusals import LIMITS, open_writing


@dataclass(frozen=True)
class PublishedWeights:
    """One file of a publisher."""

    url: str
    sha256: str
    """Digest of the whole file."""
    purpose: str

    @property
    def file_name(self) -> str:
        """Name below VILLS_WEIGHTS."""
        return self.url.rsplit("/", 1)[-1]


_SAM = "https://dl.fbaipublicfiles.com/segment_anything"
_TORCHVISION = "https://download.pytorch.org/models"
PUBLISHED: dict[str, PublishedWeights] = {
    "sam_vit_b": PublishedWeights(
        f"{_SAM}/sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
        "lse.segmenter=sam lse.sam_type=vit_b",
    ),
    "sam_vit_l": PublishedWeights(
        f"{_SAM}/sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
        "lse.segmenter=sam lse.sam_type=vit_l",
    ),
    "sam_vit_h": PublishedWeights(
        f"{_SAM}/sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
        "lse.segmenter=sam lse.sam_type=vit_h (the paper's)",
    ),
    "keypoint_rcnn": PublishedWeights(
        f"{_TORCHVISION}/keypointrcnn_resnet50_fpn_coco-fc266e95.pth",
        "fc266e953d2b302cdcbb9ae66f71f6b0d4649928bf02dc573961e361e4918926",
        "lse.keypoint_detector=torchvision (the paper's)",
    ),
    "faster_rcnn": PublishedWeights(
        f"{_TORCHVISION}/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
        "258fb6c638b15964ddcdd1ae0748c5eef1be9e732750120cc857feed3faac384",
        "curate.detector=torchvision",
    ),
}


def load_published_weights(name: str, *, folder: Path) -> Path:
    """Download weights into `folder`, atomically, and check them; a checked file is kept.

    Raises:
        ConfigError: if the name is unknown, the download fails, or its checksum is another.
    """
    if name not in PUBLISHED:
        raise ConfigError(
            f"weights = {name!r} are not known. Allowed: {', '.join(PUBLISHED)}. "
            "What to do: choose one, or put your own file below VILLS_WEIGHTS."
        )
    known = PUBLISHED[name]
    path = folder / known.file_name
    if path.exists() and compute_sha256(path) == known.sha256:
        return path
    partial = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(known.url, timeout=60) as response, partial.open("wb") as file:
            if response.url.startswith("http:"):
                raise OSError(f"it leads to {response.url}, without encryption")
            shutil.copyfileobj(response, file)
        digest = compute_sha256(partial)
        if digest != known.sha256:
            raise ConfigError(
                f"{known.url} has sha256 {digest}. Allowed: {known.sha256}. What to do: the "
                "download was damaged or the file was replaced: do not use it, and try again."
            )
        partial.replace(path)
    except OSError as error:
        if error.errno in LIMITS:  # of the folder; the network's are others
            with open_writing(path, temporary=partial):
                raise
        raise ConfigError(
            f"{known.url} could not be fetched ({error}). What to do: check the network, or copy "
            f"{known.file_name} into VILLS_WEIGHTS from elsewhere."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def render_published() -> str:
    """Return a table of the known weights."""
    width = max(map(len, PUBLISHED))
    return "\n".join(f"{name:{width}}  {w.file_name}  {w.purpose}" for name, w in PUBLISHED.items())
