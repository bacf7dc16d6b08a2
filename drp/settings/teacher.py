"""The teacher: who decomposes and prunes, at what price, within which limits."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from drp.settings.section import OPERATIONAL, PositiveInt, Section


class Prices(Section):
    """US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class BatchSettings(Section):
    """OpenAI's Batch API: half the price, an answer within a day."""

    poll_s: Annotated[float, Field(gt=0), OPERATIONAL] = 60.0
    """Seconds between two looks at the batches that are under way."""
    quiet_s: Annotated[float, Field(gt=0), OPERATIONAL] = 15.0
    """A file is sent once no new request has come for so many seconds, or it is full."""
    in_flight: Annotated[PositiveInt, OPERATIONAL] = 10_000
    """Records worked on at once, in place of `teacher.concurrency`. Each takes some 60 kB of memory where its trace has
    1,000 tokens: 0.6 GB in all."""
    max_requests: Annotated[int, Field(gt=0, le=50_000), OPERATIONAL] = 50_000
    """Requests in one file; the provider's limit is 50,000."""
    max_bytes: Annotated[int, Field(gt=0, le=200_000_000), OPERATIONAL] = 200_000_000
    """Size of one file; the provider's limit is 200 MB."""
    window: Annotated[Literal["24h"], OPERATIONAL] = "24h"
    """Time that the provider has; what it did not do by then is asked again."""
    discount: Annotated[float, Field(ge=0, le=1), OPERATIONAL] = 0.5
    """Share of the usual price that a batch saves."""


class TeacherSettings(Section):
    """Who decomposes and prunes."""

    place: ClassVar[str] = "teacher"
    """Where these keys stand in the YAML, for messages."""

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
    max_reasks: Annotated[int, Field(ge=0), OPERATIONAL] = 2
    """How often a reply that fails a check goes back with what was wrong. With more of them, a rerun has another try at
    the records that failed."""
    max_cost_usd: Annotated[float | None, OPERATIONAL] = None
    """Stop before more than this is spent in a run directory; None: no limit."""
    prices: Annotated[Prices | None, OPERATIONAL] = None
    """US dollars per million tokens, where the price list does not know the model."""
    mode: Annotated[Literal["direct", "batch"], OPERATIONAL] = "direct"
    """`direct`: a call a request, answered at once. `batch`: files of requests through OpenAI's Batch API."""
    batch: Annotated[BatchSettings, OPERATIONAL] = BatchSettings()
    concurrency: Annotated[PositiveInt, OPERATIONAL] = 64
    """Calls in flight at once, in mode `direct`."""
    requests_per_minute: Annotated[PositiveInt | None, OPERATIONAL] = None
    tokens_per_minute: Annotated[PositiveInt | None, OPERATIONAL] = None
    timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 300.0
    """Limit of one call, in seconds."""
    max_retries: Annotated[int, Field(ge=0), OPERATIONAL] = 6
    """Further tries after a rate limit, a server error or a broken connection."""

    @model_validator(mode="after")
    def _model_is_named(self) -> "TeacherSettings":
        if self.provider != "rules" and not self.model:
            raise ValueError(f"{self.place}.provider is `{self.provider}`: set {self.place}.model")
        return self

    @model_validator(mode="after")
    def _batches_are_openais(self) -> "TeacherSettings":
        if self.mode == "batch" and self.provider != "openai":
            raise ValueError(f"{self.place}.mode `batch` needs {self.place}.provider `openai`, got `{self.provider}`")
        return self

    @property
    def n_in_flight(self) -> int:
        """Records to work on at once: more than there may be calls, so that none is missing while replies are read."""
        return self.batch.in_flight if self.mode == "batch" else 2 * self.concurrency


class DecomposeSettings(Section):
    """Stage decompose."""

    method: Literal["skill", "default", "sentence"] = "skill"
    """`skill`: one atomic skill a step (DRP). `default`: steps without skills (the paper's ablation). `sentence`."""
    only_correct: bool = True
    """Leave out traces whose own answer is wrong or could not be graded, before a teacher is paid for them."""
