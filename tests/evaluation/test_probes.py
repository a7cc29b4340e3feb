"""Probes against plain loops, scikit-learn, scipy and hand cases."""

import math

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.metrics import average_precision_score
from torch import Tensor

from vills.evaluation.probes import (
    Question,
    compute_camera_hits,
    compute_effective_rank,
    compute_lda,
    compute_probes,
    compute_retrieval,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def build_question(num_people: int = 12, num_cameras: int = 3, per_camera: int = 2) -> Question:
    """Every person in every camera."""
    place = torch.arange(num_people * num_cameras * per_camera)
    cameras = place // per_camera % num_cameras
    return Question(100 - place // (per_camera * num_cameras), cameras, cameras)


def test_rank_counts_axes_of_equal_variance() -> None:
    corners = torch.cat([torch.eye(4), -torch.eye(4)])
    assert compute_effective_rank(corners) == pytest.approx(4.0)
    assert compute_effective_rank(corners[:, :1]) == pytest.approx(1.0)


def test_rank_of_two_axes_by_hand() -> None:
    # variances 4 : 1, so p = .8 and .2
    features = torch.tensor([[2.0, 0], [-2, 0], [0, 1], [0, -1]])
    by_hand = math.exp(-0.8 * math.log(0.8) - 0.2 * math.log(0.2))
    assert compute_effective_rank(features) == pytest.approx(by_hand)
    assert compute_effective_rank(7 * features + 3) == pytest.approx(by_hand)  # scale, place


@pytest.mark.parametrize("shape", [(40, 9), (9, 40)])
def test_rank_equals_the_definition(shape: tuple[int, int]) -> None:
    features = draw(*shape).numpy()
    singular = np.linalg.svd(features - features.mean(0), compute_uv=False)
    share = [s**2 / (singular**2).sum() for s in singular]
    expected = math.exp(-sum(p * math.log(p) for p in share if p > 1e-15))
    assert compute_effective_rank(torch.from_numpy(features)) == pytest.approx(expected)


def test_retrieval_by_hand() -> None:
    """Four crops on a circle, mean 0: 0 and 180 degrees are person 1, 90 and 270 are person 2."""
    features = torch.tensor([[1.0, 0.2], [-1, 0.2], [0.0, 1], [0, -1.4]])
    pids, views = torch.tensor([1, 1, 2, 2]), torch.tensor([0, 1, 0, 1])
    # each has one right and one wrong entry in the other view; the wrong one is always nearer
    nearest, precision = compute_retrieval(features, Question(pids, views, views))
    assert nearest.tolist() == [0, 0, 0, 0]
    assert precision.tolist() == [0.5, 0.5, 0.5, 0.5]
    nearest, precision = compute_retrieval(features, Question(pids, 1 - views * pids, views))
    assert len(nearest) == 4


def loop_retrieval(features: np.ndarray, question: Question) -> tuple[list[float], list[float]]:
    x = features - features.mean(0)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    pids, views = question.pids.numpy(), question.views.numpy()
    nearest, precisions = [], []
    for i in range(len(x)):
        gallery = [j for j in range(len(x)) if views[j] != views[i]]
        right = [pids[j] == pids[i] for j in gallery]
        if not any(right):
            continue
        similarity = [float(x[i] @ x[j]) for j in gallery]
        nearest.append(float(right[int(np.argmax(similarity))]))
        precisions.append(float(average_precision_score(right, similarity)))
    return nearest, precisions


def test_retrieval_equals_a_plain_loop_and_scikit_learn() -> None:
    question = build_question()
    features = draw(len(question.pids), 5)
    features += 0.8 * draw(101, 5, seed=1)[question.pids]
    keep = torch.ones(len(features), dtype=torch.bool)
    keep[[0, 1, 7, 30, 31, 32, 33]] = False  # uneven; one person is in a single camera
    keep[6:8], keep[10:12] = False, False
    found = compute_retrieval(features[keep], question.take(keep))
    nearest, precisions = loop_retrieval(features[keep].numpy(), question.take(keep))
    assert 0.1 < np.mean(nearest) < 0.9
    assert len(nearest) < int(keep.sum())
    assert found[0].tolist() == nearest
    assert found[1].tolist() == pytest.approx(precisions)


def test_features_that_are_all_alike_find_nobody() -> None:
    question = build_question(4, 2, 1)
    values = compute_probes(torch.full((8, 3), 0.3), question)
    # the right one of four comes last
    assert values["effective_rank"] == values["knn"] == values["lda_knn"] == 0.0
    assert values["map"] == pytest.approx(1 / 4)
    assert values["lda_map"] == pytest.approx(1 / 2)
    assert values["camera"] == 0.5


def test_nobody_in_two_views_is_refused() -> None:
    pids = torch.arange(4)
    with pytest.raises(ValueError, match="no person is in two views"):
        compute_retrieval(draw(4, 2), Question(pids, pids, pids))


def standardise(features: Tensor) -> np.ndarray:
    x = features.numpy()
    return np.asarray((x - x.mean(0)) / x.std(0))


def test_lda_equals_scikit_learn() -> None:
    question = build_question(6, 3, 3)
    features = draw(len(question.pids), 8) * torch.arange(1.0, 9.0) + 5
    features += 2 * draw(101, 8, seed=1)[question.pids]
    lda = LinearDiscriminantAnalysis(solver="eigen").fit(standardise(features), question.pids)
    expected = lda.transform(standardise(features))
    found = compute_lda(features, question.pids, shrinkage=0.0).apply(features)
    assert found.shape == expected.shape == (54, 5)
    torch.testing.assert_close(found.abs(), torch.from_numpy(expected).abs(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("width", [8, 80])
def test_shrunk_lda_equals_the_generalised_eigenproblem(width: int) -> None:
    """Also where crops are fewer than dimensions, and a dimension is dead."""
    question = build_question(5, 3, 2)
    features = draw(30, width) + 2 * draw(101, width, seed=1)[question.pids]
    features[:, 3] = 4.0
    live = [i for i in range(width) if i != 3]
    x, pids = standardise(features[:, live]), question.pids.numpy()
    means = np.stack([x[pids == pid].mean(0) for pid in np.unique(pids)])
    within = x - means[np.searchsorted(np.unique(pids), pids)]
    w, b = within.T @ within / len(x), means.T @ means / len(means)
    shrunk = 0.9 * w + 0.1 * np.trace(w) / width * np.eye(len(live))
    directions = scipy.linalg.eigh(b, shrunk)[1][:, ::-1][:, :4]
    found = compute_lda(features, question.pids).apply(features)
    expected = torch.from_numpy(x @ directions)
    torch.testing.assert_close(found.abs(), expected.abs(), rtol=1e-6, atol=1e-6)


def test_camera_equals_ridge_regression_of_the_other_half() -> None:
    question = build_question(10, 3, 2)
    features = draw(60, 7) + 0.5 * draw(3, 7, seed=1)[question.cameras]
    halves, expected = question.halves.numpy(), []
    assert halves.sum() == 30
    assert len({*question.pids[halves].tolist()} & {*question.pids[~halves].tolist()}) == 0
    cameras = question.cameras.numpy()
    for fitted in (halves, ~halves):
        x = features.numpy()
        z = (x - x[fitted].mean(0)) / x[fitted].std(0)
        ridge = Ridge(alpha=0.1 * fitted.sum()).fit(z[fitted], np.eye(3)[cameras[fitted]])
        expected += (ridge.predict(z[~fitted]).argmax(1) == cameras[~fitted]).tolist()
    found = compute_camera_hits(features, question)
    assert found.tolist() == expected
    assert 0.4 < float(found.mean()) < 0.95


def test_a_camera_that_one_half_lacks_is_not_asked() -> None:
    question = build_question(4, 2, 2)
    own = Question(question.pids, question.views, question.pids)
    assert "camera" not in compute_probes(draw(16, 3), own)
    assert "camera" in compute_probes(draw(16, 3), question)


def test_lda_finds_persons_under_a_scene_that_outshines_them() -> None:
    """What raw neighbours miss: persons are in few directions, the camera in strong ones."""
    question = build_question(40, 4, 2)
    features = 0.2 * draw(len(question.pids), 20)
    features[:, :8] += draw(101, 8, seed=1)[question.pids]
    features[:, 8:] += 10 * draw(len(question.pids), 12, seed=2)
    features[:, 8:] += 20 * draw(4, 12, seed=3)[question.cameras]
    values = compute_probes(features, question)
    assert values["knn"] < 0.2
    assert values["lda_knn"] > 0.9
    assert values["lda_map"] > 0.8
    assert values["camera"] > 0.9
    assert compute_probes(features, question) == values
