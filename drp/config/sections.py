"""A whole run: every section of the YAML."""

import re
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, model_validator

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


class LoraSettings(Section):
    """The adapter. Defaults are those of LLaMA-Factory, which the paper trained with."""

    rank: PositiveInt = 8
    alpha: PositiveInt = 16
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the modules that are adapted; `all-linear`: every linear layer but the head."""


class TrainSettings(Section):
    """Stage train; the defaults are the paper's (Appendix B)."""

    method: Literal["lora", "full", "qlora"] = "lora"
    """`lora`: an adapter on the frozen student. `full`: every weight, kept in float32 while it trains; no `adapter/`.
    `qlora`: an adapter on the student in 4 bits (NF4); `merged/` still has the student's own weights under it."""
    epochs: float = Field(default=3, gt=0)
    batch_size: PositiveInt = 2
    """Examples in a micro-batch: what one device holds at once."""
    gradient_accumulation: PositiveInt = 4
    """Micro-batches in an optimizer step, over all processes: a step always takes `batch_size` x
    `gradient_accumulation` examples, so that the loss curve does not depend on the number of processes."""
    num_processes: Annotated[PositiveInt, OPERATIONAL] = 1
    """Processes on this machine, each with a GPU of its own (or a share of the cores). They divide the micro-batches of
    a step among them, so `gradient_accumulation` has to be a multiple of it; a stopped run may go on with another
    number. Over several machines, start `drp train` on each with your own launcher, such as `torchrun --nnodes 2
    --nproc-per-node 8 --rdzv-endpoint HOST:PORT -m drp train CONFIG` or `accelerate launch`, with the run directory on
    a disk that all of them see; its processes then count, not this key."""
    strategy: Annotated[Literal["ddp", "fsdp"], OPERATIONAL] = "ddp"
    """With several processes. `ddp`: each holds the whole model. `fsdp`: weights, gradients and optimizer state are cut
    into a part for each (PyTorch's FSDP2), for a model that one GPU cannot hold. The loss curve is the same."""
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
    keep: Literal["best", "last"] = "best"
    """Which weights `adapter/` and `merged/` are made of: those of the lowest validation loss, or those of the last
    step. `best` costs a checkpoint where it falls and guards against overfitting; without a validation split, or with
    `eval_steps` longer than the training, it is the last step."""
    checkpoint_steps: Annotated[PositiveInt, OPERATIONAL] = 100
    """Optimizer steps between two checkpoints; a kill loses what came after the last one."""
    padding_free: bool = True
    """Lay the examples of a batch side by side in one row, where the model's attention allows it; else pad them. The
    loss is the same."""
    gradient_checkpointing: Annotated[bool, OPERATIONAL] = False
    """Recompute activations in the backward pass: less memory, a third slower."""
    liger: Annotated[bool, OPERATIONAL] = False
    """Liger's fused RMSNorm, rotary and gated-MLP kernels on a GPU. Not its fused cross entropy: logits are computed on
    response tokens only already."""
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
    adapter: str | None = None
    """A folder with a LoRA adapter, such as `train/adapter`, put on the model unmerged; its tokenizer is used."""


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
    max_traces: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Traces in the page's viewer at most; None: all, the texts of as many as fit into 32 MB."""
    gpus: Annotated[PositiveInt, OPERATIONAL] = 1
    """GPUs that `generate` and `train` ran on at once: what their hours are multiplied by."""
    gpu_usd_per_hour: Annotated[float, Field(ge=0), OPERATIONAL] = 2.0
    """US dollars for an hour of one GPU; the default is about what a rented A100 costs."""
    token_usd_per_million: Annotated[tuple[PositiveFloat, ...], Field(min_length=1), OPERATIONAL] = (0.2, 0.6, 2.0)
    """US dollars a million generated tokens are worth where the student is used. The break-even has a column for each;
    the defaults go from small to large models."""


class EstimateSettings(Section):
    """`drp estimate`."""

    sampling_tokens_per_second: Annotated[PositiveFloat | None, OPERATIONAL] = None
    """Generated tokens a second, all GPUs together; None: as this run directory's own generate or eval went."""
    training_tokens_per_second: Annotated[PositiveFloat | None, OPERATIONAL] = None
    """Tokens trained on a second, all GPUs together, prompts included; None: as this run directory's own train went."""
    tokens_per_response: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Length of a response that is not sampled yet; None: the mean of those that are, else the paper's."""
    reask_share: Annotated[float, Field(ge=0), OPERATIONAL] = 0.1
    """Calls to allow for replies that fail a check and are asked for again, a share of all calls."""


class JudgingTeacherSettings(TeacherSettings):
    """Who judges."""

    place: ClassVar[str] = "judge.teacher"


class JudgeSettings(Section):
    """`drp judge` (paper, Appendix D)."""

    teacher: JudgingTeacherSettings | None = None
    """The model that judges, with the keys of `teacher`; None: the run's own teacher. The paper took another model than
    the one that had decomposed, and so should whoever wants an independent verdict."""
    pairs: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Judge so many pairs only, drawn with the run's seed (the paper: 50); None: all that both sides have."""


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
    judge: JudgeSettings = JudgeSettings()
    report: ReportSettings = ReportSettings()
    estimate: EstimateSettings = EstimateSettings()


# FOLDED DOC of settings.section:
# A section of the YAML: a strict, frozen model that knows which of its keys decide the output.

# FOLDED DOC of settings.student:
# The student, what it is sampled with, and the problems it is asked.

# FOLDED DOC of settings.teacher:
# The teacher: who decomposes and prunes, at what price, within which limits.

# FOLDED DOC of settings.training:
# How the student is trained.

# FOLDED DOC of settings.evaluation:
# What is evaluated, how answers are graded, and the report.

# FOLDED DOC of settings.estimate:
# What `drp estimate` cannot know: how fast the machine is, how long responses are, how often a reply is refused.

# FOLDED DOC of settings.judge:
# Who compares two decompositions of the same traces, and how many of them.
