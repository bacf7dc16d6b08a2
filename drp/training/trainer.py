"""transformers' Trainer, with the loss on responses only, batches without padding, and a log of its own.

The gradient of an optimizer step is that of the mean loss over all its response tokens, however they are spread over
micro-batches and processes.
"""

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from drp.artifacts import Appender
from drp.errors import DrpError
from drp.settings import TrainSettings
from drp.training.batches import Batch, EpochSampler, count_targets, join_examples, pad_examples, sum_loss
from drp.training.examples import Example
from drp.training.journal import LogLine

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class ResponseTrainer(Trainer):
    """Trains on responses, logs every optimizer step to `log`, stops at a loss that is not a number.

    joined: lay the examples of a batch side by side (the model must have `attention.install`); else pad them.
    seconds: working time of earlier runs of the same training.
    """

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        train: list[Example],
        validation: list[Example],
        log: Appender,
        *,
        joined: bool,
        seconds: float = 0.0,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            data_collator=join_examples if joined else pad_examples,
            train_dataset=train,
            eval_dataset=validation or None,
            callbacks=callbacks,
        )
        self.remove_callback(PrinterCallback)  # it prints to stdout, where results go
        # compute_loss divides by all response tokens of the optimizer step, over micro-batches and processes.
        self.loss_is_scaled_for_ga = True
        self.joined, self.journal, self.seconds = joined, log, seconds
        self.clock = time.perf_counter()
        self.step_started = self.clock
        self.micro_batches: list[tuple[list[str], Tensor]] = []
        self.n_tokens = self.n_response_tokens = 0

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        examples: Any = self.train_dataset if train_dataset is None else train_dataset
        group = None if self.joined else self.args.train_batch_size * self.args.gradient_accumulation_steps
        return EpochSampler([len(example) for example in examples], self.args.seed, group)

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        if not self.micro_batches:
            self.step_started = time.perf_counter()
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.micro_batches.append((inputs["ids"], loss))
        self.n_tokens += inputs["n_tokens"]
        self.n_response_tokens += count_targets(inputs)
        return loss

    def compute_loss(
        self, model: Any, inputs: Batch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        n_targets = count_targets(inputs) if num_items_in_batch is None else num_items_in_batch
        # DDP averages gradients over processes; this loss is a share of a global mean and has to be summed.
        loss = sum_loss(model, inputs) / n_targets * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The mean loss over the validation examples' response tokens; the Trainer's own is a mean over batches."""
        totals = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        model = self.model_wrapped
        model.eval()
        for batch in self.get_eval_dataloader():
            batch = self._prepare_inputs(batch)
            with torch.no_grad():
                totals += torch.stack([sum_loss(model, batch).double(), totals.new_tensor(count_targets(batch))])
        loss, n_targets = self.accelerator.reduce(totals).tolist()
        metrics = {"eval_loss": loss / n_targets}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write a line of the log. The Trainer calls this after every optimizer step and every validation."""
        super().log(logs, start_time)
        before, self.clock = self.clock, time.perf_counter()
        self.seconds += self.clock - before
        if "eval_loss" in logs:
            self._write(LogLine(id=f"{self._step}-validation", validation_loss=logs["eval_loss"], **self._place()))
        elif "loss" in logs:
            self._check_finite(logs["loss"])
            self._write_step(logs, self.clock - self.step_started)

    def floating_point_ops(self, *_: Any) -> int:
        """Not counted: the Trainer walks over all parameters for it, at every step."""
        return 0

    @property
    def _step(self) -> int:
        return self.state.global_step

    def _place(self) -> dict[str, Any]:
        return {"step": self._step, "epoch": round(self.state.epoch or 0.0, 4), "seconds": round(self.seconds, 3)}

    def _write_step(self, logs: dict[str, float], seconds: float) -> None:
        line = LogLine(
            id=str(self._step),
            loss=logs["loss"],
            lr=logs["learning_rate"],
            grad_norm=logs.get("grad_norm"),
            n_tokens=self.n_tokens,
            n_response_tokens=self.n_response_tokens,
            tokens_per_s=round(self.n_tokens / seconds, 1),
            **self._place(),
        )
        self._write(line)
        self.micro_batches.clear()
        self.n_tokens = self.n_response_tokens = 0

    def _write(self, line: LogLine) -> None:
        if self.is_world_process_zero():
            self.journal.append(line)

    def _check_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        bad = [ids for ids, value in self.micro_batches if not bool(value.isfinite())]
        names = ", ".join(name for ids in bad for name in ids) or "unknown"
        raise DrpError(
            f"train: the loss of step {self._step} is {loss}, in the micro-batch of the records {names}; look at them "
            "in sft.jsonl, lower train.learning_rate, or use train.precision=fp32"
        )


def build_arguments(
    settings: TrainSettings, folder: Path, seed: int, *, precision: str, validate: bool, resumed: bool
) -> TrainingArguments:
    """The Trainer's arguments; checkpoints go to `folder`."""
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.schedule],
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        eval_strategy="steps" if validate else "no",
        eval_steps=settings.eval_steps,
        eval_on_start=validate and not resumed,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_total_limit=2,
        log_level="error",  # its remarks on its own files help nobody
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed,
    )
