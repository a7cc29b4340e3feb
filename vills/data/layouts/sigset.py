"""Sigsets in the style of BRIAR: XML lists of probes, galleries and training media.

The format is public (ORNL/briar-api), the data of BRIAR is not; nothing here is about its content.
Files are known by their names, in `sigsets_*` folders if there are any, else anywhere below the
root: `Train*.xml`, `Probe*.xml` (a template per signature: a medium, or a part of one),
`Gallery_1`, `Gallery_2`, `Blended_Gallery_1`... (a template per subject, of many media).

A member whose file is missing, or whose modality is face, drops out; its template stays, if need be
with nothing in it, so that a probe set never gets smaller. Probes of people that no gallery has
stay as well. Cameras are unknown (-1); the outfit is N of setN in the path.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from vills.data.files import list_files, list_folders, list_names
from vills.data.layouts.base import Layout, LayoutError, RawRow, RawTemplate, check_folder
from vills.data.layouts.listing import describe_stray, render_first
from vills.data.layouts.sigset_media import MediaTable
from vills.data.layouts.sigset_members import load_signatures
from vills.data.predictions import FOLDER as PREDICTIONS

PROBE = "probe"
_FILE = re.compile(r"(train|probe|gallery|blended_gallery)[^/]*\.xml", re.IGNORECASE)
_FOLDERS = "sigsets_*"
_SPLITS = {"train": ("train", ""), "probe": ("query", PROBE)}
"""Split of a file's media, and group of its templates; a gallery's group is the file's name."""


def read_sigset(root: Path) -> Layout:
    """Media, and templates of probe and galleries.

    Raises:
        LayoutError: if a file cannot be used, probe or gallery are missing, or most media are.
    """
    check_folder(root, "sigset")
    files, others = _find_files(root)
    table = MediaTable(root)
    templates: dict[tuple[str, str], RawTemplate] = {}
    skipped: list[str] = []
    train_people: set[int] = set()
    for path, (split, group) in files.items():
        for signature in load_signatures(root / path):
            where = f"signature {signature.name} of {path}"
            if len(signature.subject_ids) > 1:
                skipped.append(signature.name)
                continue
            pid = table.find_pid(signature.subject_ids[0], where=where)
            added = [
                table.add(member, pid=pid, split=split, where=where) for member in signature.members
            ]
            keys = tuple(dict.fromkeys(filter(None, added)))
            if split == "train":
                train_people.add(pid)
                continue
            name = signature.name if group == PROBE else signature.subject_ids[0]
            _add_template(templates, RawTemplate(group, name, pid, keys), where=where)
    _check_missing(table, root=root)
    images, tracklets, videos = table.build_rows()
    rows: list[RawRow] = [*images, *tracklets, *videos]
    ordered = tuple(templates[key] for key in sorted(templates))
    return Layout(
        "sigset",
        root,
        images=images,
        tracklets=tracklets,
        videos=videos,
        templates=ordered,
        notes=(
            *_note_names({"XML files of other names are not read": others}),
            *_note_stray(root, {*files, *others, *(p for row in rows for p in row.paths)}),
            *table.describe(),
            *_note_names({"signatures of several people, which are ignored": sorted(skipped)}),
            *_note_templates(ordered, train_people=train_people),
        ),
    )


def _find_files(root: Path) -> tuple[dict[str, tuple[str, str]], list[str]]:
    """Sigset files by path, each with its split and the group of its templates; and other XML.

    Raises:
        LayoutError: if there is none, or a gallery without a probe, or a probe without a gallery.
    """
    folders = sorted(path for path in root.glob(_FOLDERS) if path.is_dir())
    found = sorted(
        (folder / name).relative_to(root).as_posix()
        for folder in folders or [root]
        for name in list_files(folder)
        if name.lower().endswith(".xml")
    )
    files = {
        path: _SPLITS.get(match[1].lower(), ("gallery", match[0].lower().removesuffix(".xml")))
        for path in found
        if (match := _FILE.fullmatch(path.rpartition("/")[2]))
    }
    splits = {split for split, _ in files.values()}
    if not splits or ("query" in splits) != ("gallery" in splits):
        seen = render_first(found or list_names(root))
        raise LayoutError(
            f"sigset: {root} has no complete sigset. Looked for Probe*.xml and Gallery_*.xml "
            f"(Blended_Gallery_*.xml), and Train*.xml, in sigsets_* or anywhere; found {seen}. "
            "What to do: put the missing file there, or correct the source's path."
        )
    groups = [group for split, group in files.values() if split == "gallery"]
    if twice := [group for group in groups if groups.count(group) > 1]:
        raise LayoutError(
            f"sigset: {root} has several files for {twice[0]}: "
            f"{', '.join(path for path, (_, group) in files.items() if group == twice[0])}. What "
            "to do: keep one of them."
        )
    return files, [path for path in found if path not in files]


def _note_stray(root: Path, known: set[str]) -> tuple[str, ...]:
    """Say what lies below `root` and is named by no sigset."""
    stray = [
        prefix + name
        for prefix, files, passed in list_folders(root)
        for name in (*files, *passed)
        if prefix.split("/")[0] != PREDICTIONS and prefix + name not in known
    ]
    return describe_stray(".", stray)


def _add_template(
    templates: dict[tuple[str, str], RawTemplate], template: RawTemplate, *, where: str
) -> None:
    """Take a template; a gallery's signatures of one subject become one."""
    known = templates.setdefault((template.group, template.name), template)
    if known == template:
        return
    if template.group == PROBE:
        raise LayoutError(
            f"sigset: {where} differs from the signature of that name in another file. What to do: "
            "give each its own name."
        )
    members = tuple(dict.fromkeys((*known.members, *template.members)))
    templates[template.group, template.name] = RawTemplate(
        template.group, template.name, template.pid, members
    )


def _check_missing(table: MediaTable, *, root: Path) -> None:
    """Refuse a sigset without most of its media.

    Raises:
        LayoutError: naming one of them.
    """
    if not table.num_members:
        what = f"all are {', '.join(sorted(table.passed))}" if table.passed else "it names none"
        raise LayoutError(
            f"sigset: {root} has no medium that shows a body: {what}. What to do: use the sigsets "
            "of modality wholeBody or gait."
        )
    if 2 * len(table.missing) > table.num_members:
        raise LayoutError(
            f"sigset: {len(table.missing):,} of {table.num_members:,} media are missing, "
            f"{table.missing[0]} among them; looked for below {root}. What to do: unpack "
            "the media there, or correct the source's path by a folder."
        )


def _note_names(findings: Mapping[str, Sequence[object]]) -> tuple[str, ...]:
    """Say of what there is how many, and the first names."""
    return tuple(
        f"{len(names):,} {what}: {render_first(names)}" for what, names in findings.items() if names
    )


def _note_templates(templates: Iterable[RawTemplate], *, train_people: set[int]) -> tuple[str, ...]:
    """Return what is to be known of the templates: empty ones, strangers, distractors, overlaps."""
    probes = [template for template in templates if template.group == PROBE]
    gallery = [template for template in templates if template.group != PROBE]
    asked, known = {template.pid for template in probes}, {template.pid for template in gallery}
    empty = [f"{template.group}/{template.name}" for template in templates if not template.members]
    strangers = [template.name for template in probes if template.pid not in known]
    learned = sorted(train_people & (asked | known))
    return _note_names(
        {
            "templates have no media left and stay empty (an empty probe is a miss)": empty,
            "probes show people who are in no gallery: they are queries without a match": strangers,
            "people of galleries are distractors: no probe shows them": sorted(known - asked),
            "people are in training and in test": learned,
        }
    )
