"""Passwords and tokens in addresses: what is printed or kept has none."""

import re
from urllib.parse import urlsplit

from vills.errors import InputError

HIDDEN = "***"
_USER = re.compile(
    r"(?<=://)"
    r"(?:(?P<user>[^\s/?#@:'\"]*):(?!\d*(?:[/?#\s'\",;)\]}]|$))\S*"  # a password has any sign in it
    r"|[^\s/?#@:'\"]+)"  # a token alone, as git's hosts take it
    r"@"
)
_QUERY = re.compile(
    r"(?P<name>[?&;][\w.%-]*(?:passw(?:or)?d|pwd|token|secret|key|sig(?:nature)?|credentials?)=)"
    r"[^&;\s'\"#]+",
    re.IGNORECASE,
)

_NAME = re.compile(r"(passw(or)?d|pwd|token|secret|api_?key|credentials?)$", re.IGNORECASE)


def render_public(text: str) -> str:
    """Return a text whose addresses have no password and no token; all else is as it was.

    `http://user:password@host` becomes `http://user:***@host`. Where it is not clear what a
    password is, more of an address is hidden, not less.
    """
    text = _USER.sub(lambda m: f"{m['user']}:{HIDDEN}@" if m["user"] is not None else "***@", text)
    return _QUERY.sub(rf"\g<name>{HIDDEN}", text)


def check_address(name: str, value: str) -> None:
    """Refuse an address of which nobody can say where its password ends.

    Raises:
        InputError: for the person who set the variable `name`.
    """
    try:
        _ = urlsplit(value).port
    except ValueError:  # its words may be a part of the password
        raise InputError(
            f"{name} = {render_public(value)} is no address. Allowed: http://HOST:PORT, a "
            "database, and in a password % and two digits for signs: %2F for /, %23 for #. What "
            "to do: correct it, or put the password into MLFLOW_TRACKING_PASSWORD."
        ) from None


def check_public(name: str, value: str) -> None:
    """Refuse a password or a token where it would be written into the files of jobs.

    Raises:
        InputError: for the person who set the variable `name`.
    """
    if render_public(value) != value or (value and _NAME.search(name)):
        raise InputError(
            f"{name} holds a password, which would be written into every job's files. Allowed: "
            "values without one. What to do: leave it out here, and export it where you launch: "
            "jobs get it with your environment. Of the tracker: MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials."
        )
