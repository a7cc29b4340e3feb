from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from vills.data.layouts import (
    Layout,
    LayoutError,
    RawImage,
    RawTemplate,
    RawTracklet,
    RawVideo,
    read_layout,
)

SIGSET, EVALUATION = (
    "http://www.nist.gov/briar/xml/sigset",
    "http://www.nist.gov/briar/xml/sigset-eval",
)
STILL = "BTS1/full/G00038/controlled/images_jpg/wb/G00038_set1_wb_00.jpg"
VIDEO = "BTS1/full/G00038/field/videos/G00038_set2_wb_00.mp4"
OTHER = "BTS1/full/G00040/G00040_set1_00.jpg"
STRANGER = "BTS1/distractors/G00050/G00050_set1_00.jpg"


def member(path: str, **fields: str) -> dict[str, str]:
    media = "digitalVideo" if path.endswith("mp4") else "digitalStill"
    return {"filePath": f"./{path}", "modality": "wholeBody", "media": media} | fields


def signature(name: str, subject: str | Iterable[str], *members: dict[str, str]) -> str:
    """A signature; fields start, stop and unit are of the namespace for evaluations."""
    subjects = [subject] if isinstance(subject, str) else subject
    parts = [f"<name>{name}</name>", *(f"<subjectId>{s}</subjectId>" for s in subjects)]
    for fields in members:
        parts.append("<sigmember>")
        for tag, text in fields.items():
            prefix = "e:" if tag in ("start", "stop", "unit") else ""
            parts.append(f"<{prefix}{tag}>\r\n  {escape(text)}\r\n</{prefix}{tag}>")
        parts.append("</sigmember>")
    return f"<signature>{''.join(parts)}</signature>"


def write_sigset(path: Path, *signatures: str, head: str = '<?xml version="1.0"?>') -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "".join(signatures)
    text = f'{head}<s xmlns="{SIGSET}" xmlns:e="{EVALUATION}"><name>main</name>{body}</s>'
    path.write_bytes(text.encode())
    return path


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write_probe(root: Path, *signatures: str, **options: str) -> Path:
    return write_sigset(root / "sigsets_main" / "Probe_x_ALL.xml", *signatures, **options)


def write_gallery(root: Path, *signatures: str, name: str = "Gallery_1") -> Path:
    return write_sigset(root / "sigsets_gallery" / f"{name}.xml", *signatures)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two probes, a gallery of two subjects, and a stray file."""
    touch(tmp_path, STILL, VIDEO, OTHER, STRANGER, "sigsets_main/readme.txt", "Thumbs.db")
    write_probe(tmp_path, signature("p1", "G00038", member(VIDEO)))
    write_gallery(
        tmp_path,
        signature("g1", "G00038", member(STILL)),
        signature("g2", "G00050", member(STRANGER)),
    )
    return tmp_path


def read(root: Path) -> Layout:
    return read_layout("sigset", root)


def refuse(root: Path, match: str) -> None:
    with pytest.raises(LayoutError, match=match) as caught:
        read(root)
    assert "What to do" in str(caught.value)


def test_probe_and_gallery(root: Path) -> None:
    layout = read(root)
    assert list(layout.images) == [
        RawImage(STRANGER, "gallery", pid=50, clothes_id=5001),
        RawImage(STILL, "gallery", pid=38, clothes_id=3801),
    ]
    assert list(layout.videos) == [RawVideo(VIDEO, VIDEO, "query", pid=38, clothes_id=3802)]
    assert layout.templates == (
        RawTemplate("gallery_1", "G00038", 38, (STILL,)),
        RawTemplate("gallery_1", "G00050", 50, (STRANGER,)),
        RawTemplate("probe", "p1", 38, (VIDEO,)),
    )
    assert layout.notes == (
        ".: 3 other files ignored (1 .db, 1 .jpg, 1 .txt): Thumbs.db, "
        "BTS1/full/G00040/G00040_set1_00.jpg, sigsets_main/readme.txt",
        "1 people of galleries are distractors: no probe shows them: 50",
    )


def test_two_galleries_blended_ones_and_training(root: Path) -> None:
    write_gallery(root, signature("g", "G00040", member(OTHER)), name="GALLERY_2")
    write_gallery(
        root,
        signature("a", "G00038", member(STILL)),
        signature("b", "G00040", member(OTHER)),
        signature("c", "G00040", member("BTS1/more.jpg"), member(OTHER)),
        name="Blended_Gallery_1",
    )
    learned = [f"BTS1/train/G00007/{name}" for name in ("a.jpg", "set2_b.mp4")]
    touch(root, "BTS1/more.jpg", *learned)
    write_sigset(
        root / "sigsets_main" / "train_x.xml",
        signature("t", "G00007", *(member(path) for path in learned)),
    )
    layout = read(root)
    groups = {(entry.group, entry.name): entry.members for entry in layout.templates}
    assert groups == {
        ("probe", "p1"): (VIDEO,),
        ("gallery_1", "G00038"): (STILL,),
        ("gallery_1", "G00050"): (STRANGER,),
        ("gallery_2", "G00040"): (OTHER,),
        ("blended_gallery_1", "G00038"): (STILL,),
        ("blended_gallery_1", "G00040"): (OTHER, "BTS1/more.jpg"),
    }
    rows: list[Any] = [*layout.images, *layout.videos]
    train = [row for row in rows if row.split == "train"]
    assert train == [
        RawImage(learned[0], "train", pid=7),
        RawVideo(learned[1], learned[1], "train", pid=7, clothes_id=702),
    ]
    assert len(list(layout.images)) == 5, "a medium of two galleries is one row"


def test_files_lie_anywhere_without_folders_for_them(root: Path) -> None:
    (root / "sigsets_main/readme.txt").unlink()
    expected = read(root)
    for path in (root / "sigsets_main").iterdir():
        path.rename(root / "BTS1" / path.name)
    (root / "deep" / "er").mkdir(parents=True)
    (root / "sigsets_gallery" / "Gallery_1.xml").rename(root / "deep" / "er" / "gallery_1.XML")
    for folder in ("sigsets_main", "sigsets_gallery"):
        (root / folder).rmdir()
    assert read(root) == expected


@pytest.mark.parametrize("namespace", ["", SIGSET, "urn:another"])
def test_namespaces_and_encodings_do_not_matter(namespace: str, root: Path) -> None:
    expected = read(root)
    path = root / "sigsets_main" / "Probe_x_ALL.xml"
    text = path.read_text().replace(SIGSET, namespace)
    text = text.replace('<?xml version="1.0"?>', '<?xml version="1.0" encoding="UTF-16"?>')
    path.write_bytes(text.encode("utf-16"))
    assert read(root) == expected


def test_the_reader_is_deterministic_and_sorted(root: Path) -> None:
    names = [f"p{i}" for i in (3, 1, 2)]
    write_probe(root, *(signature(name, "G00038", member(VIDEO)) for name in names))
    first = read(root)
    assert [entry.name for entry in first.templates if entry.group == "probe"] == sorted(names)
    assert read(root) == first
    write_probe(root, *(signature(name, "G00038", member(VIDEO)) for name in sorted(names)))
    assert read(root) == first


def test_paths_of_the_release_lie_in_its_collections(tmp_path: Path) -> None:
    """The map of briar-api: ./BTS1.1/ is BGC1.1/BTS1.1."""
    touch(tmp_path, "BGC1.1/BTS1.1/a.jpg", "BTS2/b.jpg", "BGC2/BTS2/b.jpg")
    write_probe(tmp_path, signature("p", "G1", member("BTS1.1/a.jpg"), member("BTS2/b.jpg")))
    write_gallery(tmp_path, signature("g", "G1", member("BTS2/b.jpg")))
    entries = {entry.group: entry.members for entry in read(tmp_path).templates}
    assert entries["probe"] == ("BGC1.1/BTS1.1/a.jpg", "BTS2/b.jpg")


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../secret.jpg", "BTS1/../../secret.jpg", "C:/a.jpg", "..\\a.jpg"]
)
def test_paths_stay_below_the_root(path: str, root: Path) -> None:
    write_probe(root, signature("p", "G00038", member("a.jpg", filePath=path)))
    refuse(root, r"signature p of sigsets_main/Probe_x_ALL\.xml has filePath .*below the folder")


def test_backslashes_are_slashes(root: Path) -> None:
    windows = ".\\" + STILL.replace("/", "\\")
    write_probe(root, signature("p", "G00038", member(STILL, filePath=windows)))
    assert read(root).templates[-1].members == (STILL,)


def test_segments_are_rows_of_their_own(root: Path) -> None:
    parts = [("10", "34", "frame"), ("0", "10", ""), ("1.5", "2.25", "Seconds"), ("5", "NA", "")]
    write_probe(
        root,
        *(
            signature(f"p{i}", "G00038", member(VIDEO, start=start, stop=stop, unit=unit))
            for i, (start, stop, unit) in enumerate(parts)
        ),
        signature("whole", "G00038", member(VIDEO, start="NA", stop="NA", unit="NA")),
    )
    videos = {video.video_id: video for video in read(root).videos}
    assert len(videos) == 5
    assert {(v.start, v.stop, v.unit) for v in videos.values()} == {
        (10, 34, "frame"),
        (0, 10, "frame"),
        (1500, 2250, "ms"),
        (5, -1, "frame"),
        (0, -1, "frame"),
    }
    entries = {entry.name: entry.members for entry in read(root).templates}
    assert entries["whole"] == (VIDEO,)
    assert videos[entries["p2"][0]].stop == 2250


@pytest.mark.parametrize(
    ("start", "stop", "unit"),
    [
        ("9", "9", "frame"),
        ("9", "3", "frame"),
        ("-4", "3", "frame"),
        ("1.5", "3", "frame"),
        ("a", "3", "frame"),
        ("nan", "3", "second"),
        ("0", "inf", "second"),
        ("0", "3", "fortnight"),
        ("0", "99999999999", "frame"),
        ("0", "1e99999999", "frame"),
        ("0", "1e99999999", "second"),
    ],
)
def test_segments_without_sense(start: str, stop: str, unit: str, root: Path) -> None:
    write_probe(root, signature("p", "G00038", member(VIDEO, start=start, stop=stop, unit=unit)))
    refuse(root, "signature p of .* has the segment")


def test_folders_of_frames_are_tracklets(root: Path) -> None:
    frames = [f"BTS1/f/G00038_set2/{i}.png" for i in (1, 2, 10, 11)]
    touch(root, *frames, "BTS1/f/G00038_set2/Thumbs.db")
    folder = member("BTS1/f/G00038_set2", media="digitalVideo")
    write_probe(
        root,
        signature("p", "G00038", folder),
        signature("q", "G00038", folder | {"start": "1", "stop": "3"}),
    )
    layout = read(root)
    assert list(layout.tracklets) == [
        RawTracklet(tuple(frames), "query", pid=38, clothes_id=3802),
        RawTracklet(tuple(frames[1:3]), "query", pid=38, clothes_id=3802),
    ]
    assert {e.name: e.members for e in layout.templates}["q"] == (frames[1],)
    write_probe(root, signature("p", "G00038", folder), signature("q", "G00038", member(frames[0])))
    refuse(root, r"f/G00038_set2/1\.png is used as two different media")


def test_folders_without_frames_have_no_media(root: Path) -> None:
    (root / "BTS1" / "empty").mkdir()
    nothing = member("BTS1/empty", media="digitalVideo")
    seconds = member("BTS1/full/G00038", media="digitalVideo", start="1", stop="2", unit="second")
    write_probe(root, signature("p", "G00038", nothing), signature("q", "G00038", member(VIDEO)))
    assert "1 of 4 members have no file: BTS1/empty" in read(root).notes
    write_probe(root, signature("p", "G00038", seconds), signature("q", "G00038", member(VIDEO)))
    assert "1 of 4 members have no file: BTS1/full/G00038" in read(root).notes


def test_missing_media_are_named_and_their_entries_stay(root: Path) -> None:
    gone = [f"BTS1/gone/{i}.mp4" for i in range(2)]
    write_probe(
        root,
        signature("p1", "G00038", member(VIDEO)),
        signature("p2", "G00038", *(member(path) for path in gone)),
        signature("p3", "G00038", member(STILL), member(gone[1])),
        signature("p4", "G00038"),
    )
    layout = read(root)
    assert {e.name: e.members for e in layout.templates if e.group == "probe"} == {
        "p1": (VIDEO,),
        "p2": (),
        "p3": (STILL,),
        "p4": (),
    }
    assert "3 of 7 members have no file: BTS1/gone/0.mp4, BTS1/gone/1.mp4" in layout.notes
    assert any(note.startswith("2 templates have no media left") for note in layout.notes)
    assert any("probe/p2, probe/p4" in note for note in layout.notes)


def test_most_media_missing_is_a_wrong_folder(root: Path) -> None:
    write_probe(root, *(signature(f"p{i}", "G00038", member(f"BTS9/{i}.mp4")) for i in range(3)))
    refuse(root, r"3 of 5 media are missing, BTS9/0\.mp4 among them.*source's path by a folder")


def test_faces_are_passed_over_and_counted(root: Path) -> None:
    modes = ["face", "Face", "whole_body", "GAIT", ""]
    touch(root, *(f"BTS1/{i}.jpg" for i in range(5)))
    members = [member(f"BTS1/{i}.jpg", modality=mode) for i, mode in enumerate(modes)]
    del members[4]["modality"]
    write_probe(root, signature("p", "G00038", *members))
    layout = read(root)
    assert layout.templates[-1].members == ("BTS1/2.jpg", "BTS1/3.jpg", "BTS1/4.jpg")
    assert layout.notes[1:3] == (
        "1 members of modality Face ignored, since only bodies are compared",
        "1 members of modality face ignored, since only bodies are compared",
    )
    write_probe(root, signature("p", "G00038", members[0] | {"modality": "iris"}))
    refuse(root, r"has modality 'iris'\. Allowed: wholeBody")


def test_faces_alone_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, STILL)
    face = signature("s", "G00038", member(STILL, modality="face"))
    write_probe(tmp_path, face)
    write_gallery(tmp_path, face)
    refuse(tmp_path, "no medium that shows a body: all are face")
    write_probe(tmp_path, signature("s", "G00038"))
    write_gallery(tmp_path, signature("s", "G00038"))
    refuse(tmp_path, "no medium that shows a body: it names none")


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"media": "tape"}, r"has media 'tape'\. Allowed: digitalStill, digitalVideo"),
        ({"media": ""}, "has media ''"),
        ({"media": "digitalVideo"}, r"has media digitalVideo for .*\.jpg"),
    ],
)
def test_unknown_media(fields: dict[str, str], match: str, root: Path) -> None:
    write_probe(root, signature("p", "G00038", member(STILL) | fields))
    refuse(root, match)


@pytest.mark.parametrize("subject", ["Jane", "G1-38", "G99999999999", "G" + "1" * 5_000])
def test_subjects_without_a_number(subject: str, root: Path) -> None:
    write_probe(root, signature("p", subject, member(VIDEO)))
    refuse(root, f"subjectId '{subject}', which does not identify a person")


def test_two_subjects_of_one_number(root: Path) -> None:
    write_probe(root, signature("p", "H38", member(VIDEO)))
    refuse(root, "subjects G00038 and H38 have the same number|H38 and G00038")


def test_a_subject_zero_is_no_distractor(root: Path) -> None:
    """In records, person 0 is a distractor, which matches nobody."""
    write_gallery(root, signature("g", "G0", member(STRANGER)), signature("h", "G38"))
    write_probe(root, signature("p", "G38", member(VIDEO)), signature("q", "G0", member(OTHER)))
    pids = {image.path: image.pid for image in read(root).images}
    assert pids[STRANGER] == pids[OTHER] > 0


def test_several_people_in_a_signature_are_passed_over(root: Path) -> None:
    write_sigset(
        root / "sigsets_multiperson" / "Probe_multi.xml",
        signature("m1", ["G00038", "G00040"], member(VIDEO)),
        signature("m2", ["G00038", "G00038"], member(VIDEO)),
    )
    layout = read(root)
    assert [entry.name for entry in layout.templates if entry.group == "probe"] == ["m2", "p1"]
    assert "1 signatures of several people, which are ignored: m1" in layout.notes


def test_a_medium_of_two_people(root: Path) -> None:
    write_probe(root, signature("p", "G00040", member(STILL)))
    refuse(root, rf"{STILL} shows subject G00040, but elsewhere G00038|but elsewhere G00040")


def test_a_medium_for_training_and_testing(root: Path) -> None:
    train = root / "sigsets_main" / "Train.xml"
    write_sigset(train, signature("t", "G00038", member(STILL)))
    refuse(root, f"{STILL} is for training and for testing")
    touch(root, "BTS1/other.jpg")
    write_sigset(train, signature("t", "G00038", member("BTS1/other.jpg")))
    assert "1 people are in training and in test: 38" in read(root).notes


def test_a_medium_of_probe_and_gallery_is_a_query_and_noted(root: Path) -> None:
    write_probe(root, signature("p", "G00038", member(STILL)))
    layout = read(root)
    assert {image.path: image.split for image in layout.images}[STILL] == "query"
    assert {entry.group: entry.members for entry in layout.templates}["probe"] == (STILL,)
    assert any(note.startswith("1 media are in a probe and in a gallery") for note in layout.notes)


def test_probes_of_nobody_known_stay(root: Path) -> None:
    write_probe(
        root,
        signature("p", "G00038", member(VIDEO)),
        signature("q", "G00040", member(OTHER)),
    )
    layout = read(root)
    assert RawTemplate("probe", "q", 40, (OTHER,)) in layout.templates
    assert (
        "1 probes show people who are in no gallery: they are queries without a match: q"
        in layout.notes
    )


def test_signatures_of_one_name(root: Path) -> None:
    write_probe(root, *[signature("p", "G00038", member(VIDEO))] * 2)
    refuse(root, r"Probe_x_ALL\.xml has two signatures of the name p")
    write_probe(root, signature("p", "G00038", member(VIDEO)))
    part = root / "sigsets_main" / "Probe_part.xml"
    write_sigset(part, signature("p", "G00038", member(VIDEO)))
    assert len(read(root).templates) == 3, "the same signature again"
    write_sigset(part, signature("p", "G00038", member(STILL)))
    refuse(root, "differs from the signature of that name in another file")


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        ("<signature><subjectId>G1</subjectId></signature>", "name"),
        ("<signature><name>p</name></signature>", "subjectId"),
        ("<signature><name>p</name><subjectId/></signature>", "subjectId"),
        (signature("p", "G1", {"media": "digitalStill"}), "filePath"),
    ],
)
def test_signatures_that_lack_something(broken: str, what: str, root: Path) -> None:
    write_probe(root, broken)
    refuse(root, rf"signature \S+ of .* has no {what}")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (
            signature("p", "G00038").replace("<name>", "<name>q</name><name>"),
            "line 1 of .* says 'p' where 'q' was given already",
        ),
        (
            signature("p", "G00038", member(VIDEO)).replace(
                "<modality>", f"<filePath>{STILL}</filePath><modality>"
            ),
            "G00038_set1_wb_00.jpg' where '.*mp4' was given already",
        ),
        (
            signature("p", "G00038", member(VIDEO)).replace(
                "</signature>", f"{signature('q', 'G00038')}</signature>"
            ),
            "has a signature inside another",
        ),
        (
            signature("p", "G00038", member(VIDEO)).replace(
                "</sigmember>", "<sigmember></sigmember></sigmember>"
            ),
            "has a sigmember inside another",
        ),
    ],
)
def test_signatures_that_say_two_things(broken: str, message: str, root: Path) -> None:
    write_probe(root, broken)
    refuse(root, message)


def test_xml_files_of_other_names_are_counted(root: Path) -> None:
    probe = root / "sigsets_main" / "Probe_x_ALL.xml"
    (root / "sigsets_main" / "BTS_probe.xml").write_bytes(probe.read_bytes())
    expected = "1 XML files of other names are not read: sigsets_main/BTS_probe.xml"
    assert read(root).notes[0] == expected


def test_an_empty_sigset(root: Path) -> None:
    write_probe(root)
    refuse(root, r"Probe_x_ALL\.xml holds no signature")


def damage(content: bytes, how: str) -> bytes:
    return {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "cut at the end": content[:-3],
        "text": b"hello",
        "latin": content.replace(b"p1", "Zoë".encode("latin-1")),
        "unknown encoding": content.replace(b'"1.0"', b'"1.0" encoding="klingon"'),
        "encoding of many bytes": content.replace(b'"1.0"', b'"1.0" encoding="gb18030"'),
        "undefined entity": content.replace(b"p1", b"&nbsp;"),
    }[how]


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "truncated",
        "cut at the end",
        "text",
        "latin",
        "unknown encoding",
        "encoding of many bytes",
        "undefined entity",
    ],
)
def test_damaged_files_are_named_with_the_place(how: str, root: Path) -> None:
    path = root / "sigsets_main" / "Probe_x_ALL.xml"
    path.write_bytes(damage(path.read_bytes(), how))
    refuse(root, r"Probe_x_ALL\.xml is not a complete XML file .*(: line \d+, column \d+|encoding)")


LAUGHS = (
    '<!DOCTYPE s [<!ENTITY a "ha">'
    + "".join(
        f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True)
    )
    + "]>"
)


@pytest.mark.parametrize(
    "doctype",
    [
        "<!DOCTYPE s>",
        '<!DOCTYPE s SYSTEM "other.dtd">',
        '<!DOCTYPE s [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        LAUGHS,
    ],
)
def test_documents_with_a_definition_are_refused(doctype: str, root: Path) -> None:
    name = "&j;" if doctype is LAUGHS else "p"
    body = signature(name, "G00038", member(VIDEO))
    write_probe(root, body, head='<?xml version="1.0"?>' + doctype)
    refuse(root, r"has a document type definition, .*remove the <!DOCTYPE")


def test_probe_without_gallery_and_gallery_without_probe(root: Path) -> None:
    (root / "sigsets_gallery" / "Gallery_1.xml").rename(root / "sigsets_gallery" / "notes.xml")
    refuse(
        root, r"no complete sigset\. Looked for .* found sigsets_gallery/notes\.xml, sigsets_main/"
    )
    (root / "sigsets_gallery" / "notes.xml").rename(root / "sigsets_gallery" / "Gallery_1.xml")
    (root / "sigsets_main" / "Probe_x_ALL.xml").unlink()
    refuse(root, r"found sigsets_gallery/Gallery_1\.xml")


def test_a_gallery_in_two_files(root: Path) -> None:
    write_sigset(root / "sigsets_main" / "gallery_1.xml", signature("g", "G00038", member(STILL)))
    refuse(root, r"several files for gallery_1: sigsets_gallery/Gallery_1\.xml, sigsets_main/")


def test_training_alone_is_enough_to_read(tmp_path: Path) -> None:
    touch(tmp_path, STILL)
    write_sigset(tmp_path / "Train.xml", signature("t", "G00038", member(STILL)))
    assert list(read(tmp_path).images) == [RawImage(STILL, "train", pid=38, clothes_id=3801)]
    assert read(tmp_path).templates == ()


def test_outfits_are_parts_of_a_name(root: Path) -> None:
    names = {"a/set2/b.jpg": 3802, "reset2/b.jpg": -1, "G_set12.jpg": 3812, "G_set2x.jpg": -1}
    touch(root, *names)
    write_probe(root, signature("p", "G00038", *(member(name) for name in names)))
    found: dict[str, Any] = {image.path: image.clothes_id for image in read(root).images}
    assert {name: found[name] for name in names} == names


def test_frames_of_a_folder_have_their_natural_order(root: Path) -> None:
    names = [f"BTS1/clip/img_{number}_v1.jpg" for number in (1, 2, 10, 11)]
    touch(root, *names, "BTS1/clip/._img_1_v1.jpg", "BTS1/clip/Thumbs.db")
    write_probe(root, signature("p", "G00038", member("BTS1/clip", media="digitalVideo")))
    (tracklet,) = (row for row in read(root).tracklets if "clip" in row.paths[0])
    assert tracklet.paths == tuple(names)
