"""transformers' Trainer with the loss on responses only, padding-free batches, and log.jsonl.

The gradient of an optimizer step is that of the mean loss over all its response tokens, however they are distributed
over micro-batches and processes.
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
    EpochSampler,
    TokenBatch,
    add_fillers,
    join_examples,
    pad_examples,
    sum_loss,
)
from drp.training.checkpoints import get_checkpoint
from drp.training.examples import Example
from drp.training.launch import count_processes, is_launched
from drp.training.summary import TrainLogLine

SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}

SAME_SIGNAL_S = 2.0
"""With a launcher, a second signal within this time is the first one, passed on by the launcher after the terminal has
sent it already."""


class OneDeviceArguments(TrainingArguments):
    """Arguments of a process that trains on one device. With several GPUs visible and no launcher, the Trainer would
    copy the model to all of them (nn.DataParallel) and multiply the batch."""

    @property
    def n_gpu(self) -> int:
        n: int = super().n_gpu
        return min(1, n)


def build_arguments(
    settings: TrainSettings, folder: Path, seed: int, *, precision: str, validate: bool, resumed: bool
) -> TrainingArguments:
    """The Trainer's arguments. Checkpoints are written to `folder`."""
    n = count_processes(settings)
    sharded = settings.strategy == "fsdp"
    return OneDeviceArguments(
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
        fsdp=sharded or None,  # type: ignore[arg-type]  # a bool since transformers 5.0
        # Sharded checkpoints can be loaded by another number of processes, and hold no frozen weights.
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
        log_level="error",
        logging_steps=1,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed,
    )


class ResponseTrainer(Trainer):
    """Trains on responses, writes a log line per optimizer step and validation, and raises DrpError, with the records
    of the micro-batch, if a loss is not finite.

    log: where to write; None in all processes but the main one.
    padding_free: join the examples of a batch in one row, which needs `install_padding_free_attention`; else pad them.
    seconds: working time of earlier runs of the same training.
    """

    def __init__(
        self,
        *,
        model: Any,
        arguments: TrainingArguments,
        train: list[Example],
        validation: list[Example],
        log: Appender | None,
        padding_free: bool,
        seconds: float,
        callbacks: list[TrainerCallback],
    ) -> None:
        super().__init__(
            model=model,
            args=arguments,
            data_collator=join_examples if padding_free else pad_examples,
            train_dataset=[*train, FILLER],
            eval_dataset=[*validation, FILLER] if validation else None,
            callbacks=callbacks,
        )
        self.add_callback(EpochOrder(self))
        self.remove_callback(PrinterCallback)  # prints to stdout, which is for results
        # compute_loss divides by all response tokens of the optimizer step, over micro-batches and processes.
        self.loss_is_scaled_for_ga = True
        self.padding_free, self.log_file, self.seconds = padding_free, log, seconds
        self.clock = time.perf_counter()
        self.step_started = self.clock
        self.micro_batches: list[tuple[list[str], Tensor]] = []
        """Record ids and loss of each micro-batch of the current optimizer step."""
        self.n_tokens = torch.zeros(2, dtype=torch.long)
        """Tokens of the current optimizer step in this process: all, and those that carry loss."""

    def create_accelerator_and_postprocess(self) -> None:
        """Turn FSDP on without a GPU too: accelerate silently ignores it there, although torch supports it."""
        super().create_accelerator_and_postprocess()
        if self.args.fsdp and not self.is_fsdp_enabled:
            state = self.accelerator.state
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args)
            if state.mixed_precision != "no":
                state.fsdp_plugin.set_mixed_precision(state.mixed_precision)
            state.distributed_type = DistributedType.FSDP
            self.is_fsdp_enabled = True

    def _get_train_sampler(self, train_dataset: Any = None) -> EpochSampler:
        examples: Any = self.train_dataset if train_dataset is None else train_dataset
        lengths = [len(example) for example in examples[:-1]]
        group = None if self.padding_free else self._parallel_batch_size * self.args.gradient_accumulation_steps
        self.sampler = EpochSampler(lengths, seed=self.args.seed, group=group, round_to=self._parallel_batch_size)
        return self.sampler

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        return add_fillers(range(len(eval_dataset) - 1), self._parallel_batch_size)

    @property
    def _parallel_batch_size(self) -> int:
        """Examples that all processes together take at a time."""
        size: int = self.args.per_device_train_batch_size * self.args.world_size
        return size

    def training_step(self, model: Any, inputs: TokenBatch, num_items_in_batch: Any = None) -> Tensor:
        if not self.micro_batches:
            self.step_started = time.perf_counter()
        loss = super().training_step(model, inputs, num_items_in_batch)
        self.micro_batches.append((inputs["ids"], loss))
        self.n_tokens += torch.tensor([inputs["n_tokens"], inputs["n_targets"]])
        return loss

    def compute_loss(
        self, model: Any, inputs: TokenBatch, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        n_targets = inputs["n_targets"] if num_items_in_batch is None else num_items_in_batch
        # DDP averages gradients over processes; this loss is a share of a global mean, so the gradients must be summed.
        loss = sum_loss(model, inputs) / n_targets * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """The mean loss over the validation examples' response tokens. The Trainer's own is a mean over batches."""
        totals = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        model = self.model_wrapped
        model.eval()
        for batch in self.get_eval_dataloader():
            batch = self._prepare_inputs(batch)
            with torch.no_grad():
                totals += torch.stack([sum_loss(model, batch).double(), totals.new_tensor(batch["n_targets"])])
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
        step = self.state.global_step
        common: dict[str, Any] = {
            "step": step,
            "epoch": round(self.state.epoch or 0.0, 4),
            "seconds": round(self.seconds, 3),
        }
        if "eval_loss" in logs:
            self._write(TrainLogLine(id=f"{step}-validation", validation_loss=logs["eval_loss"], **common))
        elif "loss" in logs:
            self._check_finite(logs["loss"])
            n_tokens, n_targets = self.accelerator.reduce(self.n_tokens.to(self.args.device)).tolist()
            line = TrainLogLine(
                id=str(step),
                loss=logs["loss"],
                lr=logs["learning_rate"],
                grad_norm=logs.get("grad_norm"),
                n_tokens=n_tokens,
                n_response_tokens=n_targets,
                tokens_per_s=round(n_tokens / (self.clock - self.step_started), 1),
                **common,
            )
            self._write(line)
            self.micro_batches.clear()
            self.n_tokens.zero_()

    def _write(self, line: TrainLogLine) -> None:
        if self.log_file is not None:
            self.log_file.append(line)

    def _check_finite(self, loss: float) -> None:
        if math.isfinite(loss):
            return
        bad = [name for ids, value in self.micro_batches if not bool(value.isfinite()) for name in ids]
        names = ", ".join(gather_object(bad)) or "unknown"
        if not self.is_world_process_zero():
            sys.exit(1)  # the main process reports the error
        raise DrpError(
            f"train: the loss of step {self.state.global_step} is {loss}, in the micro-batch of the records {names}; "
            "look at them in sft.jsonl, lower train.learning_rate, or use train.precision=fp32"
        )

    def floating_point_ops(self, *_: Any) -> int:
        """Always 0: to count them, the Trainer would walk over all parameters in every step."""
        return 0

    def load_best(self) -> None:
        """Load the weights of the lowest validation loss. Without validation losses, the last weights stay."""
        step = self.state.best_global_step
        if not step or step == self.state.global_step:
            return
        # The path in the state is wrong if the run directory was moved.
        self.state.best_model_checkpoint = str(get_checkpoint(Path(str(self.args.output_dir)), step))
        self._load_best_model()

    def gather_weights(self) -> dict[str, Tensor]:
        """The trained weights by their names in the model. With FSDP every process has to call this; the main process
        gets the whole weights, the others an empty dictionary."""
        model: Any = self.model
        if not self.is_fsdp_enabled:
            return dict(model.state_dict())
        options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
        weights: Any = get_model_state_dict(model, options=options)
        return dict(weights)


class EpochOrder(TrainerCallback):
    """Passes the epoch on to the sampler. The Trainer does not when several processes resume within an epoch."""

    def __init__(self, trainer: ResponseTrainer) -> None:
        self.trainer = trainer

    def on_epoch_begin(self, *event: Any, **_: Any) -> None:
        _, state, _ = event
        self.trainer.sampler.set_epoch(int(state.epoch or 0))


class StepBar(TrainerCallback):
    """A progress bar on stderr: optimizer steps, rate, time left and the loss."""

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
    """Saves a checkpoint whenever the validation loss is lower than ever before. The Trainer records the best
    checkpoint and never rotates it out, but saves at fixed steps only."""

    def on_evaluate(self, *event: Any, **given: Any) -> None:
        _, state, control = event
        if state.best_metric is None or given["metrics"]["eval_loss"] < state.best_metric:
            control.should_save = True


class GracefulStop(TrainerCallback):
    """Ends training after the current step, with a checkpoint, on the first Ctrl-C or SIGTERM; on the second one,
    raises KeyboardInterrupt at once. A signal to one process stops all of them after the same step.

    A context manager: the signal handlers are installed inside its `with` block.
    """

    requested: bool = False
    """Whether a signal has come."""

    def __init__(self) -> None:
        self._requested_at = 0.0
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers only there
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.requested and (not is_launched() or time.monotonic() - self._requested_at > SAME_SIGNAL_S):
            raise KeyboardInterrupt
        self.requested, self._requested_at = True, time.monotonic()

    def on_step_end(self, *event: Any, **_: Any) -> None:
        arguments, _, control = event
        if arguments.world_size > 1:
            requested = torch.tensor(int(self.requested), device=arguments.device)
            torch.distributed.all_reduce(requested, torch.distributed.ReduceOp.MAX)
            self.requested = bool(requested)
        if self.requested:
            control.should_save = control.should_training_stop = True
