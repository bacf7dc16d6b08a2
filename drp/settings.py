"""Every key of the YAML, its meaning, unit, range and default.

A key marked `Operational` says how a stage runs, not what comes out: it may change between a run and its resumption.
All others are part of the stage's fingerprint.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

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
    return str(value) if isinstance(value, Path) else value


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
    prices: Annotated["Prices | None", OPERATIONAL] = None
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


class Prices(Section):
    """US dollars per million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)


class DecomposeSettings(Section):
    """Stage decompose."""

    method: Literal["skill", "default", "sentence"] = "skill"
    """`skill`: one atomic skill a step (DRP). `default`: steps without skills (the paper's ablation). `sentence`."""
    only_correct: bool = True
    """Leave out traces whose own answer is wrong or could not be graded, before a teacher is paid for them."""


class LoraSettings(Section):
    """The adapter. Defaults are those of LLaMA-Factory, which the paper trained with."""

    rank: PositiveInt = 8
    alpha: PositiveInt = 16
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the modules that are adapted; `all-linear`: every linear layer but the head."""


class TrainSettings(Section):
    """Stage train; the defaults are the paper's (Appendix B)."""

    epochs: float = Field(default=3, gt=0)
    batch_size: PositiveInt = 2
    """Examples a device and step."""
    gradient_accumulation: PositiveInt = 4
    learning_rate: float = Field(default=3e-5, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """`auto`: bf16 on a GPU that has it, else fp32."""
    cutoff_tokens: PositiveInt = 4096
    """Prompt and response together; longer examples are dropped and counted, never cut."""
    max_samples: PositiveInt | None = 8000
    """Take at most so many examples, drawn with the run's seed; None: all."""
    validation_split: float = Field(default=0.05, ge=0, lt=1)
    """Share of the examples kept for the validation loss."""
    eval_steps: PositiveInt = 300
    """Optimizer steps between two validation losses."""
    checkpoint_steps: Annotated[PositiveInt, OPERATIONAL] = 100
    """Optimizer steps between two checkpoints; a kill loses what came after the last one."""
    padding_free: bool = True
    """Lay the examples of a batch side by side in one row, where the model's attention allows it; else pad them. The
    loss is the same."""
    gradient_checkpointing: Annotated[bool, OPERATIONAL] = False
    """Recompute activations in the backward pass: less memory, a third slower."""
    only_correct: bool = True
    """Train only on traces whose own answer was right."""
    response: Literal["pruned", "original"] = "pruned"
    """`original`: the student's own unpruned responses, as a control."""
    lora: LoraSettings = LoraSettings()


class EvalModel(Section):
    """A model to evaluate beside, or in place of, the base and the trained one."""

    model: str
    """A local folder or a name on the hub."""
    revision: str | None = None


class EvalSettings(Section):
    """Stage eval."""

    benchmarks: list[SourceSettings] = Field(default_factory=list)
    models: Annotated[dict[str, EvalModel] | None, OPERATIONAL] = None
    """None: `base`, the student, and `drp`, what `train` made of it."""
    sampling: SamplingSettings = SamplingSettings()
    cutoff_tokens: Annotated[PositiveInt, OPERATIONAL] = 12000
    """Cutoff of the `cap` and `exclude` policies, in response tokens (paper, section 4.6)."""


class GradingSettings(Section):
    """How answers are graded, wherever they are."""

    workers: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Worker processes; None: one a core, 8 at most."""
    timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 10.0
    """Limit for one answer, in seconds of CPU time; what takes longer could not be graded."""
    memory_mib: Annotated[PositiveInt, OPERATIONAL] = 2048
    """What one worker may take, in MiB, on top of what it starts with."""


class ReportSettings(Section):
    """Stage report."""

    title: Annotated[str | None, OPERATIONAL] = None
    """None: the run directory's name."""


class Config(Section):
    """A whole run."""

    run_dir: Annotated[Path, OPERATIONAL]
    """Where every artifact goes."""
    seed: int = 0
    max_failures: Annotated[float, Field(ge=0), OPERATIONAL] = 0.02
    """A stage with more failed records than this ends with exit status 1. Under 1 a share of the records, else a
    number of them."""
    student: StudentSettings
    engine: EngineSettings = EngineSettings()
    generate: GenerateSettings = GenerateSettings()
    teacher: TeacherSettings = TeacherSettings()
    decompose: DecomposeSettings = DecomposeSettings()
    train: TrainSettings = TrainSettings()
    eval: EvalSettings = EvalSettings()
    grading: GradingSettings = GradingSettings()
    report: ReportSettings = ReportSettings()
