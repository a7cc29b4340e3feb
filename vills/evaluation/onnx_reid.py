"""A published ReID model in ONNX form, and whether its input is what it was trained with.

Legend: n pictures, P people, D feature width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vills.config.checks import ConfigError
from vills.config.convention import COMMON, Convention, parse_convention
from vills.data.feature_loading import CheckedFrames
from vills.evaluation.distance import FloatArray
from vills.evaluation.entries import TestData
from vills.onnx import PictureModel

FIELD = "evaluate.*.onnx_convention"
NUM_PEOPLE = 24
"""P: people of whom two pictures each are described before a whole data set is."""
SAME = 0.999
"""Cosine above which features of all pictures are the same thing."""
MARGIN = 0.1
"""A common convention that tells people apart better by this share is named."""

Pairs = Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
"""Two RGB pictures [H, W, 3] of each of P people, of two cameras where there are."""


class OnnxReid:
    """Describes an RGB crop; it is resized bilinearly to the model's input."""

    def __init__(self, path: Path, *, convention: str) -> None:
        """Open the model.

        Args:
            path: the ONNX file.
            convention: how it takes pixels, see vills.config.convention; '': the file says it.

        Raises:
            FileNotFoundError: no such file.
            ConfigError: its input is not known, or is no single colour picture.
            InputError: not an ONNX model.
        """
        self._model = PictureModel(path, field=FIELD, stated=convention)

    def __call__(self, image: NDArray[np.uint8]) -> FloatArray:
        """Describe an RGB image [H, W, 3], float32 [D].

        Raises:
            ConfigError: the output is no feature, such as a map or a table of boxes.
        """
        return self._describe(image, self._model.convention)

    def check(self, pairs: Pairs) -> list[str]:
        """Describe pictures of known people, before a whole data set is described.

        Returns:
            What was found: the convention, and how often two pictures of a person are nearer than
            pictures of two people, beside a common convention that does clearly better.

        Raises:
            ConfigError: features that are not finite, or are the same for all pictures.
        """
        own = self._model.convention
        note = f"{self._model.name} takes {own.describe()}"
        if not pairs:
            return [note]
        features = self._describe_pairs(pairs, own)
        self._check_features(features)
        share = compute_separation(features)
        if share is None:
            return [note]
        note += f"; of {len(pairs)} people, pictures of one are nearer than of two in {share:.0%}"
        others = {text: self._try(pairs, text) for text in COMMON}
        best = max(others, key=others.__getitem__)
        if others[best] > share + MARGIN:
            note += (
                f", with {best!r} ({COMMON[best]}) in {others[best]:.0%}: compare {FIELD} with "
                "its publisher's preprocessing before you trust its scores"
            )
        return [note]

    def _describe(self, image: NDArray[np.uint8], convention: Convention) -> FloatArray:
        height, width = self._model.size
        resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        output = self._model.run(convention.normalise(np.asarray(resized, np.uint8))[None])
        if output.size != output.shape[1] or output.size < 2:
            raise ConfigError(
                f"{self._model.name} gives {list(output.shape)} for a picture. Allowed: a feature "
                f"[1, D], D of at least 2. What to do: name its output in {FIELD} (output NAME), "
                "or export the network without what follows its feature."
            )
        return output.reshape(-1)

    def _describe_pairs(self, pairs: Pairs, convention: Convention) -> FloatArray:
        """Describe both pictures of each person, [P, 2, D]."""
        each = [[self._describe(picture, convention) for picture in pair] for pair in pairs]
        return np.array(each, np.float32).reshape(len(pairs), 2, -1)

    def _check_features(self, features: FloatArray) -> None:
        flat = _normalise(features).reshape(-1, features.shape[2])
        nearest = float((flat @ flat.T).min()) if len(features) > 1 else 0.0
        if not np.isfinite(features).all():
            found = "features that are not finite"
        elif nearest > SAME or not features.any():
            found = f"nearly the same feature for {len(flat)} pictures of {len(features)} people"
        else:
            return
        raise ConfigError(
            f"{self._model.name} gives {found}, with {FIELD} = "
            f"{self._model.convention.describe()!r}. Allowed: features that tell people apart. "
            f"What to do: check {FIELD} against its publisher's preprocessing, and that the file "
            "holds trained weights."
        )

    def _try(self, pairs: Pairs, text: str) -> float:
        """Separate people under another common convention; 0 if the input cannot take it."""
        other = parse_convention(FIELD, text)
        words = {name: getattr(other, name) for name in ("colour", "white", "mean", "std")}
        own = replace(self._model.convention, **words)
        if not self._model.has_room(own):
            return 0.0
        return compute_separation(self._describe_pairs(pairs, own)) or 0.0


def compute_separation(features: FloatArray) -> float | None:
    """Share of comparisons in which one person's two pictures are nearer than those of two people.

    Args:
        features: [P, 2, D].

    Returns:
        The area under the ROC curve of cosine, ties half; None for fewer than 8 people.
    """
    if len(features) < 8:
        return None
    unit = _normalise(features)
    cosines = unit[:, 0] @ unit[:, 1].T  # [P, P]
    same, other = np.diag(cosines), cosines[~np.eye(len(cosines), dtype=bool)]
    return float((np.sign(same[:, None] - other[None]) + 1).mean() / 2)


def read_pairs(splits: Mapping[int, TestData], *, num_people: int = NUM_PEOPLE) -> Pairs:
    """Read two pictures of each of some people of the first split, evenly over all of them.

    The second is of another camera where there is one; of a tracklet it is the first frame.

    Raises:
        DamagedRecordError: a record cannot be read.
    """
    data = next(iter(splits.values()))
    if data.query.reader is None or data.gallery.reader is None:
        return []
    query, gallery = (
        CheckedFrames(side.manifest, side.reader)
        for side in (data.query, data.gallery)
        if side.reader is not None
    )
    first = {
        int(pid): row for row, pid in reversed([*enumerate(data.query.labels.pids)]) if pid > 0
    }
    pids = sorted(first)[:: max(1, len(first) // num_people)][:num_people]
    pairs = []
    for pid in pids:
        rows = np.flatnonzero(data.gallery.labels.pids == pid)
        if len(rows):
            same = data.gallery.labels.camids[rows] == data.query.labels.camids[first[pid]]
            row = int(rows[np.argsort(same, kind="stable")[0]])
            pairs.append((query.read(first[pid]), gallery.read(row)))
    return pairs


def _normalise(features: FloatArray) -> FloatArray:
    norms = np.linalg.norm(features, axis=-1, keepdims=True)
    return np.asarray(features / np.where(norms > 0, norms, 1), np.float32)
