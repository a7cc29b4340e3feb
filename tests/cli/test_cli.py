import subprocess
import sys
import time
from pathlib import Path

import pytest

from vills.cli import COMMANDS, build_parser, main
from vills.config.checks import ConfigError


def test_help_answers_within_a_second_and_without_torch() -> None:
    code = (
        "import sys; from vills.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'mlflow', 'deepspeed', 'cv2'} & set(sys.modules), 'heavy import'"
    )
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert time.monotonic() - start < 1.0
    for name in COMMANDS:
        assert name in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_reads_writes_and_needs(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args([name, "--help"])
    text = capsys.readouterr().out
    for word in ("reads:  ", "writes: ", "needs:  "):
        assert text.split(word)[1].strip()


def test_an_error_of_the_user_has_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run", "pretrain"]) == 2
    error = capsys.readouterr().err
    assert "params.yaml is missing" in error
    assert "What to do" in error
    assert main(["configure", "profile=tiny"]) == 0
    assert main(["run", "pretrian"]) == 2
    assert "Allowed: miniature, curate, lse" in capsys.readouterr().err


def test_stages_run_in_the_given_order_until_one_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []

    def launch(project: Path, *, stage: str, item: str = "") -> None:
        begun.append((project, stage, item))
        if stage == "evaluate":
            raise ConfigError("no")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("vills.runner.plan.launch.launch_stage", launch)
    assert main(["run", "pretrain", "finetune@mars"]) == 0
    assert begun == [(tmp_path, "pretrain", ""), (tmp_path, "finetune", "mars")]
    assert main(["run", "evaluate@mars", "report"]) == 2
    assert begun[2:] == [(tmp_path, "evaluate", "mars")]


def test_extract_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["extract", str(tmp_path / "none.jpg"), "--weights", str(tmp_path)]) == 2
    assert "What to do" in capsys.readouterr().err
