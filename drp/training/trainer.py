"""transformers' Trainer, with the loss on responses only, batches without padding, and a log of its own.

The gradient of an optimizer step is that of the mean loss over all its response tokens, however they are spread over
micro-batches and processes.
"""

import math
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, gather_object
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from tqdm import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from drp.config.sections import TrainSettings
from drp.errors import DrpError
from drp.runs.jsonl import Appender
from drp.training.batches import (
    FILLER,
    Batch,
    EpochSampler,
    FixedSampler,
    count_targets,
    join_examples,
    pad_examples,
    sum_loss,
)
from drp.training.checkpoints import get_checkpoint
from drp.training.examples import Example
from drp.training.launch import count_processes, is_launched
from drp.training.summary import LogLine

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


def build_arguments(
    settings: TrainSettings, folder: Path, seed: int, *, precision: str, validate: bool, resumed: bool
) -> TrainingArguments:
    """The Trainer's arguments; checkpoints go to `folder`."""
    n = count_processes(settings)
    sharded = settings.strategy == "fsdp"
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation // n,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=SCHEDULES[settings.schedule],
        warmup_steps=settings.warmup_ratio,
        weight_decay=settings.weight_decay,
        max_grad_norm=settings.max_grad_norm,
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        gradient_checkpointing=settings.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},
        fsdp=sharded or None,  # type: ignore[arg-type]  # True is what it wants since 5.0
        # Checkpoints of parts can be read by another number of processes, and hold no frozen weights.
        fsdp_config={"state_dict_type": "SHARDED_STATE_DICT"} if sharded else None,
        use_cpu=not torch.accelerator.is_available(),
        ddp_find_unused_parameters=False,
        use_liger_kernel=settings.liger,
        liger_kernel_config={"cross_entropy": False, "fused_linear_cross_entropy": False},
        eval_strategy="steps" if validate else "no",
        eval_steps=settings.eval_steps,
        eval_on_start=validate and not resumed,
        save_strategy="steps",
        save_steps=settings.checkpoint_steps,
        save_total_limit=2,
        metric_for_best_model="loss" if validate and settings.keep == "best" else None,
        log_level="error",  # its remarks on its own files help nobody
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed,
    )


class StepBar(TrainerCallback):
    """Optimizer steps done, rate, time left and the loss, on stderr."""

    bar: Any = None

    def on_train_begin(self, *event: Any, **_: Any) -> None:
        _, state, _ = event
        interval = 0.1 if sys.stderr.isatty() else 15.0
        self.bar = tqdm(
            total=state.max_steps,
            initial=state.global_step,
            desc="train",
            unit="step",
            file=sys.stderr,
            mininterval=interval,
            dynamic_ncols=True,
            disable=not state.is_world_process_zero,
        )

    def on_log(self, *event: Any, **given: Any) -> None:
        _, state, _ = event
        logs = given["logs"]
        if "loss" in logs and self.bar is not None:
            self.bar.set_postfix({"loss": f"{logs['loss']:.4f}"}, refresh=False)
            self.bar.update(state.global_step - self.bar.n)

    def on_train_end(self, *_: Any, **__: Any) -> None:
        self.close()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class CheckpointBest(TrainerCallback):
    """A checkpoint wherever the validation loss is lower than ever before. The Trainer compares them (`best_metric`)
    and spares the best from rotation, but saves at fixed steps only."""

    def on_evaluate(self, *event: Any, **given: Any) -> None:
        _, state, control = event
        if state.best_metric is None or given["metrics"]["eval_loss"] < state.best_metric:
            control.should_save = True


SAME_SIGNAL_S = 2.0
"""A launcher passes on the signal that the terminal has already sent: within this time it is one and the same."""


class GracefulStop(TrainerCallback):
    """The first Ctrl-C or SIGTERM (a cluster's notice) ends training after the step at hand, with a checkpoint; a
    second one at once. One process that is asked stops all of them after the same step. `with` it, then look at
    `asked`."""

    def __init__(self) -> None:
        self.asked = False
        self._asked_at = 0.0
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked and (not is_launched() or time.monotonic() - self._asked_at > SAME_SIGNAL_S):
            raise KeyboardInterrupt
        self.asked, self._asked_at = True, time.monotonic()

    def on_step_end(self, *event: Any, **_: Any) -> None:
        arguments, _, control = event
        if arguments.world_size > 1:
            asked = torch.tensor(int(self.asked), device=arguments.device)
            torch.distributed.all_reduce(asked, torch.distributed.ReduceOp.MAX)
            self.asked = bool(asked)
        if self.asked:
            control.should_save = control.should_training_stop = True


class EpochOrder(TrainerCallback):
    """Tells the sampler which epoch begins. The Trainer does not reach it where several processes resume amid one."""

    def __init__(self, trainer: "ResponseTrainer") -> None:
        self.trainer = trainer

    def on_epoch_begin(self, *event: Any, **_: Any) -> None:
        _, state, _ = event
        self.trainer.sampler.set_epoch(int(state.epoch or 0))


class ResponseTrainer(Trainer):
    """Trains on responses, logs every optimizer step to `log`, stops at a loss that is not a number.

    log: None in all processes but the leader's.
    joined: lay the examples of a batch side by side (the model must have `attention.install`); else pad them.
    seconds: working time of earlier runs of the same training.
    """

    def __init__(
        self,
        model: Any,
        arguments: TrainingArguments,
        train: list[Example],
        validation: list[Example],
        log: Appender | None,
        *,
        joined: bool,
        seconds: float = 0.0,
        callbacks: list[TrainerCallback] | None = None,
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            data_collator=join_examples if joined else pad_examples,
            train_dataset=[*train, FILLER],
            eval_dataset=[*validation, FILLER] if validation else None,
            callbacks=callbacks,
        )
        self.add_callback(EpochOrder(self))
        self.remove_callback(PrinterCallback)  # it prints to stdout, where results go
        # compute_loss divides by all response tokens of the optimizer step, over micro-batches and processes.
        self.loss_is_scaled_for_ga = True
        self.joined, self.journal, self.seconds = joined, log, seconds
        self.clock = time.perf_counter()
        self.step_started = self.clock
        self.micro_batches: list[tuple[list[str], Tensor]] = []
        self.n_tokens = torch.zeros(2, dtype=torch.long)
        """Of the optimizer step and this process: all, and those that carry loss."""

    def create_accelerator_and_postprocess(self) -> None:
        """accelerate passes over FSDP on a CPU without a word, though torch's works there."""
        super().create_accelerator_and_postprocess()
        if self.args.fsdp and not self.is_fsdp_enabled:
            state = self.accelerator.state
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            if state.mixed_precision != "no":
                state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
            state.distributed_type = DistributedType.FSDP
            self.is_fsdp_enabled = True

    @property
    def _at_once(self) -> int:
        """Examples that all processes hold at the same time."""
        size: int = self.args.per_device_train_batch_size * self.args.world_size
        return size

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        examples: Any = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(example) for example in examples[:-1]]
        group = None if self.joined else self._at_once * self.args.gradient_accumulation_steps
        self.sampler = EpochSampler(lengths, self.args.seed, group, self._at_once)
        return self.sampler

    def _get_eval_sampler(self, eval_dataset: Any) -> FixedSampler:
        return FixedSampler(len(eval_dataset) - 1, self._at_once)

    def training_step(self, model: Any, inputs: Batch, num_items_in_batch: Any = None) -> Tensor:
        if not self.micro_batches:
            self.step_started = time.perf_counter()
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.micro_batches.append((inputs["ids"], loss))
        self.n_tokens += torch.tensor([inputs["n_tokens"], count_targets(inputs)])
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

    def load_best(self) -> None:
        """Go back to the weights of the lowest validation loss; where there was none, stay with the last."""
        step = self.state.best_global_step
        if not step or step == self._step:
            return
        # The state's own path is wrong once the run directory has moved.
        self.state.best_model_checkpoint = str(get_checkpoint(Path(str(self.args.output_dir)), step))
        self._load_best_model()

    def gather_weights(self) -> dict[str, Tensor]:
        """Those that were trained, by their names in the model. Where they are in parts: the whole on the leader,
        nothing elsewhere, and every process has to call it."""
        model: Any = self.model
        if not self.is_fsdp_enabled:
            return dict(model.state_dict())
        options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
        weights: Any = get_model_state_dict(model, options=options)
        return dict(weights)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Write a line of the log. The Trainer calls this after every optimizer step and every validation."""
        super().log(logs, start_time)
        before, self.clock = self.clock, time.perf_counter()
        self.seconds += self.clock - before
        if "eval_loss" in logs:
            self._write(LogLine(id=f"{self._step}-validation", validation_loss=logs["eval_loss"], **self._place()))
        elif "loss" in logs:
            self._check_finite(logs["loss"])
            n_tokens = self.accelerator.reduce(self.n_tokens.to(self.args.device)).tolist()
            self._write_step(logs, n_tokens, self.clock - self.step_started)

    def floating_point_ops(self, *_: Any) -> int:
        """Not counted: the Trainer walks over all parameters for it, at every step."""
        return 0

    @property
    def _step(self) -> int:
        return self.state.global_step

    def _place(self) -> dict[str, Any]:
        return {"step": self._step, "epoch": round(self.state.epoch or 0.0, 4), "seconds": round(self.seconds, 3)}

    def _write_step(self, logs: dict[str, float], n_tokens: list[int], seconds: float) -> None:
        line = LogLine(
            id=str(self._step),
            loss=logs["loss"],
            lr=logs["learning_rate"],
            grad_norm=logs.get("grad_norm"),
            n_tokens=n_tokens[0],
            n_response_tokens=n_tokens[1],
            tokens_per_s=round(n_tokens[0] / seconds, 1),
            **self._place(),
        )
        self._write(line)
        self.micro_batches.clear()
        self.n_tokens.zero_()

    def _write(self, line: LogLine) -> None:
        if self.journal is not None:
            self.journal.append(line)

    def _check_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        bad = [name for ids, value in self.micro_batches if not bool(value.isfinite()) for name in ids]
        names = ", ".join(gather_object(bad)) or "unknown"
        if not self.is_world_process_zero():
            sys.exit(1)  # one message is enough
        raise DrpError(
            f"train: the loss of step {self._step} is {loss}, in the micro-batch of the records {names}; look at them "
            "in sft.jsonl, lower train.learning_rate, or use train.precision=fp32"
        )


# FOLDED DOC of training.arguments:
# The configuration as transformers' Trainer wants it.

# FOLDED DOC of training.callbacks:
# What happens beside the optimizer steps: a progress bar, checkpoints of the best weights, and a graceful stop.
