import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.data.raw_copies import PixelWriter, encode_pixel, write_sigset
from vills.data.discovery import find_datasets
from vills.data.layouts import LayoutError, RawImage, RawTracklet, RawVideo, read_layout
from vills.data.layouts.base import Layout
from vills.data.layouts.counts import convert_counts, count_splits
from vills.data.readable import find_unreadable
from vills.data.survey import Survey, compute_surveys, render_surveys

Touch = Callable[..., Path]


def find_layouts(root: Path) -> dict[str, str]:
    return {f.path.relative_to(root).as_posix(): f.layout for f in find_datasets(root)}


def survey_all(root: Path, **settings: Any) -> list[Survey]:
    return list(compute_surveys(root, check_video=check_size, **settings))


def check_size(layout: Layout, video: RawVideo, full: bool) -> tuple[str, list[str]]:
    is_empty = not (layout.root / video.path).stat().st_size
    return ("the file is empty", []) if is_empty else ("", ["that are short"])


def survey_one(root: Path, *, full: bool = False) -> Survey:
    (survey,) = survey_all(root, full=full)
    return survey


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/b/bounding_box_test/x.jpg"], {"a/b": "market1501"}),
        (["bounding_box_train/x.jpg"], {".": "market1501"}),
        (["mars/info/query_IDX.mat"], {"mars": "mars"}),
        (["prcc/rgb/test/C/001/cropped_rgb001.jpg"], {"prcc": "prcc"}),
        (["prcc/val/001/A_cropped_rgb001.jpg"], {"prcc": "prcc"}),
        (["x/query/001_1_c12_000001.png"], {"x": "ltcc"}),
        (["x/info/cloth-change_id_test.txt"], {"x": "ltcc"}),
        (["p/prid_2011/multi_shot/cam_a/x"], {"p": "prid2011"}),
        (["p/splits_prid2011.json"], {"p": "prid2011"}),
        (["k/k700/train/walking/a.mp4", "k/k700/val/b.mp4"], {"k": "kinetics"}),
        (["a/x.mp4", "b/y.avi"], {"a": "kinetics", "b": "kinetics"}),
        (["LUP/images/anything.jpg"], {"LUP": "luperson"}),
        (["crops/us/boston/00000002_0001.jpg"], {"crops": "luperson"}),
        (["crops/lup.lmdb/data.mdb", "crops/keys.pkl"], {"crops": "luperson"}),
        (["own/0001/0001C1T0001F001.jpg", "own/0002/0002C1T0001F001.jpg"], {"own": "folder"}),
        (["own/train/0001_c1.jpg", "own/query/0002_c1.jpg"], {"own": "folder"}),
        (["own/splits.csv"], {"own": "folder"}),
        (["reid/a/0001_c1.jpg", "reid/b/0001_c1.jpg"], {"reid/a": "folder", "reid/b": "folder"}),
        (["0001_c1.jpg"], {".": "folder"}),
        (["pictures/holiday.jpg", "papers/a.pdf"], {"pictures": "", "papers": ""}),
        (["mars/bbox_test/x", "mars_old/readme"], {"mars": "mars", "mars_old": ""}),
        ([".hidden/bbox_test/x", "__MACOSX/bbox_test/x"], {}),
    ],
)
def test_data_sets_are_found_by_names(
    names: list[str], expected: dict[str, str], touch: Touch
) -> None:
    assert find_layouts(touch(*names)) == dict(sorted(expected.items()))


def test_sigsets_are_found_by_their_files(tmp_path: Path) -> None:
    write_sigset(tmp_path / "a")
    write_sigset(tmp_path / "b")
    (tmp_path / "b/sigsets_main/Probe_BTS_ALL.xml").rename(tmp_path / "b/Probe.xml")
    (tmp_path / "b/sigsets_gallery/Gallery_1.xml").rename(tmp_path / "b/Gallery_1.xml")
    assert find_layouts(tmp_path) == {"a": "sigset", "b": "sigset"}


def test_a_folder_that_cannot_be_listed_is_broken(
    touch: Touch, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = touch("a/0001_c1.jpg", "locked/x")
    real = Path.iterdir

    def iterdir(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    surveys = {survey.path: survey for survey in survey_all(root)}
    assert surveys["locked"].verdict == "broken"
    assert f"cannot read {root / 'locked'} (Permission denied" in surveys["locked"].problems[0]


def test_counts_of_a_layout() -> None:
    layout = Layout(
        "folder",
        Path(),
        images=[
            RawImage("a", "train", 1, 0, 5),
            RawImage("b", "train", 1, 10, 6),
            RawImage("c", "gallery", -1, 0),
            RawImage("d", "gallery", 0, -1),
        ],
        tracklets=[RawTracklet(("e", "f", "g"), "gallery", 2, 3), RawTracklet(("h",), "query", 2)],
    )
    counts = count_splits(layout)
    assert list(counts) == ["train", "query", "gallery"]
    gallery = counts["gallery"]
    assert (gallery.rows, gallery.junk, gallery.distractors, gallery.files) == (2, 1, 1, 5)
    assert gallery.lengths == {3: 1}
    flat = convert_counts(counts, num_splits=10)
    assert (flat["train"], flat["train ids"], flat["train camera 11"]) == (2, 1, 1)
    assert (flat["gallery"], flat["gallery ids"], flat["gallery junk"]) == (2, 1, 1)
    assert (flat["ids"], flat["cameras"], flat["test images"], flat["images"]) == (2, 3, 6, 8)
    assert flat["splits"] == 10


def test_headers_and_pixels(tmp_path: Path) -> None:
    root = tmp_path / "own"
    names = [f"{pid:04d}_c{cam}.jpg" for pid in (1, 2) for cam in (1, 2)]
    PixelWriter(root).write(names)
    assert survey_one(root).verdict == "ok"
    (root / names[1]).unlink()  # or all names of that file would change
    Image.effect_noise((64, 64), 80).save(root / names[1])
    whole = (root / names[1]).read_bytes()
    (root / names[1]).write_bytes(whole[: len(whole) // 2])
    assert survey_one(root).verdict == "ok", "a header says nothing of the rest"
    survey = survey_one(root, full=True)
    assert survey.verdict == "broken"
    assert [path for path, _ in survey.unreadable] == [names[1]]
    assert survey.unreadable[0][1].startswith("image file is truncated")
    (root / names[0]).unlink()
    (root / names[0]).touch()
    (root / names[2]).write_text("<html>")
    (root / names[3]).unlink()
    (root / names[3]).symlink_to("nowhere")
    survey = survey_one(root)
    assert survey.unreadable == (
        (names[0], "not a known image format"),
        (names[2], "not a known image format"),
        (names[3], "No such file or directory"),
    )
    assert survey.problems[0].startswith("3 of 4 files cannot be read: 0001_c1.jpg (not a known")


def test_many_files_keep_their_order(tmp_path: Path) -> None:
    names = [f"{i:08d}_0001.jpg" for i in range(2_500)]
    PixelWriter(tmp_path / "luperson").write(names)
    for name in names[::500]:
        (tmp_path / "luperson" / name).unlink()
        (tmp_path / "luperson" / name).touch()
    layout = read_layout("luperson", tmp_path / "luperson")
    done: list[int] = []
    damaged = find_unreadable(
        layout,
        full=False,
        check_video=lambda layout, video, full: ("", ()),
        progress=done.append,
        video_changes=Counter(),
    )
    assert [path for path, _ in damaged] == names[::500]
    assert done == sorted(done)
    assert done[-1] == 2_500


def test_what_the_check_says_of_a_video_is_listed(touch: Touch) -> None:
    root = touch("k/a.mp4", "k/b.mp4")
    (root / "k/a.mp4").write_text("x")
    survey = survey_one(root)
    assert survey.unreadable == (("b.mp4", "the file is empty"),)
    assert survey.notes[-1] == "1 video that are short"


def test_entries_without_media_are_named(tmp_path: Path) -> None:
    write_sigset(tmp_path / "sigset")
    assert survey_one(tmp_path).verdict == "ok"
    (tmp_path / "sigset/BTS1/full/G00002/controlled/G00002_set2_struct_1.jpg").unlink()
    survey = survey_one(tmp_path)
    assert survey.verdict == "differs"
    assert "1 of 9 templates have no media: probe/probeG00002." in survey.problems[0]


def test_mars_files_that_no_track_names(tmp_path: Path) -> None:
    from tests.data.raw_copies import MARS_TEST, MARS_TRAIN, list_mars, write_mars_info

    pixels = PixelWriter(tmp_path / "mars")
    pixels.write(list_mars(MARS_TRAIN, MARS_TEST))
    write_mars_info(tmp_path / "mars", {"train": MARS_TRAIN, "test": MARS_TEST}, [3, 5])
    assert not survey_one(tmp_path).notes
    pixels.write(["bbox_test/0002/0002C1T0099F001.jpg"])
    (tmp_path / "mars/bbox_test/Thumbs.db").touch()
    (tmp_path / "mars" / list_mars(MARS_TRAIN, [])[0]).unlink()
    survey = survey_one(tmp_path)
    assert survey.notes == ("bbox_test: ignored 1 images that no track names, and 1 other files",)
    assert survey.verdict == "broken"
    assert survey.unreadable == (
        ("bbox_train/0001/0001C1T0001F001.jpg", "No such file or directory"),
    )


def test_a_wrong_level_is_told_from_below(tmp_path: Path) -> None:
    folder = tmp_path / "m/Market-1501-v15.09.15/query"
    folder.mkdir(parents=True)
    (folder.parent / "bounding_box_train").mkdir()
    (folder / "0001_c1s1_000001_00.jpg").write_bytes(encode_pixel(".jpg"))
    survey = survey_one(folder)
    assert (survey.path, survey.layout, survey.verdict) == (".", "market1501", "broken")
    assert survey.problems[0].endswith(f"give {folder.parent}.")


def test_no_folder_and_nothing_in_it(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no folder .*VILLS_DATA"):
        survey_all(tmp_path / "absent")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(LayoutError, match=r"notes\.txt is not a folder.*VILLS_DATA"):
        survey_all(tmp_path / "notes.txt")
    with pytest.raises(LayoutError, match=r"no data set in .*VILLS_DATA"):
        survey_all(tmp_path)


def test_names_of_folders_that_are_not_utf8_can_be_printed(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/Se\xe9an")).mkdir()
    assert r"Se\udce9an  -" in render_surveys(survey_all(tmp_path))


def test_links_in_circles_end(touch: Touch) -> None:
    root = touch("a/b/c/d/e/notes.txt")
    for name in "xyz":
        (root / "a/b/c" / name).symlink_to(root / "a/b")
    assert find_layouts(root) == {"a": ""}


def test_folders_above_that_cannot_be_read_are_nobodys_business(
    touch: Touch, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = touch("data/own/0001_c1.jpg", "data/own/0002_c1.jpg", "secret.xml")
    real = Path.open

    def open_file(path: Path, *arguments: Any) -> Any:
        if path.name == "secret.xml":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *arguments)

    monkeypatch.setattr(Path, "open", open_file)
    assert find_layouts(root / "data") == {"own": "folder"}


def test_progress_names_the_data_set(tmp_path: Path) -> None:
    PixelWriter(tmp_path).write(["own/0001_c1.jpg", "own/0002_c1.jpg"])
    said: list[tuple[str, int, int]] = []
    survey_all(tmp_path, progress=lambda *what: said.append(what))
    assert said == [("own: files read", 2, 2)]
