"""The prompts, one text file each, and their loader.

A placeholder is written `<<name>>`. Values are inserted as they are, in one pass, so that a trace may hold braces,
dollar signs, LaTeX or `<<48/2=24>>`. Text that the program did not write (question, trace, steps, answer) is put
between tags, so that a teacher can tell data from instructions:

    <question>
    Joy can read 8 pages of a book in 20 minutes. ...
    </question>

What the paper's prompts (Appendix C) say is said in this project's own words. Files in the folder `teacher.prompts_dir`
replace prompts of the same name. The paper's own prompts can be put there as they are, with `<<thinking>>` where the
material belongs, which in a pruning prompt stands for the numbered steps (`<<steps>>`).
"""

import difflib
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from drp.errors import ConfigError

PLACEHOLDERS: dict[str, frozenset[str]] = {
    "decompose_skill_text": frozenset({"question", "thinking"}),
    "decompose_default_text": frozenset({"question", "thinking"}),
    "decompose_skill_spans": frozenset({"question", "clauses"}),
    "decompose_default_spans": frozenset({"question", "clauses"}),
    "decompose_part": frozenset({"before"}),
    "prune_text": frozenset({"question", "steps", "summary"}),
    "prune_spans": frozenset({"question", "steps", "summary"}),
    "prune_part": frozenset({"first", "last", "total", "before"}),
    "prune_last_part": frozenset({"first", "last", "total", "before"}),
    "judge": frozenset({"version_a", "version_b"}),
    "reask": frozenset({"problems"}),
}
"""Every prompt with its placeholders. Its file may hold these and no others."""

_NEEDED = frozenset({"thinking", "clauses", "steps", "problems", "version_a", "version_b"})
"""Placeholders without which a task cannot be done. The others may be left out, as in the paper's prompts: without
`summary`, for example, a teacher cannot revise the answer segment, and the student's own stays."""

_UNTAGGED = frozenset({"first", "last", "total", "problems"})
"""Placeholders for the program's own words; the values of all others are put between tags."""

_PLACEHOLDER = re.compile(r"<<([A-Za-z_]\w*)>>")
_FOLDER = Path(__file__).parent


class Prompts:
    """A full set of checked templates."""

    def __init__(self, templates: dict[str, str]) -> None:
        self._templates = templates

    @classmethod
    def load(cls, folder: Path | None = None) -> "Prompts":
        """The project's prompts, some of them replaced by those in `folder` (`teacher.prompts_dir`).

        Raises ConfigError, naming the file, if a prompt cannot be read or a placeholder is unknown or missing.
        """
        paths = {name: _FOLDER / f"{name}.txt" for name in PLACEHOLDERS} | _find_replacements(folder)
        return cls({name: _read_template(name, path) for name, path in paths.items()})

    def hashes(self, names: Iterable[str]) -> dict[str, str]:
        """SHA-256 of each named template, for a stage's fingerprint."""
        return {name: hashlib.sha256(self._templates[name].encode()).hexdigest() for name in names}

    def render(self, name: str, **values: str) -> str:
        """The template with every placeholder filled."""
        if set(values) != PLACEHOLDERS[name]:
            raise ValueError(f"prompt {name} takes {sorted(PLACEHOLDERS[name])}, got {sorted(values)}")
        shown = {key: value if key in _UNTAGGED else _enclose(key, value) for key, value in values.items()}
        return _PLACEHOLDER.sub(lambda match: shown[match[1]], self._templates[name])


def _find_replacements(folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    if not folder.is_dir():
        raise ConfigError(f"teacher.prompts_dir: {folder} is not a folder; give one with .txt prompts, or leave it out")
    replacements = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    for name, path in replacements.items():
        if name not in PLACEHOLDERS:
            close = difflib.get_close_matches(name, PLACEHOLDERS, n=1)
            hint = f"did you mean {close[0]}.txt?" if close else f"known: {', '.join(sorted(PLACEHOLDERS))}"
            raise ConfigError(f"{path}: no prompt is called {name!r}; {hint}")
    return replacements


def _read_template(name: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the prompt ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the prompt is not UTF-8 text ({error.reason})") from None
    wanted = PLACEHOLDERS[name]
    if "steps" in wanted:
        text = text.replace("<<thinking>>", "<<steps>>")
    found = set(_PLACEHOLDER.findall(text))
    allowed = "allowed: " + ", ".join(f"<<{each}>>" for each in sorted(wanted))
    allowed += "; needed: " + (", ".join(f"<<{each}>>" for each in sorted(wanted & _NEEDED)) or "none")
    for unknown in sorted(found - wanted):
        raise ConfigError(f"{path}: unknown placeholder <<{unknown}>>; {allowed}")
    for missing in sorted((wanted & _NEEDED) - found):
        raise ConfigError(f"{path}: the placeholder <<{missing}>> is missing; {allowed}")
    return text.strip()


def _enclose(tag: str, value: str) -> str:
    """The value between tags. If it holds the closing tag itself, the tag is extended by a hash of the value, so that
    the same value always makes the same prompt."""
    if f"</{tag}" in value.lower():
        tag = f"{tag}-{hashlib.sha256(value.encode('utf-8', 'replace')).hexdigest()[:12]}"
    return f"<{tag}>\n{value}\n</{tag}>"
