import numpy as np

from vills.lse.crop import Crop, compute_iou, compute_mask_iou, extract_mask


def make_crop(width: int, height: int, box: tuple[float, float, float, float]) -> Crop:
    return Crop(np.zeros((height, width, 3), np.uint8), "r", 0, "a.jpg", 0, box)


def test_points_of_the_frame_land_in_a_rescaled_crop() -> None:
    crop = make_crop(32, 64, (100.0, 50.0, 164.0, 178.0))  # the crop has half the size of its box
    mapped = crop.map_points(np.array([[100, 50], [164, 178], [132, 114]], np.float32))
    np.testing.assert_allclose(mapped, [[0, 0], [32, 64], [16, 32]])


def test_iou_against_a_plain_loop() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 5, 15, 15], [20, 20, 30, 30], [2, 2, 2, 9]], np.float32)
    one = (0.0, 0.0, 10.0, 10.0)
    expected = []
    for x1, y1, x2, y2 in boxes.tolist():
        inter = max(0, min(x2, 10) - max(x1, 0)) * max(0, min(y2, 10) - max(y1, 0))
        expected.append(inter / ((x2 - x1) * (y2 - y1) + 100 - inter))
    np.testing.assert_allclose(compute_iou(boxes, one), expected, rtol=1e-6)


def test_mask_is_cut_exactly_at_full_size_and_empty_outside() -> None:
    whole = np.zeros((40, 60), bool)
    whole[10:20, 30:45] = True
    cut = extract_mask(whole, box=(25.0, 5.0, 65.0, 25.0), size=(20, 40))
    expected = np.zeros((20, 40), bool)
    expected[5:15, 5:20] = True
    np.testing.assert_array_equal(cut, expected)


def test_mask_is_rescaled_with_the_crop() -> None:
    whole = np.zeros((40, 60), bool)
    whole[10:20, 30:50] = True
    cut = extract_mask(whole, box=(20.0, 0.0, 60.0, 40.0), size=(20, 20))
    expected = np.zeros((20, 20), bool)
    expected[5:10, 5:15] = True
    np.testing.assert_array_equal(cut, expected)


def test_mask_iou() -> None:
    a, b = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    assert compute_mask_iou(a, b) == 0.0
    a[:2], b[1:3] = True, True
    assert compute_mask_iou(a, b) == 4 / 12


def test_seed_depends_on_record_and_position_only() -> None:
    image = np.zeros((8, 4, 3), np.uint8)
    seeds = {
        Crop(image, name, position, path, 0, (0, 0, 4, 8)).seed
        for name in ("a", "b")
        for position in (0, 1)
        for path in ("x", "y")
    }
    assert len(seeds) == 4
