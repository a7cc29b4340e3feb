"""params.yaml -> Params, through Hydra's compose API; profiles -> params.yaml."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vills.config.checks import ConfigError
from vills.config.overrides import find_strangers, find_table, nest_additions
from vills.config.params import Params

PARAMS_FILE = "params.yaml"
PROFILES = Path(__file__).parent / "profiles"


def load_params(folder: Path, overrides: Sequence[str] = ()) -> Params:
    """Read `folder`/params.yaml with Hydra `overrides` on top.

    Raises:
        ConfigError: if the file is missing or a key, a type or a range is refused.
    """
    path = folder / PARAMS_FILE
    if not path.is_file():
        raise ConfigError(
            f"{PARAMS_FILE} is missing in {folder}. What to do: go to the project's folder, or "
            "write one with `vills configure profile=miniature`."
        )
    return _build(_compose(folder, "params", overrides), path.name)


def load_profile(name: str, overrides: Sequence[str] = ()) -> Params:
    """Parameters of a profile, with Hydra `overrides` on top.

    Raises:
        ConfigError: if the profile is unknown or an override is refused.
    """
    if name not in list_profiles():
        raise ConfigError(
            f"profile = {name!r} is not allowed. Allowed: {', '.join(list_profiles())}. "
            "What to do: choose one of them and change single values with key=value."
        )
    return _build(_compose(PROFILES, name, overrides), f"profile {name}")


def list_profiles() -> list[str]:
    """Names of the profiles, without the parts that they share."""
    return sorted(p.stem for p in PROFILES.glob("*.yaml") if not p.stem.startswith("_"))


def _compose(folder: Path, name: str, overrides: Sequence[str]) -> DictConfig:
    ConfigStore.instance().store(name="schema", node=Params)
    try:
        with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
            return compose(name, overrides=nest_additions(overrides))
    except HydraException as error:
        raise ConfigError(_explain(error, f"{folder.name}/{name}.yaml")) from error


def _build(config: DictConfig, origin: str) -> Params:
    strangers = find_strangers(config)
    if strangers:
        choices = ", ".join(_list_choices(strangers[0]))
        raise ConfigError(
            f"{origin}: {strangers[0]} is no parameter. Allowed keys beside it: {choices}. What to "
            "do: mend the key; + adds entries to curate.sources, finetune and evaluate alone."
        )
    try:
        params: Any = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise ConfigError(_explain(error, origin)) from error
    if not isinstance(params, Params):
        raise ConfigError(
            f"{origin} is not checked: its defaults lack the schema. What to do: keep its first "
            "lines, `defaults: [schema, _self_]`, or write it anew with `vills configure`."
        )
    return params


def _explain(error: BaseException, origin: str) -> str:
    """Field, value, allowed, remedy from the chain of Hydra's and OmegaConf's errors."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        if isinstance(cause, ConfigError):
            return str(cause)
        cause = cause.__cause__
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    full_key = next((line[10:].strip() for line in lines if line.startswith("full_key:")), "")
    # Hydra's own first line only says which file; OmegaConf's reason stands on the next.
    reason = lines[1] if len(lines) > 1 and lines[0].startswith("In ") else "".join(lines[:1])
    message = f"{origin}: {full_key + ': ' if full_key else ''}{reason.rstrip('.')}."
    choices = _list_choices(full_key) if "not in" in reason else []
    if choices:
        message += f" Allowed keys beside it: {', '.join(choices)}."
    if find_table(full_key) and "not in struct" in reason:
        return (
            f"{message} What to do: name an entry that is there, or add one with "
            f"'+{full_key}={{field: value, ...}}'; vills/config documents the fields."
        )
    return (
        message
        + " What to do: mend the key or its value; every field is documented in vills/config."
    )


def _list_choices(full_key: str) -> list[str]:
    node: Any = OmegaConf.structured(Params)
    for part in full_key.split(".")[:-1]:
        if not isinstance(node, DictConfig) or part not in node:
            return []
        node = node[part]
    return [str(key) for key in node] if isinstance(node, DictConfig) else []
