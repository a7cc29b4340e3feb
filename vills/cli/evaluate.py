"""`vills evaluate`, `scores`, `sheet`: scores of any features, and what stages have produced."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from vills.config.checks import LINE, ConfigError, check_name, check_words
from vills.config.curate import LAYOUTS
from vills.config.evaluate import AVERAGE_PRECISIONS, METRICS, POOLINGS, QUERY_FRAMES
from vills.config.protocols import PROTOCOLS


def set_up_evaluate(parser: ArgumentParser) -> None:
    """Score features that any model extracted, under the published protocols.

    reads:  FEATURES (docs/evaluate.md says what it holds), file names and labels below ROOT
    writes: nothing but the file that --json names
    needs:  neither a model, nor params.yaml, nor the pixels
    """
    parser.add_argument("features", type=Path, help=".npz or .parquet: a path, a feature per row")
    parser.add_argument("--layout", required=True, choices=LAYOUTS, help="layout of the data set")
    parser.add_argument("--root", type=Path, required=True, help="folder of the data set")
    parser.add_argument(
        "--protocol", dest="protocols", action="append", required=True, choices=PROTOCOLS,
        metavar="PROTOCOL", help=f"one of {', '.join(PROTOCOLS)}; may be repeated",
    )  # fmt: skip
    parser.add_argument("--name", default="", help="name of the row (default: the file's name)")
    parser.add_argument("--column", default="feature", help="array or column of the features")
    parser.add_argument(
        "--split-id", dest="split_ids", type=int, action="append", metavar="K",
        help="official split, if there are several (default: 0); repeat it to get their mean",
    )  # fmt: skip
    parser.add_argument("--distance", choices=METRICS, help="default: the protocol's")
    parser.add_argument(
        "--average-precision", choices=AVERAGE_PRECISIONS, help="default: the protocol's"
    )
    parser.add_argument("--pooling", choices=POOLINGS, help="for frames; default: the protocol's")
    parser.add_argument(
        "--normalise-frames", action="store_true", help="scale frames to norm 1 before pooling"
    )
    parser.add_argument("--query-frame", choices=QUERY_FRAMES, default="first")
    parser.add_argument("--rerank", action="store_true", help="add rows with k-reciprocal ranks")
    parser.add_argument("--ranks", type=int, nargs="+", metavar="K", help="ranks of the CMC")
    parser.add_argument(
        "--fars", type=float, nargs="+", metavar="FAR", default=[0.01, 0.001, 0.0001],
        help="sigset: false accept rates at which TAR is read",
    )  # fmt: skip
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples (0: no intervals)")
    parser.add_argument("--seed", type=int, default=0, help="for draws, random frames, resamples")
    parser.add_argument(
        "--allow-missing", action="store_true",
        help="count queries without a feature as misses, leave out such gallery entries",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the rows to OUT")
    parser.set_defaults(handler=_evaluate)


def _evaluate(arguments: Namespace) -> int:
    from vills.config.evaluate import EvaluateConfig
    from vills.data.layouts import read_layout
    from vills.evaluation.external import compute_external_scores, save_report
    from vills.evaluation.feature_table import load_feature_table
    from vills.evaluation.protocols.base import ProtocolSettings
    from vills.evaluation.tables import build_score_tables, build_text

    check_words("--name", arguments.name, LINE, "give a short name")
    options, split_ids = vars(arguments), arguments.split_ids or [0]
    # the parameters' own checks, so that a range is refused in the same words
    EvaluateConfig(
        ranks=arguments.ranks or [1],
        split_ids=split_ids,
        **{name: options[name] for name in ("protocols", "fars", "bootstrap", "seed")},
    )
    given = {name: options[name] for name in ProtocolSettings.__slots__ if name in options}
    report = compute_external_scores(
        load_feature_table(arguments.features, column=arguments.column),
        layout=read_layout(arguments.layout, arguments.root),
        protocols=arguments.protocols,
        settings=ProtocolSettings(**given),
        name=arguments.name or arguments.features.stem,
        split_ids=split_ids,
        normalise_frames=arguments.normalise_frames,
        allow_missing=arguments.allow_missing,
    )
    print(build_text(build_score_tables(report.rows)))
    print(report.format())
    if arguments.json:
        try:
            save_report(arguments.json, report)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--json {arguments.json} cannot be written ({error}). Allowed: the name of a file "
                "in a folder that may be written to. What to do: give another."
            ) from error
        print(f"wrote {arguments.json}")
    return 0


def set_up_scores(parser: ArgumentParser) -> None:
    """Print the retrieval scores by data set and protocol, each with its run.

    reads:  artifacts/metrics/evaluate_*.json, artifacts/evaluate/*/results.json; the order of data
            sets from params.yaml, if it is there
    writes: nothing
    needs:  a finished evaluate stage
    """
    parser.add_argument("items", nargs="*", metavar="DATASET", help="default: all that have scores")
    parser.add_argument(
        "--splits", action="store_true", help="rows of each split, in place of their means"
    )
    parser.set_defaults(handler=_scores)


def _scores(arguments: Namespace) -> int:
    from vills.config.load import PARAMS_FILE, load_params
    from vills.report.inputs import load_notes, load_scores
    from vills.report.scores import render_scores

    project = Path.cwd()
    # scores may have been pulled into a folder without parameters
    order = tuple(load_params(project).evaluate) if (project / PARAMS_FILE).exists() else ()
    rows = load_scores(project, items=arguments.items, order=order)
    print(render_scores(rows, splits=arguments.splits))
    for item in dict.fromkeys(str(row["data set"]) for row in rows):
        for note in load_notes(project / "artifacts", item):
            print(f"note: {item}: {note}")
    return 0


def set_up_sheet(parser: ArgumentParser) -> None:
    """Draw a contact sheet of the miniature world, or of the area masks.

    reads:  artifacts/miniature, or artifacts/curated and artifacts/lse
    writes: a PNG
    needs:  a finished stage miniature (world) or lse (masks)
    """
    parser.add_argument("what", choices=("world", "masks"))
    parser.add_argument("--source", default="luperson", help="masks: a curated source")
    parser.add_argument("--out", type=Path, default=Path("sheet.png"), help="the PNG to write")
    parser.set_defaults(handler=_sheet)


def _sheet(arguments: Namespace) -> int:
    from vills.pipeline import ARTIFACTS

    check_name("--source", arguments.source, "name a curated source")
    if arguments.what == "world":
        from vills.report.world_sheet import build_world_sheet

        build_world_sheet(ARTIFACTS / "miniature", arguments.out)
    else:
        from vills.report.mask_sheet import build_mask_sheet

        curated, lse = (ARTIFACTS / part / arguments.source for part in ("curated", "lse"))
        damaged = build_mask_sheet(curated, lse, arguments.out)
        if damaged:
            print(f"{len(damaged)} frames left out, which cannot be decoded: {damaged[0]}")
    print(f"wrote {arguments.out}")
    return 0
