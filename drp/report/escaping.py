"""Make names and texts safe to show in a terminal, in Markdown and in LaTeX. Jinja escapes HTML.

Every text of a model, and every benchmark's, model's and skill's name, can hold markup, commands or escape sequences.
"""

import re

_ESCAPE_SEQUENCES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links: OSC ... BEL or ST
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # DCS, SOS, PM, APC ... ST
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor: CSI
    r"|\x1b[ -/]*[0-~]?"
)
# C0 except tab and newline, C1, and the characters that change the direction of text.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_ASCII = {"\u2212": "-", "–": "-", "→": "->", "±": "+-", "\u00a0": " "}

# Characters that are markup anywhere, and those that are markup at the start of a paragraph.
_MARKDOWN = re.compile(r"[\\`*_\[\]|~$]|^[#+=-](?=[#+=-]*(?:\s|$))|(?<=^\d)[.)](?=\s)")

_LATEX = {
    "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}",
    "|": "\\textbar{}",
    # After the end of a row or a rule, LaTeX would read these as options.
    "[": "{[}", "]": "{]}", "*": "{*}",
    "\u2212": "$-$", "–": "--", "±": "$\\pm$", "→": "$\\rightarrow$", "×": "$\\times$", "Δ": "$\\Delta$",
    "…": "\\ldots{}", "·": "$\\cdot$",
}  # fmt: skip


def strip_controls(text: str) -> str:
    """Remove escape sequences and control characters, except tabs and newlines."""
    return _CONTROLS.sub("", _ESCAPE_SEQUENCES.sub("", text))


def escape_terminal(text: str) -> str:
    """Text as one line for a terminal or a pipe; the report's own signs (−, →, ±) become ASCII."""
    for sign, plain in _ASCII.items():
        text = text.replace(sign, plain)
    return " ".join(strip_controls(text).split("\n"))


def escape_markdown(text: str) -> str:
    """Text as one line of Markdown that is no markup, link, formula or list and does not end a table's cell."""
    text = _MARKDOWN.sub(r"\\\g<0>", " ".join(strip_controls(text).split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_latex(text: str) -> str:
    """Text as one line of LaTeX without commands."""
    return "".join(_LATEX.get(character, character) for character in " ".join(strip_controls(text).split()))
