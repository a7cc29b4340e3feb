"""Right, half-unpacked and wrong copies of every layout, of files of one pixel.

The right copies of Market-1501, PRCC, LTCC and PRID2011 have as many files, people and cameras as
the official releases, so that `vills data check` calls them right; who is on which file is made up.
"""

from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import islice, product
from pathlib import Path

import av
import lmdb
import numpy as np
from PIL import Image
from scipy.io import savemat

from vills.data.layouts.prid2011 import load_official_splits


def encode_pixel(suffix: str) -> bytes:
    stream = BytesIO()
    Image.new("RGB", (1, 1)).save(stream, "PNG" if suffix == ".png" else "JPEG")
    return stream.getvalue()


_PIXELS = {suffix: encode_pixel(suffix) for suffix in (".jpg", ".png")}


class PixelWriter:
    """Makes image files of one pixel, no two alike."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, paths: Iterable[str]) -> None:
        """Make images below the root."""
        folders: set[Path] = set()
        for path in paths:
            target = self.root / path
            if target.parent not in folders:
                target.parent.mkdir(parents=True, exist_ok=True)
                folders.add(target.parent)
            # what stands behind the end of an image is no part of it
            target.write_bytes(_PIXELS[target.suffix] + path.encode())


def spread(num_rows: int, people: Sequence[int], cameras: Sequence[int]) -> list[tuple[int, ...]]:
    """`num_rows` of (person, camera, number): everybody in every camera, as evenly as it goes."""
    endless = ((p, c, n) for n in range(num_rows) for c, p in product(cameras, people))
    return list(islice(endless, num_rows))


def name_market(folder: str, rows: Iterable[tuple[int, ...]]) -> list[str]:
    return [
        f"{folder}/{f'{pid:04d}' if pid >= 0 else '-1'}_c{cam}s1_{number:06d}_00.jpg"
        for pid, cam, number in rows
    ]


def list_market1501() -> list[str]:
    """12,936 / 3,368 / 15,913 images and 3,819 junk."""
    train, test, cameras = range(2, 753), range(753, 1503), range(1, 7)
    return [
        *name_market("bounding_box_train", spread(12_936, train, cameras)),
        *name_market("query", spread(3_368, test, cameras)),
        *name_market("bounding_box_test", spread(13_115, test, cameras)),
        *name_market("bounding_box_test", spread(15_913 - 13_115, [0], cameras)),
        *name_market("bounding_box_test", spread(3_819, [-1], cameras)),
    ]


def list_prcc() -> list[str]:
    """17,896 + 5,002 images of 150 people, and 3,384 / 3,873 / 3,543 of 71."""
    paths = []
    for split, num_images, first in (("train", 17_896, 0), ("val", 5_002, 500)):
        for pid, camera, number in spread(num_images, range(1, 151), range(3)):
            name = f"{'ABC'[camera]}_cropped_rgb{first + number:03d}.jpg"
            paths.append(f"rgb/{split}/{pid:03d}/{name}")
    for letter, num_images in (("A", 3_384), ("B", 3_873), ("C", 3_543)):
        for pid, _, number in spread(num_images, range(151, 222), [0]):
            paths.append(f"rgb/test/{letter}/{pid:03d}/cropped_rgb{number:03d}.jpg")
    return paths


def list_ltcc() -> list[str]:
    """9,576 / 493 / 7,050 images of 152 people."""
    train, test, cameras = range(1, 78), range(78, 153), range(1, 13)
    counts = (("train", 9_576, train), ("query", 493, test), ("test", 7_050, test))
    return [
        f"{folder}/{pid:03d}_{1 + number % 2}_c{camera}_{place:06d}.png"
        for first, (folder, num_images, people) in zip((0, 10_000, 20_000), counts, strict=True)
        for place, (pid, camera, number) in enumerate(spread(num_images, people, cameras), first)
    ]


def list_prid2011() -> list[str]:
    """Tracklets of the 178 people of the official splits in two cameras, and of some others."""
    first = load_official_splits()[0]
    people = sorted({*first.train, *first.test, 6, 19, 201})
    return [
        f"multi_shot/{camera}/person_{pid:04d}/{frame:04d}.png"
        for camera in ("cam_a", "cam_b")
        for pid in people
        for frame in range(1, 4 + pid % 3)
    ]


MARS_TRAIN = [f"0001C{c}T0001F{i:03d}.jpg" for c in (1, 2) for i in (1, 2, 3)]
MARS_TEST = [
    *("00-1C1T0001F001.jpg", "0000C1T0001F001.jpg", "0000C1T0001F002.jpg"),
    *(f"{pid:04d}C{c}T0001F{i:03d}.jpg" for pid in (2, 4) for c in (3, 6) for i in (1, 2)),
]


def write_mars_info(root: Path, names: dict[str, list[str]], queries: list[int]) -> None:
    """Index files for names that are sorted by tracklet."""
    (root / "info").mkdir(parents=True)
    for part, part_names in names.items():
        (root / f"info/{part}_name.txt").write_bytes("\r\n".join(part_names).encode())
        tracks: dict[str, list[int]] = {}
        for place, name in enumerate(part_names, start=1):
            tracks.setdefault(name[: name.index("F")], []).append(place)
        rows = [
            [p[0], p[-1], -1 if track[:4] == "00-1" else int(track[:4]), int(track[5])]
            for track, p in tracks.items()
        ]
        table = np.array(rows, dtype=np.int32)
        savemat(root / f"info/tracks_{part}_info.mat", {f"track_{part}_info": table})
    wanted = np.array([queries], dtype=np.uint16)
    savemat(root / "info/query_IDX.mat", {"query_IDX": wanted})


def list_mars(train: Iterable[str], test: Iterable[str]) -> list[str]:
    parts = (("bbox_train", train), ("bbox_test", test))
    return [f"{folder}/{name[:4]}/{name}" for folder, names in parts for name in names]


def write_official_mars(root: Path, splits: Path) -> None:
    """The official index files, names to fit them, and one image of each person."""
    from vills.data.layouts.mars import load_rows

    pixels, paths = PixelWriter(root), {}
    (root / "info").mkdir(parents=True)
    (root / "info/query_IDX.mat").symlink_to(splits / "mars_query_IDX.mat")
    for part in ("train", "test"):
        path = root / f"info/tracks_{part}_info.mat"
        path.symlink_to(splits / f"mars_tracks_{part}_info.mat")
        names = []
        for track, row in enumerate(load_rows(path, f"track_{part}_info").tolist()):
            start, end, pid, camera = row
            person = "00-1" if pid == -1 else f"{pid:04d}"
            names += [f"{person}C{camera}T{track:05d}F{i:03d}.jpg" for i in range(end - start + 1)]
            paths[f"bbox_{part}/{person}/{names[-1]}"] = f"{part} {person}"
        (root / f"info/{part}_name.txt").write_text("\r\n".join(names))
    first = {person: path for path, person in reversed(paths.items())}
    pixels.write(first.values())


_SIGSET = """<?xml version="1.0" encoding="UTF-8"?>
<signatureset xmlns="http://www.nist.gov/briar/xml/sigset">
{}</signatureset>
"""
_SIGNATURE = """ <signature>
  <name>{name}</name>
  <subjectId>{subject}</subjectId>
{members} </signature>
"""
_MEMBER = """  <sigmember>
   <filePath>{path}</filePath>
   <modality>wholeBody</modality>
   <media>digitalStill</media>
   <mediaFormat>jpg</mediaFormat>
  </sigmember>
"""


def write_sigset(root: Path, *, galleries: Sequence[int] = (1, 2)) -> None:
    """Three probes, two galleries of three subjects with two stills each, one of them shared."""

    def still(subject: str, place: str, number: int) -> str:
        return f"BTS1/full/{subject}/controlled/{subject}_{place}_{number}.jpg"

    def write(path: str, entries: dict[str, tuple[str, list[str]]]) -> None:
        text = "".join(
            _SIGNATURE.format(
                name=name,
                subject=subject,
                members="".join(_MEMBER.format(path=member) for member in members),
            )
            for name, (subject, members) in entries.items()
        )
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(_SIGSET.format(text))
        stills = {member for _, members in entries.values() for member in members}
        PixelWriter(root).write(sorted(s for s in stills if not (root / s).exists()))

    subjects = ("G00001", "G00002", "G00003")
    probes = {f"probe{s}": (s, [still(s, "set2_struct", 1)]) for s in subjects}
    write("sigsets_main/Probe_BTS_ALL.xml", probes)
    trained = {f"train{s}": (s, [still(s, "set1_rand", 1)]) for s in ("G00011", "G00012")}
    write("sigsets_main/Train_BTS.xml", trained)
    for gallery in galleries:
        people = (*subjects[gallery - 1 : gallery + 1], f"G0002{gallery}")
        entries = {s: (s, [still(s, "set1_wb", number) for number in (1, 2)]) for s in people}
        write(f"sigsets_gallery/Gallery_{gallery}.xml", entries)
    (root / "sigsets_gallery").mkdir(exist_ok=True)


def write_video(path: Path, *, num_frames: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 16
        rng = np.random.default_rng(0)
        for _ in range(num_frames):
            pixels = rng.integers(0, 255, (16, 16, 3), dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels)):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)


def write_database(root: Path, keys: Sequence[str], *, stored: Sequence[str]) -> None:
    """An LMDB of LUPerson, and the keys that are said to be in it."""
    import pickle

    root.mkdir(parents=True)
    with lmdb.open(str(root / "lup.lmdb"), map_size=2**20) as store, store.begin(write=True) as txn:
        for key in stored:
            txn.put(key.encode(), encode_pixel(".jpg"))
    (root / "lup.lmdb/lock.mdb").unlink()
    (root / "keys.pkl").write_bytes(pickle.dumps({"keys": list(keys)}))


def write_right(root: Path) -> None:
    """A right copy of every layout; MARS is small, since its official index is not ours to keep."""
    pixels = PixelWriter(root)
    pixels.write(f"Market-1501-v15.09.15/{path}" for path in list_market1501())
    pixels.write(f"prcc/{path}" for path in list_prcc())
    pixels.write(f"LTCC_ReID/{path}" for path in list_ltcc())
    pixels.write(f"prid2011/prid_2011/{path}" for path in list_prid2011())
    (root / "Market-1501-v15.09.15/query/Thumbs.db").touch()
    pixels.write(f"mars/{path}" for path in list_mars(MARS_TRAIN, MARS_TEST))
    write_mars_info(root / "mars", {"train": MARS_TRAIN, "test": MARS_TEST}, [3, 5])
    write_sigset(root / "sigset")
    for name in ("train/walking/2WnNED_8iKq_000158_000168", "val/hismL4fiWLL_000134_000144"):
        write_video(root / f"k700-2020/{name}.mp4")
    pixels.write(f"luperson/us/boston/{i:08d}_0001.jpg" for i in range(5))
    pixels.write(f"own_images/{p:04d}_c{c}_{i}.jpg" for p, c, i in spread(24, range(1, 5), [1, 2]))
    pixels.write(
        f"own_clips/{p:04d}C{c}T0001F{i:03d}.jpg" for p, c, i in spread(24, range(1, 5), [1, 2])
    )
    (root / "papers").mkdir()
    (root / "papers/mars.pdf").touch()


def write_half(root: Path) -> None:
    """Half-unpacked copies."""
    pixels = PixelWriter(root)
    market = list_market1501()
    pixels.write(f"Market-1501-v15.09.15/{p}" for p in market[:500] if "query" not in p)
    pixels.write(f"LTCC_ReID/{path}" for path in list_ltcc()[:12_000])
    pixels.write(f"prcc/{p}" for p in list_prcc()[::40] if "test/B" not in p)
    pixels.write(f"prid2011/{p}" for p in list_prid2011() if "cam_b/person_01" not in p)
    pixels.write(f"mars/{path}" for path in list_mars(MARS_TRAIN, MARS_TEST[:-4]))
    write_mars_info(root / "mars", {"train": MARS_TRAIN, "test": MARS_TEST}, [3, 5])
    write_sigset(root / "sigset", galleries=())
    write_video(root / "k700-2020/val/hismL4fiWLL_000134_000144.mp4")
    broken = root / "k700-2020/val/2WnNED_8iKq_000158_000168.mp4"
    broken.write_bytes((broken.parent / "hismL4fiWLL_000134_000144.mp4").read_bytes()[:200])
    pixels.write(f"luperson/us/boston/{i:08d}_0001.jpg" for i in range(5))
    (root / "luperson/us/boston/00000003_0001.jpg").unlink()
    (root / "luperson/us/boston/00000003_0001.jpg").touch()
    pixels.write(f"own_images/{path}" for path in ("train/0001_c1.jpg", "gallery/0002_c1.jpg"))
    (root / "own_images/query").mkdir()


def write_wrong(root: Path, *, right: Path) -> None:
    """Copies of another version or another data set; `right` are right copies to link to."""
    pixels = PixelWriter(root)
    pixels.write(
        f"Market-1501-v15.09.15/{folder}/{pid:04d}_c{camera}_f{number:07d}.jpg"
        for folder in ("bounding_box_train", "query", "bounding_box_test")
        for pid, camera, number in spread(40, range(1, 6), range(1, 9))
    )
    _link_merged(root, right)
    pixels.write(f"prid2011/single_shot/cam_{c}/person_0001.png" for c in "ab")
    pixels.write(f"mars/{path}" for path in list_mars(MARS_TRAIN, MARS_TEST))
    write_mars_info(root / "mars", {"train": MARS_TRAIN, "test": MARS_TEST}, [3, 5])
    names = "\r\n".join(MARS_TEST[:-1])
    (root / "mars/info/test_name.txt").write_text(names)
    write_sigset(root / "sigset")
    probe = root / "sigset/sigsets_main/Probe_BTS_ALL.xml"
    probe.write_text(probe.read_text().replace("BTS1/", "BTS5/"))
    page = root / "k700-2020/val/hismL4fiWLL_000134_000144.mp4"
    page.parent.mkdir(parents=True)
    page.write_text("<html>This video is not available</html>")
    keys = [f"00_00_0000_{i:08d}" for i in range(4)]
    write_database(root / "luperson", keys, stored=[*keys[:3], "01_00_0000_00000000"])
    pixels.write(("own_images/0001_c1.jpg", "own_images/0001C1T0001F001.jpg"))


def _link_merged(root: Path, right: Path) -> None:
    """PRCC with the images of val in train, LTCC with the queries in test: links to `right`."""
    (root / "LTCC_ReID/test").mkdir(parents=True)
    for name, source in (("train", "train"), ("query", "query"), ("test/a", "test")):
        (root / "LTCC_ReID" / name).symlink_to(right / "LTCC_ReID" / source)
    (root / "LTCC_ReID/test/b").symlink_to(right / "LTCC_ReID/query")
    (root / "prcc/rgb").mkdir(parents=True)
    (root / "prcc/rgb/test").symlink_to(right / "prcc/rgb/test")
    for person in (right / "prcc/rgb/train").iterdir():
        (root / "prcc/rgb/train" / person.name).mkdir(parents=True)
        for split in ("train", "val"):
            link = root / "prcc/rgb/train" / person.name / split
            link.symlink_to(right / "prcc/rgb" / split / person.name)
