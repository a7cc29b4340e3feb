"""Scores of all evaluated data sets: as text, as Markdown and as a section of the report."""

from collections.abc import Sequence

from vills.config.checks import ConfigError
from vills.evaluation.tables import (
    ScoreTable,
    build_markdown,
    build_score_tables,
    build_text,
    describe_marks,
    is_mean,
    render_cell,
)
from vills.report.inputs import ReportInputs, Row, load_left_out, load_rows
from vills.report.page import Block, Section, build_table

SPLIT_NOTE = "If rows are means over splits, `vills scores --splits` shows the rows of each split."
SCORES_NOTE = (
    "Scores in percent, under the protocol's full name. finetuned starts from the pre-trained "
    "teacher, scratch from random weights of the same architecture, others from the published "
    "weights of that name; pretrained is not fine-tuned, untrained not trained at all."
)


def render_scores(rows: Sequence[Row], *, splits: bool = False) -> str:
    """Format the rows as tables of text; shares in percent."""
    tables = build_score_tables(rows, splits=splits)
    if splits and not tables:
        raise ConfigError(
            "--splits: no row here is a mean over splits. Allowed: data sets with several "
            "evaluate.*.split_ids. What to do: remove --splits."
        )
    text = build_text(tables)
    return f"{text}\n{SPLIT_NOTE}" if any(map(is_mean, rows)) and not splits else text


def build_scores(inputs: ReportInputs) -> Section:
    """Build the section: ours beside the baselines, a table per data set and protocol."""
    by_item = {item: load_rows(inputs.artifacts, item) for item in inputs.items}
    rows = [row for found in by_item.values() for row in found]
    if not rows:
        return Section("Scores")
    overview = build_table(build_overview(rows), text=("data set", "protocol"))
    marks = " ".join(describe_marks(build_score_tables(rows)))
    blocks = [Block(text=SCORES_NOTE), Block(text=marks)]
    blocks.append(Block(heading="Overview of mAP / R-1", table=overview))
    for item, found in by_item.items():
        model, source = inputs.items[item], inputs.sources[item]
        texts = [f"Scored on {source}."] if source != item else []
        texts += [f"Scored with the models of {model}."] if model != item else []
        left_out = load_left_out(inputs.artifacts, item)
        texts += [f"Left out, or there twice: {'; '.join(left_out)}."] if left_out else []
        tables = build_score_tables(found)
        blocks.append(Block(heading=item, text=" ".join(texts)))
        blocks += _build_score_blocks(tables)
        splits = _build_score_blocks(build_score_tables(found, splits=True))
        if splits:
            blocks.append(Block(folded=tuple(splits), subheading="Scores of each split"))
        blocks.append(Block(run=found[0]["run"] if found else ""))
    return Section("Scores", blocks)


def _build_score_blocks(tables: Sequence[ScoreTable]) -> list[Block]:
    """Show each table, and below it what pre-training is worth."""
    blocks = []
    for table in tables:
        facts = table.facts.split(", run ")[0].rstrip(".") + "." if table.facts else ""
        blocks.append(Block(subheading=table.title, text=facts, table=table))
        blocks += [Block(text=text) for text in table.differences]
    return blocks


def build_overview(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Build a row per data set and protocol, a column per model: mAP / R-1, for a first look.

    Where a protocol has several rows of a model (splits, galleries, re-ranking), the mean that was
    computed stands here, without re-ranking.
    """
    models = list(dict.fromkeys(str(row["row"]) for row in rows))
    lines: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row.get("rerank", "off") != "off":
            continue
        line = lines.setdefault((str(row["data set"]), str(row.get("title", ""))), {})
        name = str(row["row"])
        if name not in line or is_mean(row) or str(row.get("gallery_group")).startswith("mean"):
            line[name] = row
    return [
        {
            "data set": data_set,
            "protocol": title,
            **{model: _format_pair(line.get(model)) for model in models},
        }
        for (data_set, title), line in lines.items()
    ]


def build_scores_page(rows: Sequence[Row]) -> str:
    """Build all scores as Markdown, those of single splits last."""
    parts = ["# Scores", "", build_markdown(build_score_tables(rows)), ""]
    splits = build_score_tables(rows, splits=True)
    if splits:
        parts += ["# Scores of each split", "", build_markdown(splits), ""]
    return "\n".join(parts)


def _format_pair(row: Row | None) -> str:
    if row is None:
        return "-"
    names = ("mAP", "R-1") if "mAP" in row else ("R-1",)
    return " / ".join(render_cell(name, row.get(name)) for name in names)
