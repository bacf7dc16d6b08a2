"""The teacher: who decomposes and prunes, at what price, within which limits."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from drp.settings.section import OPERATIONAL, PositiveInt, Section


class Prices(Section):
    """US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class TeacherSettings(Section):
    """Who decomposes and prunes."""

    provider: Literal["rules", "openai", "gemini"] = "rules"
    """`rules`: offline and deterministic. `openai`: OpenAI, or any compatible server through `base_url`."""
    model: str | None = None
    """The model's id at the provider; needed by all but `rules`."""
    base_url: str | None = None
    """Another server's address, for example http://127.0.0.1:8000/v1."""
    api_key_env: Annotated[str | None, OPERATIONAL] = None
    """The environment variable that holds the key; None: OPENAI_API_KEY or GEMINI_API_KEY."""
    format: Literal["text", "spans"] = "text"
    """How the teacher answers: `text` copies each step (the paper's), `spans` names ranges of numbered clauses."""
    prompts_dir: Path | None = None
    """A folder whose .txt files replace the project's prompts of the same name."""
    temperature: float = Field(default=0.0, ge=0)
    max_output_tokens: PositiveInt = 4096
    """Limit of one reply, in tokens; longer traces are split to fit."""
    max_reasks: int = Field(default=2, ge=0)
    """How often a reply that fails a check goes back with what was wrong."""
    max_cost_usd: Annotated[float | None, OPERATIONAL] = None
    """Stop before more than this is spent in a run directory; None: no limit."""
    prices: Annotated[Prices | None, OPERATIONAL] = None
    """US dollars per million tokens, where the price list does not know the model."""
    concurrency: Annotated[PositiveInt, OPERATIONAL] = 64
    """Calls in flight at once."""
    requests_per_minute: Annotated[PositiveInt | None, OPERATIONAL] = None
    tokens_per_minute: Annotated[PositiveInt | None, OPERATIONAL] = None
    timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 300.0
    """Limit of one call, in seconds."""
    max_retries: Annotated[int, Field(ge=0), OPERATIONAL] = 6
    """Further tries after a rate limit, a server error or a broken connection."""

    @model_validator(mode="after")
    def _model_is_named(self) -> "TeacherSettings":
        if self.provider != "rules" and not self.model:
            raise ValueError(f"teacher.provider is `{self.provider}`: set teacher.model")
        return self


class DecomposeSettings(Section):
    """Stage decompose."""

    method: Literal["skill", "default", "sentence"] = "skill"
    """`skill`: one atomic skill a step (DRP). `default`: steps without skills (the paper's ablation). `sentence`."""
    only_correct: bool = True
    """Leave out traces whose own answer is wrong or could not be graded, before a teacher is paid for them."""
