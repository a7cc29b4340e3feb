"""Data sets without labels: LUPerson and Kinetics-700.

LUPerson: person crops, as files or in an LMDB database.

The official extraction writes `<country>/<city>/*.jpg`; PASS, TransReID-SSL and SOLIDER read
`images/*.jpg`. Nothing in the names is used, so every image below the root is taken. The official
conversion (LUP/convert_lmdb.py of LUPerson) writes a database of JPEG bytes by key and `keys.pkl`,
a list of the keys; loaders of the field also write {"keys": list, "pids": ..., "vids": ...}.

A list of images to keep is what TransReID-SSL calls `--filter_path` (CFS_list.pkl, sorted by its
score) and the number of them its `--keep_num`; its paths are relative to `images/`.

Kinetics-700: a tree of video files, `{train,val,test}/*.mp4` or by class; any depth is read.
"""

from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

from vills.data.files import VIDEO_SUFFIXES, list_files, list_folders
from vills.data.images import SUFFIXES
from vills.data.layouts.base import (
    Layout,
    LayoutError,
    RawImage,
    RawVideo,
    Stream,
    check_folder,
)
from vills.data.layouts.containers import (
    LmdbStore,
    convert_to_names,
    find_database,
    load_image_list,
    load_plain_pickle,
)
from vills.data.layouts.listing import describe_stray, is_medium, list_rows
from vills.data.layouts.people import describe_copy_names, is_copy_name
from vills.data.predictions import FOLDER as PREDICTIONS
from vills.data.spelling import describe_spelling

KEYS_FILE = "keys.pkl"
_IMAGES = "images/"
_SHOWN = 5
_COMPARED = 100_000
"""Paths that a list's missing ones are compared with, to say how they differ."""


def read_luperson(root: Path, *, filter_list: str = "", keep: int = 0) -> Layout:
    """Every image file below `root`, at any depth, or every key of the database there.

    Args:
        root: Folder of the data set.
        filter_list: List of the images to take, a path below `root`; empty takes all.
        keep: Images taken from the top of that list (0: all that it lists).

    Raises:
        LayoutError: if there is no image, the database or its keys cannot be used, or most of the
            list is not there.
        PlainPickleError: if a pickle holds more than plain values.
    """
    check_folder(root, "luperson")
    database = find_database(root)
    if database is None:
        everything, others = _list_files(
            root, SUFFIXES, used=(filter_list, KEYS_FILE), expected="luperson: no image"
        )
        paths, notes = _filter(everything, root=root, filter_list=filter_list, keep=keep)
        return Layout("luperson", root, images=_to_images(paths), notes=(*others, *notes))
    store = LmdbStore(database)
    keys, key_notes = _load_keys(database, root=root, num_entries=store.num_entries)
    # made anew each time: millions of keys stand in memory once
    everything = Stream(lambda: map(_to_path, keys))
    paths, notes = _filter(everything, root=root, filter_list=filter_list, keep=keep)

    def read(path: str) -> bytes:
        try:
            return store.read(path)
        except FileNotFoundError:  # a key without the suffix of an image was given one
            return store.read(path.removesuffix(".jpg"))

    notes = (*key_notes, *notes)
    return Layout("luperson", root, images=_to_images(paths), notes=notes, container=read)


def _list_files(
    root: Path, suffixes: tuple[str, ...], *, used: Collection[str] = (), expected: str
) -> tuple[Stream[str], tuple[str, ...]]:
    """List the files with one of the suffixes, in the order of the walker; walked anew each time.

    Returns:
        The files, and notes on all others but those `used` otherwise, and on names of copies.

    Raises:
        LayoutError: if there is none.
    """
    total, stray, copies = 0, list[str](), list[str]()
    for prefix, names, passed in list_folders(root):
        found = [prefix + name for name in names if is_medium(name, suffixes)]
        total += len(found)
        copies += filter(is_copy_name, found)
        if prefix.split("/")[0] != PREDICTIONS:
            others = [prefix + name for name in names if not is_medium(name, suffixes)]
            stray += [path for path in others if path not in used]
            stray += [prefix + name for name in passed]
    about_others = describe_stray(".", stray)
    if not total:
        raise LayoutError(
            f"{expected} ({', '.join(suffixes)}) below {root}{'; '.join(['', *about_others])}. "
            "What to do: check that the data set is unpacked there and that the source's layout "
            "is right."
        )
    paths = Stream(
        lambda: list_rows(path for path in list_files(root) if is_medium(path, suffixes))
    )
    return paths, (*about_others, *describe_copy_names(copies, total=total))


def _to_images(paths: Iterable[str]) -> Stream[RawImage]:
    return Stream(lambda: (RawImage(path=path, split="pretrain") for path in paths))


def _load_keys(
    database: Path, *, root: Path, num_entries: int
) -> tuple[list[str], tuple[str, ...]]:
    """All keys, sorted, and what is to be said of them."""
    candidates = [folder / KEYS_FILE for folder in (database, database.parent, root)]
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        raise LayoutError(
            f"luperson: no {KEYS_FILE} in or beside the database {database}. What to do: put the "
            "list of keys that was written with it there."
        )
    content = load_plain_pickle(path)
    fields = content if isinstance(content, dict) else {"keys": content}
    keys = convert_to_names(fields.get("keys"))
    if not keys:
        raise LayoutError(
            f'luperson: {path} holds no keys. Expected: a list of strings, or {{"keys": a list of '
            "strings}. What to do: use the file that was written with the database."
        )
    keys.sort()
    twice = next((a for a, b in zip(keys, keys[1:], strict=False) if a == b), None)
    if twice is not None:
        raise LayoutError(f"luperson: {path} lists {twice} twice. What to do: write it again.")
    notes = []
    if len(keys) != num_entries:
        notes.append(
            f"{path.name} lists {len(keys):,} keys, the database holds {num_entries:,}: one of "
            "them is not complete"
        )
    if unused := sorted(str(name) for name in fields if name != "keys"):
        notes.append(f"{', '.join(unused)} of {path.name} are not used: pre-training has no labels")
    return keys, tuple(notes)


def _to_path(key: str) -> str:
    return key if key.lower().endswith(SUFFIXES) else f"{key}.jpg"


def _filter(
    everything: Iterable[str], *, root: Path, filter_list: str, keep: int
) -> tuple[Iterable[str], tuple[str, ...]]:
    """Return the paths that the list names, in the order of `everything`, and how many it lacks."""
    if not filter_list:
        return everything, ()
    named = load_image_list(root / filter_list)
    if keep > len(named):
        raise LayoutError(
            f"luperson: keep = {keep:,} is more than the {len(named):,} paths of {filter_list}. "
            "What to do: lower keep, or set it to 0 for the whole list."
        )
    top = named[: keep or None]
    wanted = dict.fromkeys(map(_normalise, top))
    kept, seen = _pick(everything, wanted)
    missing = [path for path in wanted if path not in seen]
    some = islice(everything, _COMPARED) if missing else ()
    alike = describe_spelling(missing, (path.removeprefix(_IMAGES) for path in some))
    if 2 * len(missing) > len(wanted):
        raise LayoutError(
            f"luperson: {len(missing):,} of the {len(wanted):,} paths of {filter_list} are not "
            f"below {root}. It names {missing[0]}; there is {next(iter(everything))}.{alike} What "
            "to do: use the list that belongs to these files, or correct it or the source's path."
        )
    notes = [f"{len(kept):,} images are in the list {filter_list} (keep = {keep})"]
    if repeated := len(top) - len(wanted):
        notes.append(f"{repeated:,} lines of {filter_list} name a path again; it counts once")
    if missing:
        shown = ", ".join(missing[:_SHOWN])
        notes.append(
            f"{len(missing):,} paths of {filter_list} do not exist: {shown}{alike and '.' + alike}"
        )
    return kept, tuple(notes)


def _normalise(path: str) -> str:
    return str(PurePosixPath(path.replace("\\", "/"))).removeprefix(_IMAGES)


def _pick(everything: Iterable[str], wanted: Container[str]) -> tuple[list[str], dict[str, str]]:
    """Paths that are wanted, and each by the name it is wanted by."""
    kept: list[str] = []
    seen: dict[str, str] = {}
    for path in everything:
        # lists of keys have no suffix
        for name in (path.removeprefix(_IMAGES), path.removeprefix(_IMAGES).removesuffix(".jpg")):
            if name not in wanted:
                continue
            if name in seen:
                raise LayoutError(
                    f"luperson: the list's {name} may be {seen[name]} or {path}. What to do: "
                    "remove one of them."
                )
            kept.append(path)
            seen[name] = path
            break
    return kept, seen


def read_kinetics(root: Path) -> Layout:
    """Every video file below `root`.

    The video id is the path without its suffix: a YouTube id alone is not unique, since Kinetics
    has several clips of some videos. Where two files differ in the suffix alone, they keep it.
    """
    check_folder(root, "kinetics")
    paths, notes = _list_files(root, VIDEO_SUFFIXES, expected="kinetics: no video")
    counts = Counter(map(_cut_suffix, paths))
    shared = {name for name, count in counts.items() if count > 1}

    def videos() -> Iterator[RawVideo]:
        for path in paths:
            name = _cut_suffix(path)
            yield RawVideo(path=path, video_id=path if name in shared else name)

    return Layout("kinetics", root, videos=Stream(videos), notes=notes)


def _cut_suffix(path: str) -> str:
    return str(PurePosixPath(path).with_suffix(""))
