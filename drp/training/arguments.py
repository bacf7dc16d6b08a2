"""The configuration as transformers' Trainer wants it."""

from pathlib import Path

import torch
from transformers import TrainingArguments

from drp.settings import TrainSettings
from drp.training.launch import count_processes

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
