"""Labels of a sweep, written as L^m, λ2 and |A|, in the notation of each format."""

import re
import unicodedata
from html import escape

from markupsafe import Markup

_SYMBOL = re.compile(r"\b(?P<letter>[A-Za-z])\^(?P<up>\w+)|λ_?(?P<down>\d+)|\|(?P<set>[A-Z])\|")
_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "†": r"$\dagger$",
    "→": r"$\rightarrow$",
    "λ": r"$\lambda$",
    "τ": r"$\tau$",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "×": r"$\times$",
    "…": r"\dots{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
}


def render_plain(label: str) -> str:
    """Write a label for CSV and terminals: as in the sweep's file, without control characters."""
    return " ".join(label.split())


def render_markdown(label: str) -> str:
    """Write a label for a cell of a GitHub table."""
    text = re.sub(r"([\\`*_<>\[\]|])", r"\\\1", render_plain(label))
    return text.replace("&", "&amp;")


def render_html(label: str) -> Markup:
    """Write a label for HTML; all that is no symbol is escaped."""

    def write(found: re.Match[str]) -> str:
        if found["letter"]:
            return f"<i>{found['letter']}</i><sup>{found['up']}</sup>"
        if found["down"]:
            return f"<i>λ</i><sub>{found['down']}</sub>"
        return f"|<i>{found['set']}</i>|"

    # neither what marks a symbol nor what stands in one is changed by escaping
    return Markup(_SYMBOL.sub(write, escape(render_plain(label))))


def render_latex(label: str) -> str:
    """Write LaTeX text without packages; what it has no sign for becomes its code point."""
    text, place = "", 0
    plain = render_plain(label)
    for found in _SYMBOL.finditer(plain):
        text += _escape_latex(plain[place : found.start()]) + _write_math(found)
        place = found.end()
    text += _escape_latex(plain[place:])
    # at the start of a row, \\ would take a [ or a * for its own
    return f"{{}}{text}" if text.startswith(("[", "*")) else text


def render_mathtext(label: str) -> str:
    """Write a label for matplotlib."""
    return _SYMBOL.sub(_write_math, render_plain(label).replace("$", r"\$"))


def _write_math(found: re.Match[str]) -> str:
    if found["letter"]:
        up = found["up"].replace("_", r"\_")
        return rf"$\mathcal{{{found['letter']}}}^{{{up}}}$"
    if found["down"]:
        return rf"$\lambda_{{{found['down']}}}$"
    return rf"$|\mathcal{{{found['set']}}}|$"


def _escape_latex(text: str) -> str:
    return "".join(_TEX.get(mark) or _write_sign(mark) for mark in text)


def _write_sign(mark: str) -> str:
    # pdflatex knows the Latin letters of Europe; any other sign would stop it
    if ord(mark) < 0x180:
        return mark
    near = unicodedata.normalize("NFKD", mark).encode("ascii", "ignore").decode()
    return _TEX.get(near, near) if near else f"[U+{ord(mark):04X}]"
