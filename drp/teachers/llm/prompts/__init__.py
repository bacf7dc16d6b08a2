"""The teacher's prompts: one text file each, and the loader that demands exactly the placeholders it knows.

A placeholder is `<<name>>`. What takes its place is never looked at again, so a trace may hold braces, dollar signs,
LaTeX or `<<48/2=24>>`. Text that somebody else wrote (question, trace, steps, answer) is put between tags, so that a
teacher can tell data from instructions:

    <question>
    Joy can read 8 pages of a book in 20 minutes. ...
    </question>

Prompts that the paper has (Appendix C) say what it says, in this project's own words. A folder given as
`teacher.prompts_dir` replaces any of them, file by file.
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
"""Every prompt, with the placeholders that its file must hold: each of them, and no other."""

PLAIN = frozenset({"first", "last", "total", "problems"})
"""Placeholders that this program fills with words of its own; all others are put between tags."""

_PLACEHOLDER = re.compile(r"<<([A-Za-z_]\w*)>>")
_FOLDER = Path(__file__).parent


class Prompts:
    """A full set of checked templates."""

    def __init__(self, templates: dict[str, str]) -> None:
        self._templates = templates

    @classmethod
    def load(cls, folder: Path | None = None) -> "Prompts":
        """The project's prompts, with those of `folder` (`teacher.prompts_dir`) in their place.

        Raises ConfigError naming the file and the placeholder where one is unknown or missing.
        """
        paths = {name: _FOLDER / f"{name}.txt" for name in PLACEHOLDERS} | _find_replacements(folder)
        return cls({name: _read_template(name, path) for name, path in paths.items()})

    def hashes(self, names: Iterable[str]) -> dict[str, str]:
        """SHA-256 of each named template, for a stage's fingerprint."""
        return {name: hashlib.sha256(self._templates[name].encode()).hexdigest() for name in names}

    def render(self, name: str, **values: str) -> str:
        """The template with every placeholder filled. Values are inserted as they are, in one pass."""
        if set(values) != PLACEHOLDERS[name]:
            raise ValueError(f"prompt {name} takes {sorted(PLACEHOLDERS[name])}, got {sorted(values)}")
        return _PLACEHOLDER.sub(lambda match: _present(match[1], values[match[1]]), self._templates[name])


def _present(placeholder: str, value: str) -> str:
    return value if placeholder in PLAIN else _enclose(placeholder, value)


def _enclose(tag: str, value: str) -> str:
    """The value between tags that it cannot close itself. The longer tag depends on the value alone: equal requests
    stay equal, whenever they are made."""
    if f"</{tag}" in value.lower():
        tag = f"{tag}-{hashlib.sha256(value.encode('utf-8', 'replace')).hexdigest()[:12]}"
    return f"<{tag}>\n{value}\n</{tag}>"


def _find_replacements(folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    if not folder.is_dir():
        raise ConfigError(f"teacher.prompts_dir: {folder} is not a folder; give one with .txt prompts, or leave it out")
    replacements = {path.stem: path for path in sorted(folder.glob("*.txt"))}
    for name, path in replacements.items():
        if name not in PLACEHOLDERS:
            raise ConfigError(f"{path}: no prompt is called {name!r}; {_suggest(name, PLACEHOLDERS)}")
    return replacements


def _read_template(name: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the prompt ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: the prompt is not UTF-8 text ({error.reason})") from None
    wanted, found = PLACEHOLDERS[name], set(_PLACEHOLDER.findall(text))
    allowed = "allowed and needed: " + ", ".join(f"<<{each}>>" for each in sorted(wanted))
    for unknown in sorted(found - wanted):
        raise ConfigError(f"{path}: unknown placeholder <<{unknown}>>; {allowed}")
    for missing in sorted(wanted - found):
        raise ConfigError(f"{path}: the placeholder <<{missing}>> is missing; {allowed}")
    return text.strip()


def _suggest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}.txt?" if close else f"known: {', '.join(sorted(known))}"
