"""Bad files: for every reader a file that it reads is damaged, or is none."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from tests.torture.inputs import Input
from tests.torture.spoil import BREAK, put, spoil_table, spoil_tensors
from vills.config.miniature import MINIATURE_DATASETS
from vills.data.layouts import RawImage, RawTracklet, RawVideo, read_layout

MODEL = "artifacts/finetune/market1501/scratch"
RAW = {"VILLS_DATA": "raw"}
JUNK = (".db", ".ds_store", ".seal")
UNREAD = ("/val/", "cloth-change_id", "cloth-unchange_id", "parsing.parquet")
"""Files of raw data that neither a check of the data nor curation reads."""
PICTURES = (".jpg", ".png", ".bmp")
VIDEOS = (".mp4", ".avi")
YAML = {
    "bomb": "a: &a [x, x, x, x, x, x, x, x]\n"
    + "".join(f"{n}: &{n} [{', '.join(['*' + chr(ord(n) - 1)] * 9)}]\n" for n in "bcdefghijkl"),
    "tab": "pretrain:\n\tseed: 1\n",
    "twice": "pretrain: {seed: 1}\npretrain: {seed: 2}\n",
    "code": "pretrain: !!python/object/apply:os.system ['touch Y']\n",
    "list": "- a\n- b\n",
    "deep": "a: " + "[" * 5000 + "]" * 5000 + "\n",
    "latin": "pretrain: {seed: 1} # \udce9\n",
    "two": "pretrain: {seed: 1}\n---\npretrain: {seed: 2}\n",
    "open": "pretrain: {seed: [1\n",
    "null": "pretrain: \x00\n",
    "loop": "a: &a [*a]\n",
}


def draw_break(draw: np.random.Generator, path: str) -> tuple[str, Callable[[Path], object]]:
    """How to make a file bad: as any file, or by what is in it."""
    suffix = Path(path).suffix
    # what names a run is hashed whole, however many terabytes it is said to be
    is_hashed = path.startswith(("raw/", "artifacts/", "weights/"))
    # and a file that a folder of its name stands for is only one file fewer
    is_medium = path.startswith(("raw/", "media/")) and suffix in (*PICTURES, *VIDEOS)
    out = {"huge": is_hashed, "folder": is_medium}
    names = [name for name in BREAK if not out.get(name)]
    own = {".parquet": spoil_table, ".safetensors": spoil_tensors}.get(suffix)
    if own is not None and draw.random() < 0.5:
        return "columns" if suffix == ".parquet" else "tensors", partial(own, draw=draw)
    how = str(draw.choice(names))
    return how, BREAK[how]


def list_files(base: Path, *folders: str, without: Sequence[str] = ()) -> list[str]:
    """Files that readers read below some folders, relative to `base`."""
    return sorted(
        path.relative_to(base).as_posix()
        for folder in folders
        for path in (base / folder).rglob("*")
        if path.is_file()
        and not path.name.lower().endswith((*JUNK, *without))
        and path.name not in ("readme.txt", "Readme.txt")
        and "__MACOSX" not in path.parts
        and not path.name.startswith(".")
    )


def draw_file(draw: np.random.Generator, files: Sequence[str]) -> str:
    """One of the files, each kind of file as often as any other."""
    kinds = sorted({Path(name).suffix for name in files})
    kind = str(draw.choice(kinds))
    return str(draw.choice([name for name in files if Path(name).suffix == kind]))


def build_spoiled(
    draw: np.random.Generator, path: str, commands: Sequence[Sequence[str]], **options: object
) -> Input:
    """A case in which one file is bad."""
    how, make = draw_break(draw, path)
    said = [Path(path).name, *options.pop("said", ())]  # type: ignore[misc]
    spoil = lambda folder: make(folder / path)  # noqa: E731
    return Input(commands, said, spoil, what=f"{path}: {how}", **options)  # type: ignore[arg-type]


def build_yaml(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    name, command = [
        ("params.yaml", ("vills", "check")),
        ("slurm/pretrain.yaml", ("launch.py", "own.yaml", "--plan")),
        ("own.yaml", ("launch.py", "own.yaml", "--plan")),
    ][int(draw.integers(3))]
    if draw.random() < 0.3:
        return build_spoiled(draw, name, [command])
    how = str(draw.choice(list(YAML)))
    text = YAML[how].encode(errors="surrogateescape")
    spoil = lambda folder: put(folder / name, text)  # noqa: E731
    return Input([command], [name], spoil, what=f"{name}: {how}")


def build_features(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    command = ["vills", "evaluate", "features.npz", "--layout", "market1501", "--bootstrap", "10"]
    command += ["--root", "raw/market1501", "--protocol", "market1501"]
    arrays = dict(np.load(base / "features.npz"))
    paths, feature = arrays["path"], arrays["feature"].copy()
    bad = feature.copy()
    bad[3, 1] = np.nan
    again = [0, *range(len(paths))]
    choices: dict[str, dict[str, Any]] = {
        "nan": {"path": paths, "feature": bad},
        "inf": {"path": paths, "feature": np.where(np.isnan(bad), np.inf, bad)},
        "flat": {"path": paths, "feature": feature[:, 0]},
        "short": {"path": paths[:-1], "feature": feature},
        "missing": {"path": paths[:-1], "feature": feature[:-1]},
        "twice": {"path": paths[again], "feature": feature[again]},
        "text": {"path": paths, "feature": feature.astype(str)},
        "whole": {"path": paths, "feature": feature.astype(np.int64)},
        "object": {"path": paths.astype(object), "feature": feature},
        "none": {"path": paths[:0], "feature": feature[:0]},
        "no path": {"feature": feature},
        "complex": {"path": paths, "feature": feature.astype(np.complex64)},
        "all zeros": {"path": paths, "feature": np.zeros_like(feature)},
        "strangers": {"path": np.char.add("x", paths), "feature": feature},
    }
    if draw.random() < 0.3:
        return build_spoiled(draw, "features.npz", [command])
    how = str(draw.choice(list(choices)))

    def spoil(folder: Path) -> None:
        (folder / "features.npz").unlink()
        np.savez(folder / "features.npz", **choices[how])

    said = ["features.npz", "feature", str(paths[-1]), "no path in the file"]
    return Input([command], said, spoil, what=f"features.npz: {how}", may_pass=how == "all zeros")


def list_raw(base: Path, source: str, without: str) -> list[str]:
    """Files of a data set that are read: people of no split are not, as a note says."""
    layout = read_layout(source, base / "raw" / source)
    rows: Iterable[RawImage | RawTracklet | RawVideo] = chain(
        layout.images, layout.tracklets, layout.videos
    )
    read = {f"raw/{source}/{path}" for row in rows for path in row.paths}
    return [
        name
        for name in list_files(base, f"raw/{source}")
        if not any(part in name for part in (*UNREAD, without))
        and (name in read or Path(name).suffix not in (*PICTURES, *VIDEOS))
    ]


def build_check(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    source = str(draw.choice(MINIATURE_DATASETS))
    path = draw_file(draw, list_raw(base, source, "/predictions/"))
    command = ["vills", "data", "check", f"raw/{source}", "--full"]
    return build_spoiled(draw, path, [command], statuses=(1, 2), may_pass=True, said=SAID_OF_DATA)


SAID_OF_DATA = ("cannot be read", "could not be read", "damaged", "missing", "not a regular")


def build_verify(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    source = str(draw.choice(MINIATURE_DATASETS))
    files = [*list_files(base, f"raw/{source}"), f"data/inventories/{source}.parquet"]
    command = ["vills", "data", "verify", "--full", source]
    return build_spoiled(draw, draw_file(draw, files), [command], env=RAW, prepare=use_raw)


FILMS = ("kinetics", "sigset")
ROLES = {"luperson": "pretrain_images", "kinetics": "pretrain_videos"}


def use_raw(folder: Path, source: str = "") -> None:
    """Let params.yaml speak of the raw data: of all sources, or of one, which is curated."""
    value = yaml.safe_load((folder / "params.yaml").read_text())
    sources = {
        name: {
            "layout": name,
            "path": name,
            "role": {"luperson": "pretrain_images", "kinetics": "pretrain_videos"}.get(
                name, "reid"
            ),
        }
        for name in MINIATURE_DATASETS
        if source in ("", name)
    }
    value["curate"] |= {"root": "data", "sources": sources}
    value |= {"finetune": {}, "evaluate": {}} if source else {}
    put(folder / "params.yaml", yaml.safe_dump(value, sort_keys=False).encode())


def build_curate(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    source = str(draw.choice(MINIATURE_DATASETS))
    path = draw_file(draw, list_raw(base, source, "/none/" if source in FILMS else "/predictions/"))
    commands: list[list[str]] = [["vills", "run", "curate"]]
    if draw.random() < 0.7:
        commands.insert(0, ["vills", "data", "register", source])
    prepare = partial(use_raw, source=source)
    reports = "artifacts/curated/*/report.json"
    return build_spoiled(
        draw, path, commands, env=RAW, prepare=prepare, may_pass=True, reports=reports
    )


STAGES = {
    "lse": ("curated", "miniature"),
    "pretrain": ("curated", "lse"),
    "finetune@market1501": ("curated/market1501", "pretrain"),
    "evaluate@market1501": ("curated/market1501", "finetune/market1501", "pretrain"),
    "report": ("evaluate", "metrics", "lse"),
}


def build_artifact(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    stage = str(draw.choice(list(STAGES)))
    folders = [f"artifacts/{name}" for name in STAGES[stage]]
    path = draw_file(draw, list_files(base, *folders))
    return build_spoiled(draw, path, [["vills", "run", stage]], said=["is damaged"])


def build_scores(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    command, files = [
        (["scores"], list_files(base, "artifacts/metrics", "artifacts/evaluate")),
        (
            ["sheet", "masks"],
            list_files(base, "artifacts/lse/luperson", "artifacts/curated/luperson"),
        ),
        (["sheet", "world"], list_files(base, "artifacts/miniature/market1501/query")),
        (["explain", "market1501/market1501/scratch/mAP"], list_files(base, "artifacts/metrics")),
    ][int(draw.integers(4))]
    if command == ["scores"]:
        files = [name for name in files if "evaluate_" in name or name.endswith("results.json")]
    if command[0] == "explain":
        files = ["artifacts/metrics/evaluate_market1501.json"]
    if command == ["sheet", "masks"]:
        files = [name for name in files if not name.endswith("report.json")]
    is_masks = command == ["sheet", "masks"]  # a frame that is damaged is left out, and counted
    said = ["curated/luperson", "frames left out"] if is_masks else []
    path = draw_file(draw, files)
    return build_spoiled(draw, path, [["vills", *command]], said=said, may_pass=is_masks)


def build_weights(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    name = str(draw.choice(["model.json", "model.safetensors"]))
    folder, *command = [
        (MODEL, "extract", "media/a.jpg", "--weights", MODEL),
        ("artifacts/pretrain/teacher", "export", "--weights", "artifacts/pretrain/teacher",
         "--out", "x.safetensors"),
        ("weights", "weights", "inspect", "plain.safetensors"),
    ][int(draw.integers(3))]  # fmt: skip
    name = "plain.safetensors" if command[0] == "weights" else name
    env = {"VILLS_WEIGHTS": "weights"}
    return build_spoiled(draw, f"{folder}/{name}", [["vills", *command]], env=env)


def build_onnx(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    def prepare(folder: Path) -> None:
        value = yaml.safe_load((folder / "params.yaml").read_text())
        value["evaluate"]["market1501"] |= {
            "baselines": ["onnx"],
            "onnx_weights": "reid.onnx",
            "onnx_convention": "rgb 0-1 mean 0 std 1",
        }
        put(folder / "params.yaml", yaml.safe_dump(value, sort_keys=False).encode())

    return build_spoiled(
        draw,
        "weights/reid.onnx",
        [["vills", "run", "evaluate@market1501"]],
        env={"VILLS_WEIGHTS": "weights"},
        prepare=prepare,
    )


def build_media(draw: np.random.Generator, base: Path, valid: bool) -> Input:
    path = draw_file(draw, list_files(base, "media"))
    command = ["vills", "extract", str(draw.choice(["media", path])), "--weights", MODEL]
    return build_spoiled(draw, path, [command], statuses=(1, 2))


FILES = (
    *(build_yaml, build_features, build_check, build_verify, build_curate, build_artifact),
    *(build_scores, build_weights, build_onnx, build_media),
)
