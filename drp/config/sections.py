"""Every key of the YAML: its meaning, unit, range and default.

The sections follow in the order of a configuration file; `Config`, the last, is the whole file. Only `run_dir` and
`student.model` have no default.

A key marked `OPERATIONAL` says how a stage runs, not what comes out, so a stage may be resumed with another value. The
other keys of a stage make up the fingerprint that is stored with its artifact; a run with another value is refused.
"""

import warnings
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, model_validator

from drp.credentials import hide_credentials
from drp.errors import ConfigError

# `decompose.copy` hides a deprecated method of pydantic's.
warnings.filterwarnings("ignore", 'Field name "copy" in "DecomposeSettings" shadows')

OPERATIONAL = "operational"

PositiveInt = Annotated[int, Field(gt=0)]
NonEmpty = Annotated[str, Field(min_length=1)]


def _check_prompt(text: str) -> str:
    if text.count("{question}") != 1:
        raise ValueError("expected {question} once, where the question goes")
    return text


PromptTemplate = Annotated[str, AfterValidator(_check_prompt)]
"""A text with `{question}` once; other braces stand for themselves."""
PROMPT_KEYS = ("prompt", "system", "chat", "template_kwargs", "thinking_tags")
"""The keys of `student` that decide how it is prompted and how its responses are read."""

Copy = Literal["exact", "aligned"]
"""How faithful a copied step has to be, see `DecomposeSettings.copy`."""
MIN_COVERAGE = 0.6
"""Default of `DecomposeSettings.min_coverage`."""


class Section(BaseModel):
    """A section of the YAML. Unknown keys are errors; values cannot be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, protected_namespaces=())

    def identity(self) -> dict[str, Any]:
        """The section as plain data without its operational keys and without credentials, for fingerprints."""
        result: dict[str, Any] = {}
        for name, field in type(self).model_fields.items():
            if OPERATIONAL not in field.metadata:
                result[name] = _plain(getattr(self, name))
        return result


class StudentSettings(Section):
    """The reasoning model that is trained to think shorter."""

    model: str
    """A local folder, or a name on the hub such as deepseek-ai/DeepSeek-R1-Distill-Qwen-7B."""
    revision: str | None = None
    """Branch, tag or commit on the hub; None: the default branch."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Set it only for models that you trust."""
    prompt: PromptTemplate = "{question}"
    """The user's message, with `{question}` where the question goes. R1's authors advise to end it with "Please reason
    step by step, and put your final answer within \\boxed{}." """
    system: str | None = None
    """The system message; None: none is given, though some chat templates then write their own."""
    chat: bool = True
    """Whether the prompt is written by the model's chat template. False: `prompt` is the whole text that the model
    continues, as for a model without a chat template."""
    template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Switches of the chat template, such as {enable_thinking: true} or {reasoning_effort: high}."""
    thinking_tags: tuple[NonEmpty, NonEmpty] | None = None
    """The texts with which the model opens and closes its thinking; None: found from its chat template or vocabulary.
    Records have `<think>` and `</think>` for all models."""

    def identity(self) -> dict[str, Any]:
        """See Section. Prompt keys at their defaults are left out, because earlier versions had no such keys."""
        own, changed = super().identity(), self.changed_prompt()
        return {key: value for key, value in own.items() if key not in PROMPT_KEYS or key in changed}

    def changed_prompt(self) -> dict[str, Any]:
        """The prompt keys that are not at their defaults, as plain data, for fingerprints."""
        fields = type(self).model_fields
        changed = {
            key: _plain(getattr(self, key))
            for key in PROMPT_KEYS
            if getattr(self, key) != fields[key].get_default(call_default_factory=True)
        }
        if changed.get("thinking_tags") == ["<think>", "</think>"]:
            del changed["thinking_tags"]  # the tags that earlier versions expected of every model
        return changed


class EngineSettings(Section):
    """The engine that the student is sampled with, in `generate` and in `eval`."""

    backend: Annotated[Literal["auto", "vllm", "transformers", "server"], OPERATIONAL] = "auto"
    """`auto`: vLLM if it is installed, else transformers. `server`: any OpenAI-compatible completions server."""
    dtype: Annotated[Literal["auto", "float32", "bfloat16", "float16"], OPERATIONAL] = "auto"
    """Data type of the weights; `auto`: the type in which the model is stored."""
    max_model_len: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Limit of prompt and response together, in tokens; None: the model's own limit."""
    max_num_seqs: Annotated[PositiveInt, OPERATIONAL] = 256
    """Responses in flight at once, with vLLM and with a server. vLLM gets fewer if its key-value cache cannot hold so
    many."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1), OPERATIONAL] = 0.9
    """Share of the GPU's memory that vLLM may use."""
    cpu_kvcache_gib: Annotated[PositiveInt, OPERATIONAL] = 1
    """Size of vLLM's key-value cache on a CPU, in GiB."""
    tensor_parallel_size: Annotated[PositiveInt, OPERATIONAL] = 1
    """Number of GPUs over which vLLM splits each layer."""
    pipeline_parallel_size: Annotated[PositiveInt, OPERATIONAL] = 1
    """Number of GPU groups over which vLLM distributes the layers; across nodes vLLM uses Ray."""
    data_parallel_size: Annotated[PositiveInt, OPERATIONAL] = 1
    """Number of engines, each a copy of the model in a process of its own on `tensor_parallel_size` x
    `pipeline_parallel_size` GPUs. They take their requests from one queue. Not with a server."""
    enforce_eager: Annotated[bool, OPERATIONAL] = False
    """Skip vLLM's CUDA graphs and compilation: starts faster, runs slower."""
    batch_size: Annotated[PositiveInt, OPERATIONAL] = 16
    """Responses in a batch, with transformers."""
    base_url: Annotated[str | None, OPERATIONAL] = None
    """Address of the server, for example http://127.0.0.1:8000/v1; required by the backend `server`, else ignored."""
    api_key_env: Annotated[str, OPERATIONAL] = "OPENAI_API_KEY"
    """Environment variable with the server's key. It may be unset for a local server that needs none."""

    @model_validator(mode="after")
    def _server_has_address(self) -> "EngineSettings":
        if self.backend == "server" and not self.base_url:
            raise ValueError("engine.backend is `server`: set engine.base_url")
        return self


class SamplingSettings(Section):
    """How responses are sampled."""

    n: PositiveInt = 1
    """Responses per problem."""
    temperature: float = Field(default=0.6, ge=0)
    """0 is greedy decoding. 0.5 to 0.7 is recommended for R1 models, which loop more often when decoded greedily."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Sample from the most probable tokens that together have this probability; 1: from all tokens."""
    max_new_tokens: PositiveInt = 16384
    """Limit of a response, in tokens. A response that reaches it has the finish_reason `length`."""


class Columns(Section):
    """Column names of a data set."""

    question: str = "question"
    """Column of the question."""
    answer: str = "answer"
    """Column of the gold answer. It may be a worked solution with the answer after `####` or in a last `\\boxed{}`."""
    id: str | None = None
    """Column of the problem's id; None: ids are `{name}-{position}`."""


class SourceSettings(Section):
    """Where problems come from: a known benchmark, a local file, or any data set on the hub.

    Known names: gsm8k-train, gsm8k, prm12k, math500, aime24, amc23. With `path`, their rows are read from there.
    """

    name: str
    """A known name, or with `path` or `dataset` a name of your own. It is used in ids and tables."""
    path: Path | None = None
    """A local .jsonl, .jsonl.gz, .json, .csv, .tsv or .parquet file, or a local copy of a hub repository."""
    dataset: str | None = None
    """A data set on the hub, such as openai/gsm8k."""
    config: str | None = None
    """Configuration (subset) of the hub data set; None: the known one of a known name, else the default."""
    split: str | None = None
    """Split; None: the known one of a known name, else `train`."""
    columns: Columns | None = None
    """None: the known columns of a known name, else `question` and `answer`."""
    limit: PositiveInt | None = None
    """Take only so many problems, from the start; None: all."""
    shuffle: bool = False
    """Shuffle with the run's seed before `limit` is applied. Without `limit` all problems are held in memory."""


class GenerateSettings(Section):
    """Stage generate: which problems the student answers, and how responses are sampled."""

    problems: list[SourceSettings] = Field(default_factory=list)
    """The sources, used one after the other."""
    sampling: SamplingSettings = SamplingSettings()
    """How responses are sampled."""
    seed: int | None = None
    """Seed of the problems, of the traces, and of which traces the teacher works on; None: the run's `seed`. Set it in
    runs that share traces with another run and differ from it in `seed`."""


class Prices(Section):
    """Prices of a teacher, in US dollars per million tokens."""

    input: float = Field(ge=0)
    """US dollars per million input tokens."""
    output: float = Field(ge=0)
    """US dollars per million output tokens."""


class BatchSettings(Section):
    """OpenAI's Batch API: half the price, replies within 24 hours."""

    poll_s: Annotated[float, Field(gt=0), OPERATIONAL] = 60.0
    """Seconds between two polls of the batches under way."""
    quiet_s: Annotated[float, Field(gt=0), OPERATIONAL] = 15.0
    """A file of requests is uploaded when it is full, or when no request has been added for so many seconds."""
    in_flight: Annotated[PositiveInt, OPERATIONAL] = 10_000
    """Records worked on at once, in place of `teacher.concurrency`. A record with a trace of 1,000 tokens takes about
    60 kB of memory, so 10,000 take 0.6 GB."""
    max_requests: Annotated[int, Field(gt=0, le=50_000), OPERATIONAL] = 50_000
    """Requests in one file; the provider's limit is 50,000."""
    max_bytes: Annotated[int, Field(gt=0, le=200_000_000), OPERATIONAL] = 200_000_000
    """Size of one file in bytes; the provider's limit is 200 MB."""
    window: Annotated[Literal["24h"], OPERATIONAL] = "24h"
    """Time within which the provider completes a batch. Requests that have no reply by then are sent again."""
    discount: Annotated[float, Field(ge=0, le=1), OPERATIONAL] = 0.5
    """Share of the usual price that a batch saves."""


class TeacherSettings(Section):
    """The model that decomposes and prunes."""

    place: ClassVar[str] = "teacher"
    """The section's name in the YAML, for error messages."""

    provider: Literal["rules", "openai", "gemini"] = "rules"
    """`rules`: offline and deterministic. `openai`: OpenAI, or any compatible server with `base_url`. `gemini`."""
    model: str | None = None
    """The model's id at the provider; required by `openai` and `gemini`."""
    base_url: str | None = None
    """Address of another server, for example http://127.0.0.1:8000/v1; None: the provider's own. It may have a query,
    and user and password (http://me:secret@host/v1), which are sent, but neither stored nor shown."""
    api_key_env: Annotated[str | None, OPERATIONAL] = None
    """Environment variable with the key; None: OPENAI_API_KEY or GEMINI_API_KEY."""
    format: Literal["text", "spans"] = "text"
    """Form of the replies. `text`: each step is copied, as in the paper. `spans`: ranges of numbered clauses."""
    prompts_dir: Path | None = None
    """A folder whose .txt files replace the built-in prompts of the same names; None: the built-in prompts."""
    temperature: float = Field(default=0.0, ge=0)
    """Sampling temperature of the teacher; 0 is greedy."""
    max_output_tokens: PositiveInt = 4096
    """Limit of one reply, in tokens. A trace whose reply would be longer is split."""
    reply_headroom: Annotated[float | None, Field(ge=1), OPERATIONAL] = 1.5
    """A request allows so many times the expected length of its reply, which providers count against the tokens per
    minute; at most `max_output_tokens`, with which a reply that does not fit is asked for again. None: every request
    allows `max_output_tokens`, as a teacher needs that thinks before it replies."""
    max_reasks: Annotated[int, Field(ge=0), OPERATIONAL] = 2
    """How often a reply that fails a check is sent back with what was wrong. With a larger value, the next run retries
    the records that failed."""
    max_cost_usd: Annotated[float | None, OPERATIONAL] = None
    """Stop before a run directory has cost more than this, in US dollars; None: no limit, so `drp run` shows the
    estimate and asks for `--yes`."""
    prices: Annotated[Prices | None, OPERATIONAL] = None
    """Prices of the model; None: those of the built-in price list."""
    mode: Annotated[Literal["direct", "batch"], OPERATIONAL] = "direct"
    """`direct`: one call per request, answered at once. `batch`: files of requests, through OpenAI's Batch API."""
    batch: Annotated[BatchSettings, OPERATIONAL] = BatchSettings()
    """Settings of the mode `batch`."""
    concurrency: Annotated[PositiveInt, OPERATIONAL] = 64
    """Calls in flight at once, in the mode `direct`."""
    requests_per_minute: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Rate limit in requests per minute; None: no limit."""
    tokens_per_minute: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Rate limit in tokens per minute, counted as the provider does; None: no limit."""
    timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 300.0
    """Time limit of one call, in seconds."""
    max_reply_mib: Annotated[PositiveInt, OPERATIONAL] = 16
    """Size of one reply at most, decompressed, in MiB. A larger one is not read to its end, and fails its record."""
    max_retries: Annotated[int, Field(ge=0), OPERATIONAL] = 6
    """Retries of a call after a rate limit, a server error or a broken connection."""

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
        """Records to work on at once. More than the calls in flight, so that calls go out while replies are parsed."""
        return self.batch.in_flight if self.mode == "batch" else 2 * self.concurrency


class DecomposeSettings(Section):
    """Stage decompose."""

    method: Literal["skill", "default", "sentence"] = "skill"
    """`skill`: steps of one atomic skill each (DRP). `default`: steps without skills (the paper's ablation).
    `sentence`: one step per sentence (the baseline of Appendix D)."""
    only_correct: bool = True
    """Leave out traces whose own answer is wrong or could not be graded, before a teacher is paid for them."""
    copy: Copy = "aligned"  # type: ignore[assignment]
    """How faithfully a teacher of the format `text` has to copy the reasoning. `aligned`: its steps are found in the
    reasoning by their words, in order; small changes and left-out parts are tolerated. `exact`: only white space,
    quotes and dashes may differ. The recorded steps have the student's own words in both."""
    min_coverage: float = Field(default=MIN_COVERAGE, ge=0, le=1)
    """With `copy: aligned`, the share of the reasoning's words that the teacher's steps have to have; a reply with less
    is sent back with what is missing. The example in the paper's Table 6 has 0.78, a summary less than half."""

    def identity(self) -> dict[str, Any]:
        """See Section. The keys `copy` and `min_coverage` are left out at their defaults, as runs of earlier versions,
        which have no such keys, are continued with the defaults."""
        defaults = type(self)()
        added = {key for key in ("copy", "min_coverage") if getattr(self, key) == getattr(defaults, key)}
        return {key: value for key, value in super().identity().items() if key not in added}


class LoraSettings(Section):
    """The LoRA adapter. The defaults are those of LLaMA-Factory, with which the paper trained."""

    rank: PositiveInt = 8
    """Rank of the adapter's matrices."""
    alpha: PositiveInt = 16
    """The adapter's output is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapter's input."""
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the modules that are adapted; `all-linear`: every linear layer except the output head."""


class TrainSettings(Section):
    """Stage train. The defaults are the paper's (Appendix B)."""

    method: Literal["lora", "full", "qlora"] = "lora"
    """`lora`: an adapter on the frozen student. `full`: all weights, kept in float32 during training; no `adapter/`.
    `qlora`: an adapter on the student in 4 bits (NF4); `merged/` is made from the student's original weights."""
    epochs: float = Field(default=3, gt=0)
    """Passes over the training examples."""
    batch_size: PositiveInt = 2
    """Examples in a micro-batch, which is what one device processes at once."""
    gradient_accumulation: PositiveInt = 4
    """Micro-batches in an optimizer step, over all processes. A step always has `batch_size` x `gradient_accumulation`
    examples, so the loss curve does not depend on the number of processes."""
    num_processes: Annotated[PositiveInt, OPERATIONAL] = 1
    """Processes on this machine, each with its own GPU (or a share of the cores). They divide the micro-batches of a
    step among them, so `gradient_accumulation` must be a multiple of it. A stopped run may be resumed with another
    number. For several machines, start `drp train` on each with your own launcher, such as `torchrun --nnodes 2
    --nproc-per-node 8 --rdzv-endpoint HOST:PORT -m drp train CONFIG` or `accelerate launch`, with the run directory on
    a shared disk; the number of processes is then the launcher's, and this key is ignored."""
    strategy: Annotated[Literal["ddp", "fsdp"], OPERATIONAL] = "ddp"
    """For several processes. `ddp`: each holds the whole model. `fsdp`: weights, gradients and optimizer state are
    sharded over them (PyTorch's FSDP2), for a model that one GPU cannot hold. The loss curve is the same."""
    learning_rate: float = Field(default=3e-5, gt=0)
    """Peak learning rate, reached at the end of the warm-up."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate after the warm-up: falls to 0 along a cosine or a line, or stays."""
    warmup_ratio: float = Field(default=0.1, ge=0, lt=1)
    """Share of the steps over which the learning rate rises from 0."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are clipped to this norm."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Precision of the computation; `auto`: bf16 on a GPU that supports it, else fp32."""
    cutoff_tokens: PositiveInt = 4096
    """Limit of prompt and response together, in tokens. Longer examples are dropped and counted, never truncated."""
    max_samples: PositiveInt | None = 8000
    """Train on at most so many examples, drawn with the run's seed. Decompose and prune work on the same draw: they
    take as many traces as are needed for so many examples, and no more. None: all."""
    validation_split: float = Field(default=0.05, ge=0, lt=1)
    """Share of the examples held out for the validation loss."""
    eval_steps: PositiveInt = 300
    """Optimizer steps between two validation losses."""
    keep: Literal["best", "last"] = "best"
    """Which weights `adapter/` and `merged/` get: those with the lowest validation loss, or those of the last step.
    `best` guards against overfitting and costs a checkpoint at each new minimum. Without a validation split, or if
    `eval_steps` exceeds the number of steps, it is the last step."""
    checkpoint_steps: Annotated[PositiveInt, OPERATIONAL] = 100
    """Optimizer steps between two checkpoints. A killed run resumes at the last one."""
    padding_free: bool = True
    """Concatenate the examples of a batch into one row instead of padding them, if the model's attention supports it.
    The loss is the same."""
    gradient_checkpointing: Annotated[bool, OPERATIONAL] = False
    """Recompute activations in the backward pass: less memory, a third slower."""
    liger: Annotated[bool, OPERATIONAL] = False
    """Use Liger's fused kernels for RMSNorm, rotary embedding and gated MLP on a GPU. Its fused cross entropy is not
    used, because logits are computed for response tokens only."""
    only_correct: bool = True
    """Train only on traces whose own answer was right."""
    response: Literal["pruned", "original"] = "pruned"
    """`pruned`: train on the pruned responses. `original`: on the student's own unpruned responses, as a control."""
    lora: LoraSettings = LoraSettings()
    """The adapter of the methods `lora` and `qlora`."""


class EvalModel(Section):
    """A model to evaluate."""

    model: str
    """A local folder or a name on the hub; with the backend `server`, the name under which it is served."""
    revision: str | None = None
    """Branch, tag or commit on the hub; None: the default branch."""
    adapter: str | None = None
    """A folder with a LoRA adapter, such as `train/adapter`, applied without merging; its tokenizer is used. None: no
    adapter."""
    prompt: PromptTemplate | None = None
    """A prompt of its own for this model, as `student.prompt`; None: that of the student. For example TALE's
    "{question}\\nLet's think step by step and use less than 50 tokens:"."""
    chat: bool | None = None
    """As `student.chat`, for this model; None: as for the student. With `false`, `prompt` is the whole text, as in
    lm-eval's tasks."""

    def identity(self) -> dict[str, Any]:
        """See Section. `prompt` and `chat` are left out if they are None, as earlier versions had no such keys."""
        added = {key for key in ("prompt", "chat") if getattr(self, key) is None}
        return {key: value for key, value in super().identity().items() if key not in added}

    def as_student(self, student: StudentSettings) -> StudentSettings:
        """This model with the student's settings of the prompt, as far as it has none of its own."""
        own = {key: value for key in ("prompt", "chat") if (value := getattr(self, key)) is not None}
        if self.chat is False:
            own |= {"system": None, "template_kwargs": {}}  # which only a chat template could use
        return student.model_copy(update={"model": self.model, "revision": self.revision, **own})


class EvalSettings(Section):
    """Stage eval."""

    benchmarks: list[SourceSettings] = Field(default_factory=list)
    """The benchmarks, each with a name of its own."""
    models: Annotated[dict[str, EvalModel] | None, OPERATIONAL] = None
    """The models by name; None: `base`, which is the student, and `drp`, which is what `train` made of it."""
    sampling: SamplingSettings = SamplingSettings()
    """How responses are sampled."""
    cutoff_tokens: Annotated[PositiveInt, OPERATIONAL] = 12000
    """Cutoff of the policies `cap` and `exclude`, in response tokens (paper, section 4.6)."""
    stop_at_cutoff: Annotated[bool, OPERATIONAL] = False
    """Stop a response as soon as it exceeds the cutoff, which saves most of the time of an evaluation whose
    `max_new_tokens` is far larger. The scores of `cap` and `exclude` are the same; that of `none`, without a cutoff, is
    not measured then."""

    def choose_sampling(self) -> SamplingSettings:
        """How responses are sampled: `sampling`, with a lower limit if `stop_at_cutoff` is set."""
        # One more than the cutoff, so that a response over it is told from one that just fits.
        limit = self.cutoff_tokens + 1 if self.stop_at_cutoff else self.sampling.max_new_tokens
        return self.sampling.model_copy(update={"max_new_tokens": min(limit, self.sampling.max_new_tokens)})


class GradingSettings(Section):
    """How answers are graded, in all stages."""

    workers: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Worker processes; None: one per core, at most 8."""
    timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 10.0
    """Limit for one answer, in seconds of CPU time. An answer that takes longer counts as not gradable."""
    memory_mib: Annotated[PositiveInt, OPERATIONAL] = 2048
    """Memory that one worker may allocate after its start, in MiB."""


class JudgingTeacherSettings(TeacherSettings):
    """The model that judges; the keys are those of `teacher`."""

    place: ClassVar[str] = "judge.teacher"


class JudgeSettings(Section):
    """`drp judge` (paper, Appendix D)."""

    teacher: JudgingTeacherSettings | None = None
    """The model that judges; None: the run's own teacher. For an independent verdict take another model than the one
    that decomposed, as the paper did."""
    pairs: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Judge only so many pairs, drawn with the run's seed (the paper: 50); None: all that both sides have."""


class ReportSettings(Section):
    """Stage report."""

    title: Annotated[str | None, OPERATIONAL] = None
    """Title of the page; None: the run directory's name."""
    max_traces: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Traces in the page's viewer at most; None: all, with the texts of as many as fit into 32 MB."""
    gpus: Annotated[PositiveInt, OPERATIONAL] = 1
    """GPUs that `generate` and `train` used at once, by which their hours are multiplied."""
    gpu_usd_per_hour: Annotated[float, Field(ge=0), OPERATIONAL] = 2.0
    """Price of one GPU in US dollars per hour; the default is about that of a rented A100."""
    token_usd_per_million: Annotated[tuple[PositiveFloat, ...], Field(min_length=1), OPERATIONAL] = (0.2, 0.6, 2.0)
    """Values of a million generated tokens where the student is used, in US dollars. The break-even table has a column
    for each; the defaults range from small to large models."""


class EstimateSettings(Section):
    """`drp estimate`: assumptions for what cannot be derived from the configuration or the run directory."""

    gpu: Annotated[Literal["a100-80gb", "h100-80gb", "rtx4090-24gb"], OPERATIONAL] = "a100-80gb"
    """The kind of GPU whose published speed is used before this run directory has measured its own."""
    sampling_tokens_per_second: Annotated[PositiveFloat | None, OPERATIONAL] = None
    """Generated tokens per second, all GPUs together; None: as measured in this run directory's generate or eval, else
    published for the GPU and the student's size, which is taken from its name."""
    training_tokens_per_second: Annotated[PositiveFloat | None, OPERATIONAL] = None
    """Trained tokens per second, prompts included, all GPUs together; None: as measured in this run directory's
    train, else published as above."""
    tokens_per_response: Annotated[PositiveInt | None, OPERATIONAL] = None
    """Length of a response of a source of which none is sampled yet, in tokens; None: the paper's for the source or one
    of the same kind."""
    reask_share: Annotated[float, Field(ge=0), OPERATIONAL] = 0.1
    """Expected re-asks after replies that fail a check, as a share of all calls."""
    lost_share: Annotated[float, Field(ge=0, lt=1), OPERATIONAL] = 0.05
    """Expected share of the traces that give no example, because all replies are refused or the result is too long.
    With `train.max_samples`, other traces replace them, which the teacher is paid for as well."""
    teacher_thinking_tokens: Annotated[int | None, Field(ge=0), OPERATIONAL] = None
    """Tokens that the teacher thinks for each reply, which are paid as output; None: as in the stored replies, else a
    rough figure for models that are known to think, else 0."""


class Config(Section):
    """A whole configuration file."""

    run_dir: Annotated[Path, OPERATIONAL]
    """Folder of all artifacts of the run."""
    reuse: Annotated[Path | None, OPERATIONAL] = None
    """Another run directory, from which this run takes what both have in common: its finished artifacts that have the
    same fingerprint and the same input are copied (problems, traces, steps, prunings, evaluations), and its teacher's
    replies are not paid for again. The rest is made here. None: everything is made here."""
    seed: int = 0
    """Seed of sampling, of training, and of every random draw."""
    max_failures: Annotated[float, Field(ge=0), OPERATIONAL] = 0.2
    """A stage with more failed records than this ends with exit status 1, and `drp run` stops there. Below 1: a share
    of the records; else their number. A guard against breakage: that some of a teacher's replies are refused by the
    checks is normal, and the run continues without those records."""
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

    @property
    def data_seed(self) -> int:
        """The seed of problems and traces, and of which traces the teacher works on."""
        return self.seed if self.generate.seed is None else self.generate.seed

    def find_twin(self, target: Path) -> Path | None:
        """The artifact in the run directory `reuse` that is at the same place as `target` in this one; None without
        `reuse`, and for a `target` elsewhere. Raises ConfigError if there is no such run directory."""
        if self.reuse is None or not target.is_relative_to(self.run_dir):
            return None
        if not self.reuse.is_dir():
            raise ConfigError(f"`reuse`: {self.reuse} does not exist; make that run first, or set `reuse` to null")
        return self.reuse / target.relative_to(self.run_dir)


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
