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
