"""Names of nodes: what changes a key, what a fingerprint is, and what an empty clone can say."""

from pathlib import Path

import pytest

from tests.launching import DAG, Bench, build_params, build_planner, get_names, load_steps
from vills.config.params import Params
from vills.digests import compute_digest, compute_listing, compute_part_digest
from vills.io import save_json
from vills.runner.plan.nodes import Plan, build_steps, select_steps
from vills.runner.plan.registry import Registry
from vills.runner.store.run import Run

AFTER_PRETRAIN = DAG[DAG.index("pretrain") :]


def list_changed(old: Plan, new: Plan) -> list[str]:
    return [name for name in old if old[name].key != new[name].key]


def test_keys_do_not_depend_on_what_is_computed(bench: Bench) -> None:
    before = bench.plan()
    bench.finish(before)
    after = bench.plan()
    assert list(before) == list(after) == DAG
    assert list_changed(before, after) == []
    assert {len(node.key) for node in before.values()} == {64}


@pytest.mark.slow
def test_a_parameter_renames_its_stage_and_those_after_it(bench: Bench) -> None:
    plan = bench.plan()
    changes = {
        "pretrain.koleo_weight=2.0": AFTER_PRETRAIN,
        "finetune.market1501.epochs=4": AFTER_PRETRAIN[1:],
        "finetune.mars.epochs=4": [],
        "evaluate.market1501.batch_size=8": AFTER_PRETRAIN[2:],
        "pretrain.koleo_weight=3": [],
    }
    for override, names in changes.items():
        assert list_changed(plan, bench.plan(override)) == names, override


def test_code_renames_its_stage_and_those_after_it(bench: Bench) -> None:
    planner = build_planner(bench.project)
    plan = planner.build_plan(select_steps(load_steps("tiny"), DAG))
    planner._codes = {**planner._codes, "lse": "0" * 64}
    changed = planner.build_plan(select_steps(load_steps("tiny"), DAG))
    assert list_changed(plan, changed) == DAG[2:]


def test_shared_nodes_of_two_points_have_one_key(bench: Bench) -> None:
    one = bench.plan("pretrain.koleo_weight=1.0")
    two = bench.plan("pretrain.koleo_weight=2.0")
    shared = {node.key for node in one.values()} & {node.key for node in two.values()}
    assert get_names(one, shared) == DAG[:3]


def build_outside(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """Parameters whose pre-training begins with a file from outside."""
    monkeypatch.setenv("VILLS_WEIGHTS", str(weights))
    params = build_params("tiny")
    params.pretrain.initial.file = "start.safetensors"
    return params


def test_data_from_outside_renames_what_reads_it(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = []
    for content in ("one", "two", "one"):
        (tmp_path / "start.safetensors").write_text(content)
        steps = select_steps(build_steps(build_outside(tmp_path, monkeypatch)), DAG)
        plans.append(build_planner(bench.project).build_plan(steps))
    assert list_changed(plans[0], plans[1]) == AFTER_PRETRAIN
    assert list_changed(plans[0], plans[2]) == []
    digest = compute_digest(tmp_path / "start.safetensors")
    assert plans[0]["pretrain"].outside == {"initial": digest}


def test_an_empty_clone_names_what_is_missing(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = select_steps(build_steps(build_outside(tmp_path, monkeypatch)), DAG)
    plan = build_planner(bench.project).build_plan(steps)
    (told,) = plan["pretrain"].outside.values()
    assert told == "missing: weights 'start.safetensors' are not below VILLS_WEIGHTS"
    state = bench.look(plan)[plan["pretrain"].key]
    assert (state.state, state.detail) == ("waits", f"for {told.removeprefix('missing: ')}")
    assert bench.submit(plan)
    assert get_names(plan, {k for b in bench.slurm.batches for k in b.keys}) == DAG[:3]


def test_the_data_sets_that_need_inventories_name_them(bench: Bench) -> None:
    params = build_params("tiny")
    params.curate.root = "data"
    params.curate.sources = {"mars": params.curate.sources["mars"]}
    (step,) = [step for step in build_steps(params) if step.stage == "curate"]
    planner = build_planner(bench.project)
    missing = planner.build_plan([step])["curate"]
    assert missing.outside == {"inventory_mars": "missing: data/inventories/mars.parquet"}
    (bench.project / "data" / "inventories").mkdir(parents=True)
    (bench.project / "data" / "inventories" / "mars.parquet").write_text("x")
    there = build_planner(bench.project).build_plan([step])["curate"]
    assert there.key != missing.key
    assert there.outside["inventory_mars"] == compute_digest(
        bench.project / "data" / "inventories" / "mars.parquet"
    )


@pytest.mark.parametrize("name", ["curate", "lse"])
def test_the_fingerprint_is_the_one_that_a_run_gives_itself(bench: Bench, name: str) -> None:
    """The oracle is `Run`, with the very files of the makers."""
    plan = bench.plan()
    bench.finish(plan, *DAG[: DAG.index(name)])
    node = plan[name]
    inputs = {}
    for key, entry in node.step.inputs.items():
        maker = Registry(bench.runs).find_run(plan[entry.maker], plan)
        assert maker is not None
        inputs[key] = maker / "out" / entry.part
    run = Run(
        bench.runs,
        stage=node.step.stage,
        item=node.step.item,
        read_params=lambda: node.step.sections,
        inputs=inputs,
        module=f"vills.pipeline.{node.step.stage}",
        progress=print,
    )
    registry = Registry(bench.runs)
    assert registry.find_fingerprint(node, plan) == run.fingerprint
    assert registry.find_run(node, plan) == run.folder
    assert not registry.is_done(node, plan)


def test_a_node_has_no_fingerprint_before_its_inputs(bench: Bench) -> None:
    plan = bench.plan()
    assert Registry(bench.runs).find_fingerprint(plan["miniature"], plan)
    assert Registry(bench.runs).find_fingerprint(plan["curate"], plan) == ""
    assert Registry(bench.runs).find_run(plan["curate"], plan) is None
    bench.finish(plan, "miniature")
    assert Registry(bench.runs).find_fingerprint(plan["curate"], plan)


def test_a_noted_run_that_was_thrown_away_is_none(bench: Bench) -> None:
    plan = bench.plan()
    key = plan["curate"].key
    save_json(bench.runs / "_nodes" / key / "run.json", {"fingerprint": "f" * 64})
    assert Registry(bench.runs).find_fingerprint(plan["curate"], plan) == ""


def test_parts_have_the_digests_of_their_files(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("pretrain/a", "pretrain/deep/b", "pretrain/deep.c", "pretrain-not/x", "metrics"):
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(name)
    (out / "empty").mkdir()
    outputs = compute_listing(out)
    for part in ("pretrain", "pretrain-not", "metrics", "empty"):
        assert compute_part_digest(outputs, part) == compute_digest(out / part), part


@pytest.mark.parametrize(
    ("overrides", "needed"),
    [
        (["finetune.market1501.initialisations=[scratch]"], set()),
        (["finetune.market1501.initialisations=[scratch,pretrained]"], {"pretrain", "lse"}),
        (["pretrain.areas=[]"], {"pretrain"}),
    ],
)
def test_a_stage_needs_what_it_uses(overrides: list[str], needed: set[str]) -> None:
    steps = select_steps(load_steps("tiny", overrides), ["finetune@market1501"])
    always = {"miniature", "curate", "finetune@market1501"}
    assert {step.name for step in steps} == always | needed


def test_scores_need_the_pre_training_for_its_row_alone() -> None:
    scratch = "finetune.market1501.initialisations=[scratch]"
    for baselines, is_needed in (("[histogram,untrained]", False), ("[pretrained]", True)):
        steps = load_steps("tiny", [scratch, f"evaluate_defaults.baselines={baselines}"])
        chosen = select_steps(steps, ["evaluate@market1501"])
        assert ("pretrain" in {step.name for step in chosen}) == is_needed


def test_a_new_architecture_renames_a_model_that_starts_from_scratch(bench: Bench) -> None:
    scratch = "finetune.market1501.initialisations=[scratch]"

    def plan(*overrides: str) -> Plan:
        steps = select_steps(load_steps("tiny", [scratch, *overrides]), ["finetune@market1501"])
        return build_planner(bench.project).build_plan(steps)

    before = plan()
    assert list_changed(before, plan("pretrain.model.depth=3")) == ["finetune@market1501"]
    assert list_changed(before, plan("pretrain.optim.base_lr=1")) == []
