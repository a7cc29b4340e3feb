"""Tables of a sweep: numbers worked out by hand, what is missing, and every format's own marks."""

import csv
import io
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from vills.config.sweep import (
    ColumnConfig,
    PointConfig,
    ReferenceConfig,
    SweepConfig,
    TableConfig,
    load_sweep,
)
from vills.report import sweep_trend
from vills.report.sweep_grid import (
    Cell,
    Score,
    TableCell,
    build_grids,
    describe_absence,
    select_score,
)
from vills.report.sweep_labels import (
    render_html,
    render_latex,
    render_markdown,
    render_mathtext,
    render_plain,
)
from vills.report.sweep_tables import SweepFacts, save_sweep_report

SWEEPS = Path(__file__).parents[2] / "sweeps"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PDFLATEX = shutil.which("pdflatex")
FIELDS = tuple(
    [
        "sweep",
        "table",
        "point",
        "label",
        "column",
        "head",
        "metric",
        "ours_mean",
        "ours_std",
        "num_seeds",
        "published",
        "missing",
        "runs",
        "cell",
    ]
)
LABEL = "w/ L^r, λ3 = 3.0"
HARD = "50 % of a_b & {x} #1 $5 ~ ^ \\ <b>|A|</b> † 中"
FACTS = SweepFacts(
    params="profile tiny, digest 12ab",
    commit="0123abcd",
    date="2025-01-02",
    notes=("Not the paper's <scale> & 100 % rendered.",),
)
RUNS = ("f" * 8, "e" * 8, "d" * 8)


def score(*values: float) -> Cell:
    return Cell(tuple(Score(v, RUNS[seed], seed) for seed, v in enumerate(values)))


SWEEP = SweepConfig(
    title="A title",
    command="python sweeps/launch.py small",
    cost="none",
    seeds=[0, 1, 2],
    tables={
        "one": TableConfig(
            "Table 1. One",
            {
                "m_map": ColumnConfig("Market1501", "market1501", "market1501", "mAP"),
                "m_r1": ColumnConfig("Market1501", "market1501", "market1501", "R-1"),
            },
            [ReferenceConfig(HARD, "others", {"m_map": 91.5})],
            "A note.",
        ),
        "two": TableConfig(
            "Table 2. Two",
            {"s_tar": ColumnConfig("Sig", "sigset", "sigset", "TAR@0.001", label="T@0.1%F")},
        ),
    },
    points={
        "a": PointConfig("w/o L^r", "L^r", 0.0, ["x=1"], {"m_map": 91.0, "m_r1": 95.0}),
        "b": PointConfig(LABEL, "L^r", 0.5, ["x=2"], {"m_map": 92.0}),
        "c": PointConfig("|A| = 1", "rest", None, ["x=3"], tables=["one"]),
    },
)
CELLS = {
    ("a", "m_map"): score(0.57, 0.58, 0.62),  # mean 59, deviations -2, -1, 3: std sqrt(14 / 2)
    ("a", "m_r1"): score(0.5, 0.5, 0.5),
    ("b", "m_map"): replace(score(0.58, 0.6), missing="seed 2 failed: out of <memory>"),
    ("b", "m_r1"): score(0.4996, 0.5, 0.5),
    ("c", "m_map"): Cell(missing="params.yaml has no evaluate.market1501"),
    ("a", "s_tar"): score(0.1, 0.2, 0.3),
}


def get_cell(point: str, column: str) -> TableCell:
    cells = build_grids("small", sweep=SWEEP, cells=CELLS).cells
    return next(cell for cell in cells if cell.address == f"small/{point}/{column}")


def test_mean_and_deviation_are_those_of_a_sample() -> None:
    cell = CELLS["a", "m_map"]
    assert cell.mean == pytest.approx(0.59)
    assert cell.std == pytest.approx(0.01 * 7**0.5)
    assert get_cell("a", "m_map").text == "59.0 ± 2.6"
    assert get_cell("a", "m_map").count == ""
    assert score(0.5).std is None
    assert (Cell().mean, Cell().std) == (None, None)


def test_what_is_missing_is_counted_and_explained() -> None:
    grids = build_grids("small", sweep=SWEEP, cells=CELLS)
    partial, none, absent = get_cell("b", "m_map"), get_cell("c", "m_map"), get_cell("c", "m_r1")
    assert (partial.text, partial.count) == ("59.0 ± 1.4", "2 of 3 seeds")
    assert (none.text, none.count, absent.text) == ("", "", "")
    assert (grids.num_missing, grids.num_partial) == (3, 1)
    assert grids.reasons == [
        (1, "seed 2 failed: out of <memory>", ["small/b/m_map"]),
        (2, "params.yaml has no evaluate.market1501", ["small/c/m_map"]),
        (3, "no run", ["small/c/m_r1", "small/b/s_tar"]),
    ]
    assert [cell.reason for cell in (partial, none, absent)] == [1, 2, 3]


def test_one_seed_of_one_is_complete() -> None:
    sweep = replace(SWEEP, seeds=[])
    cells = {("a", "m_map"): Cell((Score(0.5, "f"),))}
    cell = build_grids("small", sweep=sweep, cells=cells).cells[0]
    assert (cell.text, cell.count, cell.reason) == ("50.0", "", 0)


def test_a_difference_may_be_negative() -> None:
    sweep = replace(SWEEP, seeds=[])
    cells = {("a", "m_map"): Cell((Score(-0.0099, "f", is_difference=True),))}
    assert build_grids("small", sweep=sweep, cells=cells).cells[0].text == "-1.0"
    with pytest.raises(AssertionError, match="no share"):
        Score(-0.0099, "f")


def test_the_best_as_printed_is_marked_ours_and_the_papers_apart() -> None:
    assert get_cell("a", "m_map").best  # 59.0 and 59.0
    assert get_cell("b", "m_map").best
    assert get_cell("a", "m_r1").best  # 50.0 and 49.987, printed 50.0
    assert get_cell("b", "m_r1").best
    assert not get_cell("c", "m_map").best
    assert not get_cell("a", "s_tar").best, "one score is not the best of anything"
    assert get_cell("b", "m_map").best_published
    assert not get_cell("a", "m_map").best_published
    assert not get_cell("a", "m_r1").best_published


def test_a_cell_that_the_sweep_lacks_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="s_tar"):
        build_grids("small", sweep=SWEEP, cells={("c", "s_tar"): Cell()})
    with pytest.raises(AssertionError, match="percent"):
        Score(57.0, "f")
    with pytest.raises(AssertionError, match="twice"):
        Cell((Score(0.5, "f", 0), Score(0.5, "f", 0)))


def make_row(**values: Any) -> dict[str, Any]:
    return {"row": "finetuned", "protocol": "prid2011", "rerank": "off", **values}


def test_the_score_is_the_mean_over_splits_without_reranking() -> None:
    column = ColumnConfig("P", "prid2011", "prid2011", "R-1")
    rows = [
        make_row(row="histogram", split="mean of 2", **{"R-1": 0.9}),
        make_row(split=0, **{"R-1": 0.1}),
        make_row(split=1, **{"R-1": 0.3}),
        make_row(split=0, rerank="on", **{"R-1": 0.7}),
        make_row(split="mean of 2", **{"R-1": 0.2}),
        make_row(split="mean of 2", rerank="on", **{"R-1": 0.8}),
        make_row(protocol="image_to_video", split="mean of 2", **{"R-1": 0.6}),
    ]
    assert select_score(rows, column) == 0.2
    assert select_score(rows[:2], column) == 0.1
    assert select_score(rows, replace(column, row="histogram")) == 0.9
    assert select_score(rows[3:4], column) is None
    assert "no row 'scratch'" in describe_absence(rows, replace(column, row="scratch"))
    assert "has no mAP" in describe_absence(rows, replace(column, metric="mAP"))
    lacking = describe_absence(rows, replace(column, protocol="mars"))
    assert lacking == ("evaluate.prid2011.protocols lacks mars (it has image_to_video, prid2011)")


def test_the_score_of_a_sigset_is_the_mean_of_its_galleries() -> None:
    column = SWEEP.columns["s_tar"]
    sig = {"protocol": "sigset"}
    rows = [
        make_row(gallery_group="blended_gallery_1", **sig, **{"TAR@0.001": 0.9}),
        make_row(gallery_group="gallery_1", **sig, **{"TAR@0.001": 0.2}),
        make_row(gallery_group="gallery_2", **sig, **{"TAR@0.001": 0.4}),
        make_row(gallery_group="mean of gallery_1, gallery_2", **sig, **{"TAR@0.001": 0.3}),
    ]
    assert select_score(rows, column) == 0.3
    rows[-1]["TAR@0.001"] = None
    assert select_score(rows, column) is None
    assert "impostor pairs" in describe_absence(rows, column)
    rows[-1]["TAR@0.001"] = float("nan")
    assert select_score(rows, column) is None


@pytest.mark.parametrize(
    ("label", "html", "latex"),
    [
        (
            LABEL,
            "w/ <i>L</i><sup>r</sup>, <i>λ</i><sub>3</sub> = 3.0",
            r"w/ $\mathcal{L}^{r}$, $\lambda_{3}$ = 3.0",
        ),
        ("|A| = 2", "|<i>A</i>| = 2", r"$|\mathcal{A}|$ = 2"),
        ("a <b> & c", "a &lt;b&gt; &amp; c", r"a \textless{}b\textgreater{} \& c"),
        ("[x]*", "[x]*", "{}[x]*"),
        ("SOLIDER †, é, ﬁ, 中", "SOLIDER †, é, ﬁ, 中", r"SOLIDER $\dagger$, é, fi, [U+4E2D]"),
    ],
)
def test_labels_read_well_in_every_format(label: str, html: str, latex: str) -> None:
    assert render_html(label) == html
    assert render_latex(label) == latex
    assert render_plain(label) == label
    assert "$$" not in render_mathtext(label)


def test_no_label_breaks_a_markdown_table() -> None:
    assert render_markdown("|A| *x* a_b `c`\n<b>") == r"\|A\| \*x\* a\_b \`c\` \<b\>"


def test_every_format_says_what_the_others_say(tmp_path: Path) -> None:
    paths = save_sweep_report(tmp_path, name="small", sweep=SWEEP, cells=CELLS, facts=FACTS)
    assert [p.name for p in paths] == [
        "tables.html",
        "tables.md",
        "tables.tex",
        "tables.csv",
        "trend.png",
    ]
    for path in paths[:3]:
        text = path.read_text()
        for part in ("Sweep: small", "12ab", "0123abcd", "2025-01-02", "Seeds: 0, 1, 2", "launch"):
            assert part in text, path
        assert "Missing: 3 of 8 cells. Cells that lack the scores of some seeds: 1." in text
        assert "n - 1" in text
        assert text.count("missing") >= 3
        assert "(2 of 3 seeds)" in text
        assert "small/b/m_map" in text
    markdown = paths[1].read_text()
    pairs = "**59.0 ± 1.4** (2 of 3 seeds) [1] | **92.0** | **50.0 ± 0.0** | / |"
    assert f"| w/ L^r, λ3 = 3.0 | `b` | {pairs}" in markdown
    widths = {len(re.findall(r"(?<!\\)\|", x)) for x in markdown.splitlines() if x[:2] == "| "}
    assert widths == {7, 5}
    latex = paths[2].read_text()
    assert (
        r"w/ $\mathcal{L}^{r}$, $\lambda_{3}$ = 3.0 & \textbf{59.0 $\pm$ 1.4} (2 of 3 seeds) "
        r"$^{[1]}$ & \textbf{92.0} & \textbf{50.0 $\pm$ 0.0} & / \\"
    ) in latex


class Cells(HTMLParser):
    """Addresses of cells, and their text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: dict[str, str] = {}
        self._address = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag == "td":
            self._address = known.get("data-cell") or ""
            if self._address:
                assert known["title"] == f"vills explain {self._address}"

    def handle_data(self, data: str) -> None:
        if self._address:
            self.texts[self._address] = self.texts.get(self._address, "") + data.strip()


def test_cells_of_the_page_carry_their_address_and_nothing_is_read_as_markup(
    tmp_path: Path,
) -> None:
    page = save_sweep_report(tmp_path, name="small", sweep=SWEEP, cells=CELLS, facts=FACTS)[0]
    text = page.read_text()
    found = Cells(text).texts
    assert found["small/a/m_map"] == "59.0 ± 2.6"
    assert found["small/b/m_map"] == "59.0 ± 1.4(2 of 3 seeds)1"
    assert found["small/c/m_map"] == "missing2"
    assert len(found) == 8
    assert "<memory>" not in text
    assert "<scale>" not in text
    assert "&lt;b&gt;|<i>A</i>|&lt;/b&gt;" in text
    assert "http" not in re.sub(r"data:[^\"]*", "", text), "it needs nothing beside itself"


def test_csv_gives_back_every_cell(tmp_path: Path) -> None:
    path = save_sweep_report(tmp_path, name="small", sweep=SWEEP, cells=CELLS, facts=FACTS)[3]
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    assert tuple(rows[0]) == FIELDS
    assert len(rows) == 2 + 8
    cells = {(row["point"], row["column"]): row for row in rows if row["cell"]}
    assert set(cells) == {tuple(row["cell"].split("/")[1:]) for row in rows if row["cell"]}
    for key, row in cells.items():
        cell = CELLS.get(key, Cell())
        assert int(row["num_seeds"]) == len(cell.scores)
        assert row["runs"].split() == [s.run for s in cell.scores]
        for column, value in (("ours_mean", cell.mean), ("ours_std", cell.std)):
            found = float(row[column]) / 100 if row[column] else None
            assert found == (None if value is None else pytest.approx(value, abs=1e-9))
        assert bool(row["missing"]) == (len(cell.scores) < 3)
    assert cells["a", "m_map"]["ours_mean"] == "59"
    assert cells["b", "m_map"]["label"] == LABEL
    other = rows[0]
    assert (other["label"], other["point"], other["published"]) == (HARD, "", "91.5")


@pytest.mark.slow
def test_the_same_numbers_give_the_same_bytes_and_no_stale_picture(tmp_path: Path) -> None:
    kept = {}
    for name in ("first", "second"):
        save_sweep_report(tmp_path / name, name="small", sweep=SWEEP, cells=CELLS, facts=FACTS)
        files = sorted((tmp_path / name).iterdir())
        kept[name] = {path.name: path.read_bytes() for path in files}
    assert kept["first"] == kept["second"]
    assert kept["first"]["trend.png"].startswith(b"\x89PNG")
    flat = replace(SWEEP, points={k: replace(p, x=None) for k, p in SWEEP.points.items()})
    folder = tmp_path / "first"
    paths = save_sweep_report(folder, name="small", sweep=flat, cells=CELLS, facts=FACTS)
    assert sorted(paths) == sorted(folder.iterdir())
    assert "trend" not in (folder / "tables.md").read_text()


@pytest.mark.parametrize("published", [True, False])
def test_a_right_axis_only_where_the_paper_has_scores(
    published: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = {k: p if published else replace(p, published={}) for k, p in SWEEP.points.items()}
    drawn: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        drawn.append(figure)
        return b""

    monkeypatch.setattr(sweep_trend, "build_png", keep)
    sweep_trend.build_trend(replace(SWEEP, points=points), CELLS)
    titled = [axis for axis in drawn[0].axes if axis.get_title(loc="left")]
    # two panels: Market1501, which the paper has, and Sig, which it has not
    assert (len(titled), len(drawn[0].axes)) == (2, 3 if published else 2)
    texts = {text.get_text() for text in drawn[0].legends[0].get_texts()}
    assert ("paper (right axis)" in texts) == published


@pytest.mark.slow
@pytest.mark.parametrize("name", ["areas", "components", "lambda_grid", "main"])
def test_the_papers_tables_stand_without_a_single_score(name: str, tmp_path: Path) -> None:
    sweep = load_sweep(name, folder=SWEEPS)
    paths = save_sweep_report(tmp_path, name=name, sweep=sweep, cells={}, facts=FACTS)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "tables.csv").read_text())))
    points = [row for row in rows if row["point"]]
    assert all(row["missing"] == "no run" for row in points)
    assert sum(row["published"] != "" for row in points) == sum(
        len(point.published) for point in sweep.points.values()
    )
    assert (tmp_path / "trend.png" in paths) == (name in ("areas", "lambda_grid"))
    for line in (tmp_path / "tables.tex").read_text().splitlines():
        if line.endswith(r" \\") and "multicolumn" not in line:
            assert line.count(" & ") in {2 * len(table.columns) for table in sweep.tables.values()}


@pytest.mark.skipif(PDFLATEX is None, reason="no pdflatex")
def test_latex_compiles(tmp_path: Path) -> None:
    save_sweep_report(tmp_path, name="small", sweep=SWEEP, cells=CELLS, facts=FACTS)
    source = r"\documentclass{article}\begin{document}\input{tables.tex}\end{document}"
    (tmp_path / "page.tex").write_text(source)
    command = [str(PDFLATEX), "-halt-on-error", "-interaction=nonstopmode", "page.tex"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-2000:]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_a_browser_shows_the_page(tmp_path: Path) -> None:
    sweep = load_sweep("main", folder=SWEEPS)
    page = save_sweep_report(tmp_path, name="main", sweep=sweep, cells={}, facts=FACTS)[0]
    probe = "document.title = document.documentElement.scrollWidth - innerWidth"
    text = page.read_text().replace("</body>", f"<script>{probe}</script></body>")
    page.write_text(text)
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1280,900", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    title = re.search(r"<title>(-?\d+)</title>", shown)
    assert title is not None
    assert int(title[1]) <= 0, "the page is wider than the window: a table does not scroll alone"
