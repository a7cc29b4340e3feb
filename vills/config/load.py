"""params.yaml -> Params, through Hydra's compose API; profiles -> params.yaml."""

from collections.abc import Sequence
from pathlib import Path

from vills.config.checks import ConfigError
from vills.config.compose import Schema
from vills.config.operation import find_new_name
from vills.config.params import Params

PARAMS_FILE = "params.yaml"
PROFILES = Path(__file__).parent / "profiles"
_SCHEMA = Schema(
    name="schema",
    kind=Params,
    noun="parameter",
    tables="curate.sources, finetune and evaluate",
    rewrite=", or write the file anew with `vills configure`",
    find_new_name=find_new_name,
)


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
    return _SCHEMA.load(folder, name=path.stem, overrides=overrides, origin=path.name)


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
    return _SCHEMA.load(PROFILES, name=name, overrides=overrides, origin=f"profile {name}")


def list_profiles() -> list[str]:
    """Names of the profiles, without the parts that they share."""
    return sorted(p.stem for p in PROFILES.glob("*.yaml") if not p.stem.startswith("_"))
