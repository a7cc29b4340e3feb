"""The whole report of a small world, as text and as a browser shows it."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.report.world import ITEMS, make_artifacts
from vills.config.evaluate import ReportConfig
from vills.report.build import build_report
from vills.report.inputs import ReportInputs
from vills.report.page import Block, Section, Table, build_data_uri, render_page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
CONFIG = ReportConfig(num_strips=2, strip_length=3, num_attention=1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportInputs:
    return make_artifacts(tmp_path_factory.mktemp("world"))


def build(inputs: ReportInputs, out: Path) -> str:
    build_report(inputs, config=CONFIG, out=out, progress=lambda *call: None)
    return (out / "index.html").read_text()


def strip_images(page: str) -> str:
    return re.sub(r'src="data:[^"]*"', "src", page)


@pytest.mark.slow
def test_the_page_names_protocols_choices_and_intervals(
    inputs: ReportInputs, tmp_path: Path
) -> None:
    page = strip_images(build(inputs, tmp_path / "a"))
    for text in (
        "<h4>Tracklets</h4>",
        "<h4>Image to video, query = first frame</h4>",
        "AP by step, cosine distance",
        "95 % bootstrap interval over people",
        "<p>finetuned minus scratch, paired over 5 people: mAP ",
        "it does not include other training seeds",
        "Scored on strangers. Scored with the models of people.",
        "Scored on walks.",
        "Accuracy of test people of tracks per epoch, protocol: Tracklets.",
        "Accuracy of 8 validation people of people per epoch, protocol: Images.",
        "Lines are means over 2 splits, bands one standard deviation.",
        "<h3>others: Images</h3>",
        "Model finetuned of people.",
        "people, fine-tuned from pretrained (scored on others too)",
        "tracks, fine-tuned from pretrained on split 0",
        "others: a &lt;strange&gt; file",
    ):
        assert text in page, text
    assert len(re.findall(r'<tr class="ours"', page)) == 4
    assert re.search(r"<td class=\"\">\d+\.\d \[\d+\.\d, \d+\.\d\]</td>", page)
    assert "No ranked lists were kept" not in page


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes(inputs: ReportInputs, tmp_path: Path) -> None:
    assert build(inputs, tmp_path / "a") == build(inputs, tmp_path / "b")
    assert str(inputs.artifacts) not in (tmp_path / "a" / "index.html").read_text()


@pytest.mark.slow
def test_tables_say_the_same_as_results(inputs: ReportInputs, tmp_path: Path) -> None:
    build(inputs, tmp_path)
    tables = (tmp_path / "tables.md").read_text()
    for item in ITEMS:
        path = inputs.artifacts / "evaluate" / item / "results.json"
        for row in json.loads(path.read_text())["rows"]:
            assert f"## {item}: {row['title']}" in tables
            low, high = (f"{100 * row[f'mAP_{end}']:.1f}" for end in ("low", "high"))
            assert f"{100 * row['mAP']:.1f} [{low}, {high}]" in tables
            assert ("minus_scratch_mAP" in row) == (row["row"] == "finetuned")
    assert tables.count("finetuned minus scratch, paired over 5 people: mAP ") == 4


def test_a_protocol_without_lists_is_named(inputs: ReportInputs, tmp_path: Path) -> None:
    copy = tmp_path / "artifacts"
    shutil.copytree(inputs.artifacts, copy)
    (copy / "evaluate" / "tracks" / "ranking" / "finetuned_video.parquet").unlink()
    other = replace(inputs, artifacts=copy)
    assert "No ranked lists were kept for tracks: Tracklets." in build(other, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")
def test_a_browser_finds_nothing_wider_than_the_page(inputs: ReportInputs, tmp_path: Path) -> None:
    build(inputs, tmp_path)
    page = (tmp_path / "index.html").read_text()
    script = (
        "<script>document.title = 'wide ' + [...document.querySelectorAll('table, img')].filter("
        "e => e.getBoundingClientRect().right > document.body.getBoundingClientRect().right + 1)"
        ".length + ' of ' + document.querySelectorAll('table, img').length;</script></body>"
    )
    (tmp_path / "measured.html").write_text(page.replace("</body>", script))
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={tmp_path / 'browser'}", "--window-size=1280,900"]
    command.append((tmp_path / "measured.html").as_uri())
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    found = re.search(r"<title>wide (\d+) of (\d+)</title>", dom)
    assert found is not None
    assert int(found[1]) == 0
    assert int(found[2]) > 10


def test_rows_that_no_protocol_sees_are_told(inputs: ReportInputs, tmp_path: Path) -> None:
    copy = tmp_path / "artifacts"
    shutil.copytree(inputs.artifacts, copy)
    path = copy / "evaluate" / "others" / "results.json"
    note = "2 rows of query without a person left out"
    path.write_text(json.dumps({**json.loads(path.read_text()), "left_out": [note]}))
    page = build(
        replace(inputs, artifacts=copy),
        tmp_path / "out",
    )
    assert f"Scored with the models of people. Left out, or there twice: {note}." in page


def test_names_are_no_html() -> None:
    name = "<script>alert('x')</script>\"><img src=x onerror=y>"
    table = Table(head=[name], body=[[name]])
    block = Block(name, name, name, table, build_data_uri(b"", "image/png"), name, run=name)
    page = render_page([Section(name, [replace(block, folded=(block,))])])
    assert "&lt;script&gt;" in page
    assert not re.search("<script>alert|<img src=x", page)
