"""Passwords and tokens in addresses: what is printed or kept has none."""

import re

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


def render_public(text: str) -> str:
    """Return a text whose addresses have no password and no token; all else is as it was.

    `http://user:password@host` becomes `http://user:***@host`. Where it is not clear what a
    password is, more of an address is hidden, not less.
    """
    text = _USER.sub(lambda m: f"{m['user']}:{HIDDEN}@" if m["user"] is not None else "***@", text)
    return _QUERY.sub(rf"\g<name>{HIDDEN}", text)


def has_secret(text: str) -> bool:
    """Whether there is a password or a token in an address of a text."""
    return render_public(text) != text
