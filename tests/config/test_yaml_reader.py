"""Values stay what was typed, and what is no YAML is said with its place."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from vills.cli import main
from vills.cli.sweep import main as launch
from vills.config.checks import ConfigError
from vills.config.load import load_params, load_profile, save_params
from vills.config.overrides import check_repeats
from vills.config.resources import Resources, load_resources

WORDS: tuple[str, ...] = (
    "010",
    "no",
    "off",
    "on",
    "yes",
    "020222",
    "0x10",
    "1_000",
    "1e3",
    "1.10",
    "12:00:00",
)
WORDS += ("2024-01-01", "true", "0o17", "+5", ".5", "été", "a b", "a'b", "007")


def write(folder: Path, text: str) -> Path:
    (folder / "slurm").mkdir(exist_ok=True)
    (folder / "slurm" / "pretrain.yaml").write_text(text)
    return folder


def load(folder: Path, text: str, *words: str) -> Resources:
    words = tuple(f"slurm.pretrain.{word}" for word in words)
    return load_resources(write(folder, text), "pretrain", words)


@pytest.mark.parametrize("word", WORDS)
def test_text_stays_what_was_typed(tmp_path: Path, word: str) -> None:
    text = f"estimate: {{source: {word}}}  # why\nsetup: [{word}]\nenvironment: {{A: {word}}}"
    words = (f"estimate.source={word}", f"setup=[{word}]", f"environment={{A: {word}}}")
    for found in (load(tmp_path, text), load(tmp_path, "{}", *words)):
        assert (found.estimate.source, found.setup) == (word, [word])
        assert found.environment == {"A": word}


@pytest.mark.parametrize(
    "text",
    [
        *("epoch=9-step=100.pth", "a b,c", "[x]{y}", "$HOME/a", "50%", "@x", "a #b", "c: d", "*a"),
        *('it"s', "it's", "~/x", "!x", "&x", "a\\new", "=", "été/人", "x=", "(a)", "|", ">", "-x"),
    ],
)
def test_the_text_behind_the_first_equals_sign_is_the_value(text: str, tmp_path: Path) -> None:
    assert load_profile("tiny", [f"lse.keypoint_weights={text}"]).lse.keypoint_weights == text
    save_params(tmp_path, profile="tiny", overrides=[f"lse.keypoint_weights={text}"])
    assert load_params(tmp_path).lse.keypoint_weights == text
    read = YAML(typ="safe").load((tmp_path / "params.yaml").read_text())
    assert read["lse"]["keypoint_weights"] == text, "DVC reads another value"


def test_quotes_and_the_escapes_of_hydra_are_taken_off() -> None:
    for typed, text in (
        ("'a b'", "a b"),
        ('"a=b"', "a=b"),
        (r"epoch\=9.pth", "epoch=9.pth"),
        ("", ""),
        ("'null'", "null"),
    ):
        assert load_profile("tiny", [f"lse.keypoint_weights={typed}"]).lse.keypoint_weights == text


@pytest.mark.parametrize(
    ("typed", "minutes"),
    [
        ("90", 90),
        ("90:00", 90),
        ("0:30", 1),
        ("12:00:00", 720),
        ("1:30:01", 91),
        ("2-00", 2880),
        ("1-12:30", 2190),
        ("1-00:00:01", 1441),
        ("'48:00:00'", 2880),
    ],
)
def test_the_time_limit_is_read_in_the_forms_of_slurm(
    tmp_path: Path, typed: str, minutes: int
) -> None:
    signal = "signal_seconds: 10\ntimeout_min: "
    assert load(tmp_path, f"{signal}{typed}").timeout_min == minutes
    assert (
        load(tmp_path, f"{signal}60", f"timeout_min={typed.strip(chr(39))}").timeout_min == minutes
    )


@pytest.mark.parametrize(
    "typed", ["UNLIMITED", "infinite", "12h", "1:2:3:4", "1.5", "010", "12:60:00", "1-", "-5", "²"]
)
def test_another_form_of_the_time_limit_is_refused_with_the_list(
    tmp_path: Path, typed: str
) -> None:
    for text, words in ((f"timeout_min: {typed}", ()), ("{}", (f"timeout_min={typed}",))):
        with pytest.raises(ConfigError, match=r"timeout_min = .*Allowed: minutes, MM:SS, HH:MM:SS"):
            load(tmp_path, text, *words)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("nodes: 020", "nodes = '020' is not allowed. Allowed: a whole number"),
        ("nodes: 1_000", "whole number"),
        ("nodes: 0x10", "whole number"),
        ("nodes: 2.0", "whole number"),
        ("nodes: 1e3", "whole number"),
        ("nodes: 64G", "whole number"),
        ("nodes: true", "whole number"),
        ("account: null", "account has no value (null). Allowed: '' for no text, or 'null' in quo"),
        ("account:", "account has no value (nothing). Allowed: '' for no text"),
        ("setup:", "setup has no value (nothing). Allowed: []"),
        ("setup: module load", "Allowed: a list, such as [a, b]"),
        ("account: [a]", "account is a list. Allowed: text"),
        ("nodes: {a: 1}", "nodes is a mapping. Allowed: a whole number"),
        ("account: !!int 5", "has the tag !!int"),
        ("setup: &a [*a]", "contains itself"),
        ("? [a]\n: 1", "a key that is no text"),
        ("setup:\n- export X=1: 2", "setup.0 is a mapping. Allowed: text, in quotes if"),
        ("nodes: 1\nqos: x\nnodes: 2", "line 3, column 1: has the key 'nodes' twice (first in"),
    ],
)
def test_what_is_not_plainly_a_value_is_refused(tmp_path: Path, line: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, line)
    assert said in str(caught.value)
    assert "slurm/pretrain.yaml, line " in str(caught.value)
    assert "What to do: " in str(caught.value)


def test_anchors_merge_keys_and_what_may_be_anything(tmp_path: Path) -> None:
    text = """
environment: &some {A: "1", B: 010}
estimate:
  minutes: {<<: &m {x: 1e-4, y: .5}, y: 2}
extra:
  {nice: 5, requeue: true, begin: 12:00:00, mem: 64G, comment: 1.10, odd: 020, s: &s x, t: *s}
"""
    found = load(tmp_path, text)
    assert found.environment == {"A": "1", "B": "010"}
    assert found.estimate.minutes == {"x": 1e-4, "y": 2.0}
    typed = {"begin": "12:00:00", "mem": "64G", "comment": "1.10", "odd": "020", "s": "x", "t": "x"}
    assert found.extra == {"nice": 5, "requeue": True, **typed}


BROKEN: dict[str, tuple[bytes, str]] = {
    "merge": (b"a: 1\n<<<<<<< HEAD\nb: 2\n=======\nb: 3\n>>>>>>> x\n", "line 2, column 1: <<<<<<<"),
    "tab": (b"defaults: [schema, _self_]\npretrain:\n\tseed: 1\n", "line 3, column 1: this is no "),
    "latin": (
        "defaults: [schema]\n# été\n".encode("latin-1"),
        "line 2, column 3: byte 0xe9 is not",
    ),
    "utf16": ("defaults: [schema]\n".encode("utf-16"), "iconv -f utf-16"),
    "twice": (b"pretrain: {seed: 1}\npretrain: {seed: 2}\n", "line 2, column 1: has the key"),
    "bracket": (b"pretrain: {areas: [a\n", "line 2, column 1: this is no YAML"),
    "empty": (b"", "params.yaml is empty"),
    "list": (b"- a\n", "params.yaml has no keys at its top"),
    "scalar": (b"hello\n", "params.yaml has no keys at its top"),
    "null": (b"pretrain:\x00 {}\n", "line 1, column 10: this is no YAML: a character"),
    "quote": (b"pretrain: {seed: '1}\n", "this is no YAML"),
    "colon": (b"curate: path: x: y\n", "line 1, column 13: this is no YAML"),
    "deep": (b"a: " + b"[" * 600, "too many brackets"),
    "alias": (b"pretrain: *nobody\n", "line 1, column 11: this is no YAML"),
    "two": (b"pretrain: {}\n---\nlse: {}\n", "line 2"),
    "default": (b"defaults: [schema, nobody]\n", "nobody"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_every_command_says_where_a_file_is_broken(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, said = BROKEN[case]
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes(data)
    Path("sweeps").mkdir()
    Path("sweeps/main.yaml").write_bytes(data)
    commands: list[tuple[Any, list[str]]] = [
        (main, ["status"]),
        (main, ["run", "curate"]),
        (main, ["data", "verify", "mars"]),
        (main, ["scores"]),
    ]
    for run, words in commands:
        assert run(words) == 2
        message = capsys.readouterr().err
        assert said in message
        assert "What to do: " in message
    assert launch(["main", "--plan"]) == 2
    assert said.replace("params.yaml", "main.yaml") in capsys.readouterr().err
    assert main(["configure", "profile=tiny"]) == 2
    message = capsys.readouterr().err
    assert "--force" in message
    assert case == "default" or said in message
    assert main(["configure", "profile=tiny", "--force"]) == 0
    assert load_params(tmp_path) == load_profile("tiny")


def test_a_folder_or_a_broken_lock_in_place_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").mkdir()
    for words in (["status"], ["scores"], ["configure", "profile=tiny", "--force"]):
        assert main(words) == 2
        assert "params.yaml cannot be read: Is a directory" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"slurm/pretrain.yaml, line 1, column 9: this is"):
        load(tmp_path, "nodes: [")


NAMES = ("no", "on", "007", "null", "true", "1e3", "0x10", "2024-01-01", "y", "_x", "a-b", "A_1")


def test_names_that_yaml_takes_for_something_else_are_quoted_and_dvc_reads_the_same(
    tmp_path: Path,
) -> None:
    words = [f"+curate.sources.{name}={{path: '{name}'}}" for name in NAMES]
    words += [f"+finetune.{name}={{epochs: 2}}" for name in NAMES]
    words += [f"+evaluate.{name}={{protocols: [image]}}" for name in NAMES]
    path = save_params(tmp_path, profile="tiny", overrides=words)
    params = load_params(tmp_path)
    assert params == load_profile("tiny", words)
    assert [params.curate.sources[name].path for name in NAMES] == list(NAMES)
    read = YAML(typ="safe").load(path.read_text())  # as DVC does
    assert list(read["finetune"]) == list(params.finetune)
    assert {name: entry["model"] for name, entry in read["evaluate"].items()} == {
        name: entry.model for name, entry in params.evaluate.items()
    }
    text = path.read_text().replace("  '007': {source", "  007: {source")
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"finetune.007 has 007 without quotes.*add the quotes"):
        load_params(tmp_path)


@pytest.mark.parametrize(
    "name", ["a.b", "été", "a b", "a/b", "..", "-x", "a@b", "a:b", "a=b", "", "a\\b", "a$", "人"]
)
def test_names_that_are_no_safe_word_are_refused(name: str) -> None:
    quoted = f"'{name}'"
    for table, entry in (("curate.sources", "{path: x}"), ("finetune", "{source: market1501}")):
        with pytest.raises(ConfigError, match="key = .* Allowed: letters a to z or A to Z, digits"):
            load_profile("tiny", [f"+{table}={{{quoted}: {entry}}}"])


def test_a_whole_table_or_entry_is_replaced_and_a_section_refused() -> None:
    words = ["curate.sources={pku: {layout: folder, path: pku}}", "finetune={pku: {}}"]
    words += ["evaluate={pku:{protocols:[image]}}", "lse.area_threshold={upper_body: 0.1}"]
    with pytest.raises(
        ConfigError, match="lse.area_threshold = .* Allowed: 3 entries: upper_body, lower_body"
    ):
        load_profile("tiny", words)
    params = load_profile("tiny", words[:3])
    assert (list(params.curate.sources), list(params.finetune)) == (["pku"], ["pku"])
    assert list(params.evaluate) == ["pku"]
    entry = load_profile("tiny", ["finetune.mars={epochs: 7}"]).finetune["mars"]
    assert (entry.epochs, entry.modality) == (7, "image")
    assert load_profile("tiny", ["curate.sources={}", "finetune={}", "evaluate={}"]).finetune == {}
    for word, said in (
        ("pretrain.model={depth: 2}", "is a section.*pretrain.model.depth="),
        ("operation={block_size: 2}", "operation is a section"),
        ("+curate.sources.mars={path: x}", "curate.sources.mars.path is there already"),
        ("~pretrain.seed", "is a field, which cannot go"),
        ("~curate.sources.nobody", "no entry 'nobody'"),
        ("~finetune.mras", "Did you mean mars"),
        ("curate.sources=null", r"curate.sources has no value \(null\)"),
        ("pretrain.seed.x=1", "pretrain.seed has no fields"),
        ("pretrain.areas=head", "Allowed: a list"),
        ("pretrain.areas=[upper_body", r"'single quotes'.*\"key=\['a=1', 'b c'\]\""),
        ("pretrain.seed", "has no value"),
        ("lse.keypoint_weights=a\nb", "line break"),
    ):
        with pytest.raises(ConfigError, match=said):
            load_profile("tiny", [word])
    changed = load_profile("tiny", ["++curate.sources.mars={path: x}"]).curate.sources["mars"]
    assert (changed.path, changed.layout) == ("x", "mars")


def test_a_mapping_of_a_job_is_replaced(tmp_path: Path) -> None:
    text = "environment: {A: a}\nextra: {exclude: n7}"
    found = load(tmp_path, text, "environment={B: b}", "extra={}")
    assert (found.environment, found.extra) == ({"B": "b"}, {})


def test_a_key_is_given_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    check_repeats(["~finetune.mars", "+finetune.mars={}"])
    words = ["pretrain.seed=1", "+pretrain.seed=2"]
    assert main(["configure", "profile=tiny", *words]) == 2
    assert "pretrain.seed is given twice" in capsys.readouterr().err
    assert launch(["main", "profile=tiny", "profile=real", "--plan"]) == 2
    assert "profile is given twice" in capsys.readouterr().err
