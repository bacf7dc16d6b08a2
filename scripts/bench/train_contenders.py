"""One training of the benchmark `train.py`, in a process of its own and perhaps with another Python.

    PYTHON scripts/bench/train_contenders.py CONTENDER FOLDER

Reads FOLDER/sft.jsonl (token ids, which part carries loss) and FOLDER/recipe.json; prints as its last line

    {"seconds": 41.2, "cpu_s": 80.1, "peak_mib": 950, "response_tokens": 189442, "adapter": "FOLDER/ours/train/adapter"}

seconds: of the optimizer steps, without imports and loading. peak_mib: of the process.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
Figures = dict[str, Any]


def main() -> None:
    name, folder = sys.argv[1], Path(sys.argv[2])
    figures = CONTENDERS[name](folder, read_recipe(folder))
    tokens = sum(row["n_response_tokens"] for row in read_rows(folder, "train"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"peak_mib": peak, "response_tokens": read_recipe(folder)["epochs"] * tokens} | figures))


def read_recipe(folder: Path) -> dict[str, Any]:
    recipe: dict[str, Any] = json.loads((folder / "recipe.json").read_text())
    return recipe


def read_rows(folder: Path, split: str) -> Iterator[dict[str, Any]]:
    with (folder / "sft.jsonl").open(encoding="utf-8") as lines:
        yield from (row for row in map(json.loads, lines) if row["split"] == split)


def train_ours(folder: Path, recipe: dict[str, Any]) -> Figures:
    """The stage as users run it; its seconds hold the checkpoint after the last step too."""
    sys.path.insert(0, str(ROOT))
    from drp.config.sections import Config
    from drp.runs.stage import RunOptions
    from drp.stages import train

    run_dir = folder / "ours"
    run_dir.mkdir(exist_ok=True)
    with (run_dir / "pruned.jsonl").open("w", encoding="utf-8") as file:
        for row in read_rows(folder, "train"):
            record = {"id": row["id"], "question": row["question"], "pruned_response": row["response"]}
            file.write(json.dumps(record) + "\n")
    settings = {name: recipe[name] for name in ("batch_size", "epochs", "learning_rate", "cutoff_tokens")} | {
        "gradient_accumulation": 1,
        "checkpoint_steps": 10**6,
        "validation_split": 0,
        "max_samples": None,
        "only_correct": False,
        "lora": {"rank": 16, "alpha": 32},
    }
    config = Config.model_validate({"run_dir": run_dir, "student": {"model": recipe["student"]}, "train": settings})
    started = time.process_time()
    summary = train.run(config, RunOptions(overwrite=True))
    assert summary is not None
    cpu_s = time.process_time() - started
    return {"seconds": summary.seconds, "cpu_s": cpu_s, "adapter": str(run_dir / "train/adapter")}


def train_trl(folder: Path, recipe: dict[str, Any], **fast: Any) -> Figures:
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = [
        {
            "input_ids": row["input_ids"],
            "labels": [-100] * row["n_prompt_tokens"] + row["input_ids"][row["n_prompt_tokens"] :],
        }
        for row in read_rows(folder, "train")
    ]
    gpu = torch.cuda.is_available()
    arguments = SFTConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=recipe["batch_size"],
        num_train_epochs=recipe["epochs"],
        learning_rate=recipe["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        bf16=gpu,
        max_length=recipe["cutoff_tokens"],  # its default, 1024, would cut examples
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
        **fast,
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(recipe["student"], dtype=torch.bfloat16 if gpu else torch.float32),
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(recipe["student"]),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    figures = clock(trainer.train)
    trainer.model.save_pretrained(folder / "trl/adapter")
    return figures | {"adapter": str(folder / "trl/adapter")}


def train_trl_fast(folder: Path, recipe: dict[str, Any]) -> Figures:
    return train_trl(folder, recipe, gradient_checkpointing=False, train_sampling_strategy="group_by_length")


def train_llamafactory(folder: Path, recipe: dict[str, Any]) -> Figures:
    """From text, for it takes no token ids; its `deepseek3` template leaves `<think>` to the response."""
    from llamafactory.train.tuner import run_exp

    data = folder / "llamafactory"
    data.mkdir(exist_ok=True)
    rows = [
        {"prompt": row["question"], "response": f"<think>\n{row['response']}"} for row in read_rows(folder, "train")
    ]
    (data / "sft.json").write_text(json.dumps(rows))
    columns = {"prompt": "prompt", "response": "response"}
    (data / "dataset_info.json").write_text(json.dumps({"sft": {"file_name": "sft.json", "columns": columns}}))
    arguments = {
        "model_name_or_path": recipe["student"],
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_target": "all",
        "dataset": "sft",
        "dataset_dir": str(data),
        "template": "deepseek3",
        "cutoff_len": recipe["cutoff_tokens"],
        "output_dir": str(data / "adapter"),
        "overwrite_cache": True,
        "per_device_train_batch_size": recipe["batch_size"],
        "gradient_accumulation_steps": 1,
        "num_train_epochs": recipe["epochs"],
        "learning_rate": recipe["learning_rate"],
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.1,
        "save_strategy": "no",
        "report_to": "none",
        "seed": 0,
    }
    os.environ["DISABLE_VERSION_CHECK"] = "1"
    figures = clock(lambda: run_exp(arguments))
    seconds = json.loads((data / "adapter/train_results.json").read_text())["train_runtime"]
    return figures | {"seconds": seconds, "adapter": str(data / "adapter")}


def clock(train: Callable[[], object]) -> Figures:
    """peak_mib: before anything is saved."""
    started, cpu = time.perf_counter(), time.process_time()
    train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return {"seconds": time.perf_counter() - started, "cpu_s": time.process_time() - cpu, "peak_mib": peak}


CONTENDERS: dict[str, Callable[[Path, dict[str, Any]], Figures]] = {
    "ours": train_ours,
    "trl": train_trl,
    "trl-fast": train_trl_fast,
    "llamafactory": train_llamafactory,
}

if __name__ == "__main__":
    main()
