"""`vills evaluate`: score features that any model extracted."""

from argparse import ArgumentParser
from pathlib import Path
from typing import TYPE_CHECKING

from vills.cli.command import Arguments, Command
from vills.config.checks import ConfigError
from vills.config.curate import LAYOUTS
from vills.config.evaluate import AVERAGE_PRECISIONS, METRICS, POOLINGS, QUERY_FRAMES
from vills.config.protocols import PROTOCOLS

if TYPE_CHECKING:
    from vills.evaluation.external import ExternalReport


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("features", type=Path, help=".npz or .parquet: path and feature per row")
    parser.add_argument("--layout", required=True, choices=LAYOUTS, help="of the data set")
    parser.add_argument("--root", type=Path, required=True, help="folder that paths are below")
    parser.add_argument(
        "--protocol", dest="protocols", action="append", required=True, choices=PROTOCOLS,
        metavar="PROTOCOL", help=f"repeat for several: {', '.join(PROTOCOLS)}",
    )  # fmt: skip
    parser.add_argument("--name", default="", help="of the row (default: the file's)")
    parser.add_argument("--column", default="feature", help="name of the features in the file")
    parser.add_argument(
        "--split-id", dest="split_ids", type=int, action="append", metavar="K",
        help="official split, where there are several; repeat for their mean (default: 0)",
    )  # fmt: skip
    parser.add_argument("--distance", choices=METRICS, help="default: the protocol's")
    parser.add_argument(
        "--average-precision", choices=AVERAGE_PRECISIONS, help="default: the protocol's"
    )
    parser.add_argument("--pooling", choices=POOLINGS, help="of frames; default: the protocol's")
    parser.add_argument(
        "--normalise-frames", action="store_true", help="scale frames to norm 1 before pooling"
    )
    parser.add_argument("--query-frame", choices=QUERY_FRAMES, default="first")
    parser.add_argument(
        "--rerank", action="store_true", help="a second row, k-reciprocal re-ranked"
    )
    parser.add_argument("--ranks", type=int, nargs="+", metavar="K", help="of the CMC")
    parser.add_argument(
        "--fars", type=float, nargs="+", metavar="FAR", default=[0.01, 0.001, 0.0001],
        help="sigset: false accept rates at which TAR is read",
    )  # fmt: skip
    parser.add_argument("--bootstrap", type=int, default=1000, help="resamples (0: no intervals)")
    parser.add_argument("--seed", type=int, default=0, help="of draws, random frames, resamples")
    parser.add_argument(
        "--allow-missing", action="store_true",
        help="count queries without a feature as misses, leave out such gallery entries",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the rows too")


def _run(arguments: Arguments) -> int:
    from vills.config.evaluate import EvaluateConfig
    from vills.data.layouts import read_layout
    from vills.evaluation.external import score_external
    from vills.evaluation.feature_table import load_feature_table
    from vills.evaluation.protocols.base import ProtocolSettings
    from vills.evaluation.tables import build_score_tables, build_text

    split_ids = arguments.split_ids or [0]
    # the parameters' own checks, so that a range is refused in the same words
    checked = EvaluateConfig(
        protocols=arguments.protocols,
        split_ids=split_ids,
        ranks=arguments.ranks or [1],
        fars=arguments.fars,
        bootstrap=arguments.bootstrap,
        seed=arguments.seed,
    )
    report = score_external(
        load_feature_table(arguments.features, column=arguments.column),
        layout=read_layout(arguments.layout, arguments.root),
        protocols=checked.protocols,
        settings=ProtocolSettings(
            ranks=arguments.ranks,
            distance=arguments.distance,
            average_precision=arguments.average_precision,
            pooling=arguments.pooling,
            fars=checked.fars,
            query_frame=arguments.query_frame,
            rerank=arguments.rerank,
            bootstrap=checked.bootstrap,
            seed=checked.seed,
        ),
        name=arguments.name or arguments.features.stem,
        split_ids=split_ids,
        normalise_frames=arguments.normalise_frames,
        allow_missing=arguments.allow_missing,
    )
    print(build_text(build_score_tables(report.rows)))
    print(report.format())
    if arguments.json:
        _save(arguments.json, report)
    return 0


def _save(path: Path, report: "ExternalReport") -> None:
    from vills.evaluation.external import save_report

    try:
        save_report(path, report)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--json {path} cannot be written ({error}). Allowed: the name of a file in a "
            "folder that may be written to. What to do: name another."
        ) from error
    print(f"wrote {path}")


COMMANDS = (
    Command(
        name="evaluate",
        summary="Score features that any model extracted, under the published protocols",
        reads="FEATURES (docs/evaluate.md says what it holds), file names and labels below ROOT",
        writes="nothing but the file that --json names",
        needs="neither a model, nor params.yaml, nor the pixels",
        add_arguments=_add,
        run=_run,
    ),
)
