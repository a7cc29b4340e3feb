"""`vills configure`: write params.yaml."""

from argparse import ArgumentParser
from pathlib import Path

from vills.cli.command import Arguments, Command


def _add(parser: ArgumentParser) -> None:
    parser.add_argument("settings", nargs="+", metavar="key=value", help="profile=NAME, then any")
    parser.add_argument("--force", action="store_true", help="replace hand edits")


def _run(arguments: Arguments) -> int:
    from vills.config.checks import ConfigError
    from vills.config.load import list_profiles
    from vills.config.write import save_params

    settings = list(arguments.settings)
    profiles = [s for s in settings if s.startswith("profile=")]
    if len(profiles) != 1:
        raise ConfigError(
            f"profile is given {len(profiles)} times. Allowed: once, one of "
            f"{', '.join(list_profiles())}. What to do: vills configure profile=miniature."
        )
    overrides = [s for s in settings if s not in profiles]
    path = save_params(
        Path.cwd(),
        profile=profiles[0].removeprefix("profile="),
        overrides=overrides,
        force=arguments.force,
    )
    print(f"wrote {path.name}; `vills status` says what is to be done")
    return 0


COMMANDS = (
    Command(
        name="configure",
        summary="Write params.yaml from a profile, with single values changed",
        reads="the profile, and params.yaml to see hand edits",
        writes="params.yaml",
        needs="nothing; profiles: tiny, miniature, real, paper_vits, paper_vitb",
        add_arguments=_add,
        run=_run,
    ),
)
