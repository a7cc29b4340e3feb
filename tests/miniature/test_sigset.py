"""The sigset's XML, media and galleries, read by means other than our own reader."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import av
import pyarrow.parquet as pq

from vills.config.miniature import MiniatureConfig
from vills.miniature.people import SIGSET_OFFSET

SIGSET = "{http://www.nist.gov/briar/xml/sigset}"
EVAL = "{http://www.nist.gov/briar/xml/sigset-eval}"
FILES = {
    "train": "sigsets_main/Train_miniature.xml",
    "probe": "sigsets_main/Probe_miniature_ALL.xml",
    "gallery_1": "sigsets_gallery/Gallery_1.xml",
    "gallery_2": "sigsets_gallery/Gallery_2.xml",
}
Members = list[dict[str, str]]


def load(world: Path, name: str) -> list[tuple[str, str, Members]]:
    """Name, subject and members of each signature."""
    root = ET.parse(world / "sigset" / FILES[name]).getroot()
    assert root.tag == f"{SIGSET}sigset"
    found = []
    for signature in root.iter(f"{SIGSET}signature"):
        members = [
            {child.tag.split("}")[1]: child.text or "" for child in member}
            for member in signature.iter(f"{SIGSET}sigmember")
        ]
        label = signature.findtext(f"{SIGSET}name")
        subject = signature.findtext(f"{SIGSET}subjectId")
        assert label
        assert subject
        found.append((label, subject, members))
    return found


def test_every_file_is_well_formed_and_names_media_that_exist(world: Path) -> None:
    for name in FILES:
        signatures = load(world, name)
        assert len({label for label, _, _ in signatures}) == len(signatures)
        identifiers = [m["id"] for _, _, members in signatures for m in members]
        assert len(set(identifiers)) == len(identifiers)
        for _, subject, members in signatures:
            assert re.fullmatch(r"G\d{5}", subject)
            assert members
            for member in members:
                assert (world / "sigset" / member["filePath"]).is_file()
                assert subject in member["filePath"]
                kind = {"digitalStill": "jpeg", "digitalVideo": "mp4"}[member["media"]]
                assert member["mediaFormat"] == kind
                assert member["modality"] in ("wholeBody", "face")


def test_every_medium_but_a_face_belongs_to_its_subject(world: Path) -> None:
    rows = pq.read_table(world / "truth" / "sigset.parquet", columns=["path", "person"]).to_pylist()
    shown: dict[str, set[int]] = {}
    for row in rows:
        shown.setdefault(row["path"], set()).add(row["person"])
    root = world / "sigset"
    media = {
        file.relative_to(root).as_posix()
        for file in (root / "BTS1").rglob("[!.T]*")
        if file.is_file()
    }
    assert {path for path in media if "/face/" not in path} == set(shown)
    assert any("/face/" in path for path in media)
    for path, people in shown.items():
        pid = int(path.split("/")[2][1:])
        assert SIGSET_OFFSET + pid in people
        assert all(p == SIGSET_OFFSET + pid or p < SIGSET_OFFSET for p in people)


def test_subjects_are_trained_on_or_asked_for_or_in_the_way(
    world: Path, small: MiniatureConfig
) -> None:
    train, probes, first, second = ({s for _, s, _ in load(world, name)} for name in FILES)
    assert len(train) == len(probes) == small.num_sigset_ids
    assert not train & (probes | first | second)
    # One subject is in no gallery, one more in the first alone.
    assert len(probes - first) == 1
    assert len(probes - second) == 2
    assert len((first | second) - probes) == small.num_distractors
    assert not (first - probes) & (second - probes)


def test_galleries_have_one_template_per_subject_in_the_first_outfit(world: Path) -> None:
    probed = {m["filePath"] for _, _, members in load(world, "probe") for m in members}
    for name in ("gallery_1", "gallery_2"):
        signatures = load(world, name)
        assert len({subject for _, subject, _ in signatures}) == len(signatures)
        for _, _, members in signatures:
            paths = [member["filePath"] for member in members]
            assert all("_set1_" in path for path in paths)
            assert not probed & set(paths)
            assert {member["media"] for member in members} == {"digitalStill", "digitalVideo"}
            assert len(members) >= 3


def test_probes_are_single_media_in_both_outfits_and_some_are_cut(
    world: Path, small: MiniatureConfig
) -> None:
    units = set()
    kinds = set()
    for _, _, members in load(world, "probe"):
        (member,) = members
        kinds.add((member["media"], "_set2_" in member["filePath"]))
        if "unit" not in member:
            continue
        units.add(member["unit"])
        rate = {"frame": 1, "second": 12}[member["unit"]]
        with av.open(str(world / "sigset" / member["filePath"])) as container:
            frames = sum(1 for _ in container.decode(video=0))
        assert frames == small.tracklet_frames + 4
        start, stop = (round(float(member[name]) * rate) for name in ("start", "stop"))
        assert 0 < start < stop == frames
    assert units == {"frame", "second"}
    assert kinds == {("digitalStill", True), ("digitalVideo", True), ("digitalVideo", False)}


def test_elements_of_a_piece_are_in_the_namespace_of_evaluation(world: Path) -> None:
    root = ET.parse(world / "sigset" / FILES["probe"]).getroot()
    assert root.find(f".//{EVAL}start") is not None
    assert root.find(f".//{SIGSET}start") is None
