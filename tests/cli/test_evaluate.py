"""`vills evaluate` and `vills scores` as a user gives them."""

import json
from pathlib import Path

import numpy as np
import pytest

from vills.cli import main
from vills.config.load import load_params, save_params


def make_folder(root: Path) -> dict[str, np.ndarray]:
    """Six people in two cameras in the layout of Market-1501; files are empty."""
    rng = np.random.default_rng(0)
    names = [f"query/{pid:04d}_c1s1_000001_00.jpg" for pid in range(1, 7)]
    names += [f"bounding_box_test/{pid:04d}_c2s1_000001_01.jpg" for pid in range(1, 7)]
    for name in [*names, "bounding_box_train/0009_c1s1_000001_01.jpg"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return {
        name: np.eye(6)[int(Path(name).name[:4]) - 1] + 0.4 * rng.normal(size=6) for name in names
    }


def save(path: Path, features: dict[str, np.ndarray]) -> str:
    names = np.array(list(features), dtype=str)
    np.savez(path, path=names, feature=np.stack([*features.values()]).astype(np.float32))
    return str(path)


def test_evaluate_prints_a_table_and_writes_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = save(tmp_path / "mine.npz", make_folder(tmp_path / "set"))
    command = ["evaluate", file, "--layout", "market1501", "--root", str(tmp_path / "set")]
    command += ["--protocol", "market1501", "--protocol", "image"]
    assert main([*command, "--rerank", "--json", str(tmp_path / "out.json")]) == 0
    text = capsys.readouterr().out
    assert "Market-1501" in text
    assert "AP by step, cosine distance" in text
    assert "12 features in the file" in text
    assert max(map(len, text.splitlines())) <= 160
    content = json.loads((tmp_path / "out.json").read_text())
    assert [(row["row"], row["protocol"], row["rerank"]) for row in content["rows"]] == [
        ("mine", protocol, rerank)
        for protocol in ("market1501", "image")
        for rerank in ("off", "on")
    ]
    assert content["rows"][0]["queries"] == 6
    assert str(tmp_path) not in (tmp_path / "out.json").read_text()
    assert main([*command, "--json", str(tmp_path / "again.json"), "--rerank"]) == 0
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "out.json").read_bytes()


def test_options_change_the_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = save(tmp_path / "mine.npz", make_folder(tmp_path / "set"))
    command = ["evaluate", file, "--layout", "market1501", "--root", str(tmp_path / "set")]
    command += ["--protocol", "market1501", "--name", "ours-v2", "--ranks", "1", "3"]
    command += ["--distance", "euclidean", "--average-precision", "trapezoid", "--bootstrap", "0"]
    assert main([*command, "--json", str(tmp_path / "out.json")]) == 0
    (row,) = json.loads((tmp_path / "out.json").read_text())["rows"]
    assert (row["row"], row["distance"], row["ap"]) == ("ours-v2", "euclidean", "trapezoid")
    assert {"R-1", "R-3"} <= row.keys()
    assert "R-5" not in row
    assert not any(key.endswith("_low") for key in row)
    assert "euclidean distance" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--root", "nowhere"], "no folder nowhere"),
        (["--ranks", "0"], "ranks entry = 0 is not allowed"),
        (["--fars", "2"], "fars entry = 2.0 is not allowed"),
        (["--split-id", "3"], "split_id = 3 is not allowed"),
        (["--fars", "nan"], "fars entry = nan is not allowed"),
        (["--json", "."], "--json . cannot be written"),
        (["--seed", "-1"], "seed = -1 is not allowed"),
        (["--protocol", "prcc_cloth_changing"], "not allowed with layout market1501"),
        (["--protocol", "video"], "needs a query of tracklets"),
        (["--column", "coarse"], "has no coarse"),
        (["--layout", "kinetics"], "kinetics"),
    ],
)
def test_errors_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    file = save(tmp_path / "mine.npz", make_folder(tmp_path / "set"))
    command = ["evaluate", file, "--layout", "market1501", "--root", str(tmp_path / "set")]
    assert main([*command, "--protocol", "market1501", *change]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "What to do" in error


def make_results(project: Path) -> None:
    rows = []
    for name, base in (("histogram", 0.1), ("finetuned", 0.5)):
        common = {"row": name, "protocol": "prid2011", "title": "PRID2011", "ap": "step"}
        rows += [{**common, "split": k, "mAP": base + k / 100, "R-1": base} for k in range(3)]
        rows.append({**common, "split": "mean of 3", "mAP": base, "mAP_std": 0.01, "R-1": base})
    folder = project / "artifacts" / "evaluate" / "prid2011"
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"rows": rows}))
    (project / "artifacts" / "metrics").mkdir()
    metrics = {"fingerprint": "0123456789abcdef", "model": "mars", "scores": {}}
    (project / "artifacts" / "metrics" / "evaluate_prid2011.json").write_text(json.dumps(metrics))


def test_scores_shows_means_or_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["scores"]) == 2
    assert "run `dvc repro`" in capsys.readouterr().err
    make_results(tmp_path)
    assert main(["scores"]) == 0
    text = capsys.readouterr().out
    assert "prid2011: PRID2011" in text
    assert "* finetuned  50.0 ± 1.0  50.0" in text
    assert "Mean of 3 splits, AP by step, models fine-tuned on mars, run 0123456789ab" in text
    assert "--splits" in text
    assert main(["scores", "prid2011", "--splits"]) == 0
    assert "* finetuned  2      52.0  50.0" in capsys.readouterr().out
    assert main(["scores", "mars"]) == 2
    assert "Found: prid2011" in capsys.readouterr().err


def test_scores_keep_the_order_of_the_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_results(tmp_path)
    for name in ("market1501", "mars", "another"):
        for path in ("metrics/evaluate_{}.json", "evaluate/{}/results.json"):
            source = tmp_path / "artifacts" / path.format("prid2011")
            target = tmp_path / "artifacts" / path.format(name)
            target.parent.mkdir(exist_ok=True)
            target.write_text(source.read_text())

    def read_order() -> list[str]:
        assert main(["scores"]) == 0
        lines = capsys.readouterr().out.splitlines()
        return [line.split(":")[0] for line in lines if line.endswith(": PRID2011")]

    assert read_order() == ["another", "market1501", "mars", "prid2011"]
    save_params(tmp_path, profile="miniature")
    assert list(load_params(tmp_path).evaluate) != sorted(load_params(tmp_path).evaluate)
    expected = [name for name in load_params(tmp_path).evaluate if name in read_order()]
    assert read_order() == [*expected, "another"]
