"""Where a project may lie: other programs read its path as more than a path."""

from pathlib import Path

from vills.config.checks import ConfigError


def check_place(folder: Path) -> None:
    """Refuse a folder that a program beneath cannot work in, before anything is written.

    Raises:
        ConfigError: with the program, the characters and what to do.
    """
    path = str(folder.resolve())
    faults = {
        "characters that are not UTF-8, which no file of ours can name": not _is_utf8(path),
        "{ or }, with which `dvc repro` fails": "{" in path or "}" in path,
    }
    for words, found in faults.items():
        if found:
            raise ConfigError(
                f"the path of the project is {path!a}: it has {words}. Allowed: any other path. "
                "What to do: give the folder another name."
            )


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
