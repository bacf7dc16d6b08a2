"""The student, what it is sampled with, and the problems it is asked."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from drp.settings.section import OPERATIONAL, PositiveInt, Section


class StudentSettings(Section):
    """The reasoning model that is made to think shorter."""

    model: str
    """A local folder, or a name on the hub such as deepseek-ai/DeepSeek-R1-Distill-Qwen-7B."""
    revision: str | None = None
    """Branch, tag or commit on the hub; None: its default branch."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for models that you trust."""


class EngineSettings(Section):
    """What the student is sampled with, in `generate` and in `eval`."""

    backend: Annotated[Literal["auto", "vllm", "transformers", "server"], OPERATIONAL] = "auto"
    """`auto`: vLLM where it is installed, else transformers. `server`: any OpenAI-compatible completions server."""
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], OPERATIONAL] = "auto"
    """`auto`: the model's own."""
    max_model_len: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Prompt and response together, in tokens; None: the model's own limit."""
    max_num_seqs: Annotated[PositiveInt, OPERATIONAL] = 256
    """Responses in flight at once."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1), OPERATIONAL] = 0.9
    """Share of the GPU's memory that vLLM may take."""
    cpu_kvcache_gib: Annotated[PositiveInt, OPERATIONAL] = 1
    """Key-value cache of vLLM on a CPU, in GiB."""
    tensor_parallel_size: Annotated[PositiveInt, OPERATIONAL] = 1
    """GPUs that share each layer."""
    pipeline_parallel_size: Annotated[PositiveInt, OPERATIONAL] = 1
    """Groups of GPUs that share the layers out; across nodes vLLM uses Ray."""
    enforce_eager: Annotated[bool, OPERATIONAL] = False
    """Skip CUDA graphs and compilation: starts faster, runs slower."""
    batch_size: Annotated[PositiveInt, OPERATIONAL] = 16
    """Responses at once with the transformers backend."""
    base_url: Annotated[str | None, OPERATIONAL] = None
    """`server` only: for example http://127.0.0.1:8000/v1."""
    api_key_env: Annotated[str, OPERATIONAL] = "OPENAI_API_KEY"
    """`server` only: the environment variable that holds the key; a local server needs none."""

    @model_validator(mode="after")
    def _server_has_address(self) -> "EngineSettings":
        if self.backend == "server" and not self.base_url:
            raise ValueError("engine.backend is `server`: set engine.base_url")
        return self


class SamplingSettings(Section):
    """How responses are drawn."""

    n: PositiveInt = 1
    """Responses a problem."""
    temperature: float = Field(default=0.6, ge=0)
    """0 is greedy. R1 models want 0.5 to 0.7 and loop more often when greedy."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_new_tokens: PositiveInt = 16384
    """Limit of the response, in tokens; what reaches it ends with finish_reason `length`."""


class Columns(Section):
    """The names that a data set gives its fields."""

    question: str = "question"
    answer: str = "answer"
    """Gold answer; a worked solution is accepted where the answer is after `####` or in the last `\\boxed{}`."""
    id: str | None = None
    """None: `{name}-{position}`."""


class SourceSettings(Section):
    """Where problems come from: a known name, local files, or any data set of the hub.

    Known names: gsm8k-train, gsm8k, prm12k, math500, aime24, amc23. With `path`, the rows are read from there instead.
    """

    name: str
    """A known name, or any name of your own with `path` or `dataset`. Stands in ids and tables."""
    path: Path | None = None
    """Local .jsonl, .json or .parquet."""
    dataset: str | None = None
    """A data set on the hub, such as openai/gsm8k."""
    config: str | None = None
    """The hub data set's configuration."""
    split: str | None = None
    """None: `train` for files, the known split for known names."""
    columns: Columns | None = None
    """None: the known columns of a known name, else `question` and `answer`."""
    limit: PositiveInt | None = None
    """Take so many problems only, the first ones."""
    shuffle: bool = False
    """Shuffle with the run's seed before `limit`; without one, all problems are held in memory for it."""


class GenerateSettings(Section):
    """Stage generate."""

    problems: list[SourceSettings] = Field(default_factory=list)
    sampling: SamplingSettings = SamplingSettings()
