"""Names and texts, made harmless for where they are shown: a terminal, Markdown, LaTeX. HTML is Jinja's business.

A benchmark's name, a model's folder and every text of a model are whatever somebody chose to write.
"""

import re

_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links: OSC ... BEL or ST
    r"|\x1b[PX^_][^\x1b]*(?:\x1b\\)?"  # DCS, SOS, PM, APC ... ST
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor: CSI
    r"|\x1b[ -/]*[0-~]?"
)
# C0 but for tab and newline, C1, and what turns the direction of text around.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

_PLAIN = {"\u2212": "-", "–": "-", "→": "->", "±": "+-", "\u00a0": " "}

# Signs that mark up wherever they stand, and those that do so at the start of a paragraph.
_MARKDOWN = re.compile(r"[\\`*_\[\]|~$]|^[#+=-](?=[#+=-]*(?:\s|$))|(?<=^\d)[.)](?=\s)")

_LATEX = {
    "\\": "\\textbackslash{}", "&": "\\&", "%": "\\%", "$": "\\$", "#": "\\#", "_": "\\_", "{": "\\{", "}": "\\}",
    "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "\\textless{}", ">": "\\textgreater{}",
    "|": "\\textbar{}",
    # After the end of a row, or a rule, these would be read as its options.
    "[": "{[}", "]": "{]}", "*": "{*}",
    "\u2212": "$-$", "–": "--", "±": "$\\pm$", "→": "$\\rightarrow$", "×": "$\\times$", "Δ": "$\\Delta$",
    "…": "\\ldots{}", "·": "$\\cdot$",
}  # fmt: skip


def clean(text: str) -> str:
    """Text that a terminal shows and does not obey."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text))


def write_plainly(text: str) -> str:
    """For terminals and pipes that know ASCII only."""
    for sign, plain in _PLAIN.items():
        text = text.replace(sign, plain)
    return " ".join(clean(text).split("\n"))


def escape_markdown(text: str) -> str:
    """Text that is no markup, link, formula, list or cell's end in Markdown."""
    text = _MARKDOWN.sub(r"\\\g<0>", " ".join(clean(text).split()))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in " ".join(clean(text).split()))
