"""A section of the YAML: a strict, frozen model that knows which of its keys decide the output."""

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

OPERATIONAL = "operational"

PositiveInt = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())

    def identity(self) -> dict[str, Any]:
        """The section as plain data, without its operational keys: what a fingerprint is made of."""
        result: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if OPERATIONAL not in field.metadata:
                result[name] = _plain(getattr(self, name))
        return result


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.identity()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return hide_credentials(value)
    return str(value) if isinstance(value, Path) else value


def hide_credentials(text: str) -> str:
    """An address without the user, password or key in it: http://me:secret@host/v1 becomes http://***@host/v1."""
    if "://" not in text:
        return text
    text = re.sub(r"(\w://)[^/\s]*@", r"\1***@", text)
    return re.sub(r"(?i)([?&][^=&\s]*(?:key|token|secret|password)[^=&\s]*=)[^&\s]+", r"\1***", text)
