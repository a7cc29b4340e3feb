"""What features know of persons and of cameras, asked with closed forms: nothing is trained.

Legend: n crops, D width, P persons, C cameras, r rank, h crops that a half of the persons has.

All sums are float64 on the CPU, so that the numbers hang on features and thread count alone.
Persons are parted into two halves; what is fitted on one half is scored on the other, both ways.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

SHRINKAGE = 0.1
"""Of the within-person covariance towards its mean variance, and of the camera's ridge."""
_FLAT = 1e-6
"""A column that varies less than this share of the largest value is rounding."""


@dataclass(frozen=True, slots=True)
class Question:
    """Who is on n crops, int64 [n] each."""

    pids: Tensor
    """Person of every crop."""
    views: Tensor
    """What a neighbour must differ in to count: the camera, or the end of a tracklet."""
    cameras: Tensor
    """What the camera probe has to tell."""

    @property
    def halves(self) -> Tensor:
        """Bool [n]: whether a crop's person, by number, stands at an odd place."""
        odd: Tensor = torch.unique(self.pids, return_inverse=True)[1] % 2 == 1
        return odd

    def take(self, rows: Tensor) -> "Question":
        """Return the crops of a bool mask [n]."""
        return Question(self.pids[rows], self.views[rows], self.cameras[rows])


def compute_probes(features: Tensor, question: Question) -> dict[str, float]:
    """All probes of features [n, D]; `camera` is left out where no camera has both halves.

    effective_rank: see `compute_effective_rank`. knn: share of crops whose nearest neighbour in
    another view is the same person. map: their mean average precision over all other views.
    lda_knn, lda_map: the same within a half, after LDA fitted on the other half's persons.
    camera: share of crops whose camera ridge regression tells, fitted on other persons.
    """
    features = features.double().cpu()
    nearest, precision = compute_retrieval(features, question)
    parts = []
    for fitted in (question.halves, ~question.halves):
        lda = compute_lda(features[fitted], question.pids[fitted])
        parts.append(compute_retrieval(lda.apply(features[~fitted]), question.take(~fitted)))
    lda_nearest, lda_precision = (torch.cat(values) for values in zip(*parts, strict=True))
    told = compute_camera_hits(features, question)
    values = {
        "effective_rank": compute_effective_rank(features),
        "knn": float(nearest.mean()),
        "map": float(precision.mean()),
        "lda_knn": float(lda_nearest.mean()),
        "lda_map": float(lda_precision.mean()),
    }
    return {**values, "camera": float(told.mean())} if len(told) else values


def compute_effective_rank(features: Tensor) -> float:
    """How many directions the features [n, D] use: between 1 and min(n - 1, D); 0 if all are alike.

    exp(-sum_i p_i ln p_i), where p_i is the share of the variance along principal axis i: the
    effective rank of Roy and Vetterli (EUSIPCO 2007) of the covariance matrix, whose singular
    values are the squares of those of the centred features. RankMe (Garrido et al., ICML 2023)
    takes the features' own, which counts faint directions for more.
    """
    centred = features.double() - features.double().mean(dim=0)
    if centred.abs().max() <= _FLAT * features.abs().max():
        return 0.0
    tall = len(centred) > centred.shape[1]
    gram = centred.T @ centred if tall else centred @ centred.T  # the same spectrum but for zeros
    variance = torch.linalg.eigvalsh(gram).clamp(min=0.0)
    return float(torch.special.entr(variance / variance.sum()).sum().exp())


def compute_retrieval(features: Tensor, question: Question) -> tuple[Tensor, Tensor]:
    """Of every crop with its person in another view: (nearest is right, average precision).

    Cosine similarity of features [n, D] less their mean. A crop's gallery is everything in other
    views than its own, whoever it shows. Of entries at equal similarity the wrong ones come first:
    features that are all alike find nobody. Average precision is the mean of i / R_i (`step`).

    Raises:
        ValueError: if no person is in two views.
    """
    unit = functional.normalize(features.double() - features.double().mean(dim=0), dim=1)
    similarity = unit @ unit.T
    other = question.views[:, None] != question.views
    right = other & (question.pids[:, None] == question.pids)
    asked = right.any(dim=1)
    if not asked.any():
        raise ValueError("no person is in two views: there is nothing to find")
    right, other, similarity = right[asked], other[asked], similarity[asked]
    lowest = float("-inf")
    wrong = similarity.masked_fill(~other | right, lowest).sort(dim=1).values
    num_right = right.sum(dim=1)
    hits = similarity.masked_fill(~right, lowest).sort(dim=1, descending=True).values
    hits = hits[:, : int(num_right.max())].contiguous()
    before = wrong.shape[1] - torch.searchsorted(wrong, hits)  # wrong ones that are as near
    found = torch.arange(1, hits.shape[1] + 1)  # i
    precision = (found / (found + before).double()).masked_fill(found > num_right[:, None], 0.0)
    return (before[:, 0] == 0).double(), precision.sum(dim=1) / num_right


@dataclass(frozen=True, slots=True)
class Projection:
    """Features [m, D] -> discriminant coordinates [m, r]."""

    mean: Tensor
    """[D]."""
    directions: Tensor
    """[D, r]."""

    def apply(self, features: Tensor) -> Tensor:
        """Coordinates of features [m, D]."""
        return (features - self.mean) @ self.directions


def compute_lda(features: Tensor, pids: Tensor, *, shrinkage: float = SHRINKAGE) -> Projection:
    """Linear discriminant analysis (Fisher 1936) of standardised features [h, D] by person.

    Directions v that maximise v' B v / v' W v, scaled to v' W v = 1, with B the covariance of
    person means, W that within persons, shrunk to (1 - s) W + s tr(W) / D I (as scikit-learn's
    solver `eigen` takes it). At most P - 1 of them, found within the span of the features, outside
    of which B is 0 and W a multiple of I.
    """
    mean, scale = _compute_scale(features)
    x = (features - mean) / scale
    people, index = torch.unique(pids, return_inverse=True)
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    kept = s > _FLAT * s.max()
    basis, z = vh[kept].T, u[:, kept] * s[kept]  # [D, r], [h, r]
    count = torch.bincount(index).double()
    means = z.new_zeros(len(people), z.shape[1]).index_add_(0, index, z) / count[:, None]
    within = z - means[index]
    covariance = within.T @ within / len(z)
    shrunk = (1 - shrinkage) * covariance
    shrunk.diagonal().add_(shrinkage * float(covariance.trace()) / x.shape[1])
    spread, axes = torch.linalg.eigh(shrunk)
    whiten = axes / spread.clamp(min=_FLAT**2).sqrt()  # 0 where every person has one feature
    between = (count / len(z)).sqrt()[:, None] * (means @ whiten)
    _, _, discriminants = torch.linalg.svd(between, full_matrices=False)
    top = whiten @ discriminants[: len(people) - 1].T
    return Projection(mean, basis @ top / scale[:, None])


def compute_camera_hits(
    features: Tensor, question: Question, *, shrinkage: float = SHRINKAGE
) -> Tensor:
    """Whether the camera of a crop is told, 0 or 1, of every crop whose camera the other half has.

    Ridge regression (Hoerl and Kennard 1970) of one-hot cameras on standardised features [h, D]
    with intercept and penalty s h |w|^2, fitted on one half of the persons; the camera with the
    largest output wins. In its dual form: (X X' + s h I) a = Y, w = X' a.
    """
    told = []
    for fitted in (question.halves, ~question.halves):
        cameras, index = torch.unique(question.cameras[fitted], return_inverse=True)
        asked = ~fitted & torch.isin(question.cameras, cameras)
        if len(cameras) < 2:
            continue
        mean, scale = _compute_scale(features[fitted])
        x, y = (features[fitted] - mean) / scale, functional.one_hot(index).double()
        kernel = x @ x.T
        kernel.diagonal().add_(shrinkage * len(x))
        weights = x.T @ torch.linalg.solve(kernel, y - y.mean(dim=0))  # [D, C]
        output = (features[asked] - mean) / scale @ weights + y.mean(dim=0)
        told.append((cameras[output.argmax(dim=1)] == question.cameras[asked]).double())
    return torch.cat(told) if told else torch.zeros(0, dtype=torch.float64)


def _compute_scale(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean [D] and standard deviation [D] of features; inf, which mutes, where nothing varies."""
    mean, deviation = features.mean(dim=0), features.std(dim=0, correction=0)
    flat = deviation <= _FLAT * features.abs().amax()
    return mean, deviation.masked_fill(flat, float("inf"))
