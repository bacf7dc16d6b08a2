"""How the student is trained."""

from typing import Annotated, Literal

from pydantic import Field

from drp.settings.section import OPERATIONAL, PositiveInt, Section


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
