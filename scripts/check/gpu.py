"""What works on this machine's GPU, measured in under 10 minutes, without a network.

    python scripts/check/gpu.py                      with a GPU: the environment of `make install-gpu`
    python scripts/check/gpu.py --cpu                the same with small sizes on a CPU
    python scripts/check/gpu.py --only attention engine

Two models: `tiny`, in data/tiny/model, and `wide`, random weights in four layers of the shapes of R1-Distill-Qwen-7B
(with --cpu: their proportions). Each part runs in a process of its own, in this order:

    environment   what `drp doctor` finds
    attention     torch's variable-length attention and its gradients against sdpa in float32, lengths 7 to 4,096
    layouts       loss and gradients of a padding-free batch against those of a padded one
    tiny, wide    trainings: lora, full, qlora, liger; with and without checkpointing; for `wide` also the peak of GPU
                  memory beside what `--preview` estimates
    stop          a training that is stopped and resumed against an uninterrupted one; the best weights are exported
    merged        the merged model against base and adapter
    engine        sampling: speed, seeds, adapter against merged model, memory after closing, a second model
    kill          SIGKILL leaves no process and no memory of the GPU taken

Prints a line for each check, with the result `ok`, `FAILED` or `not run`, and as its last line one JSON object
`{"check", "device", "ok", "failed", "not_run", "seconds", "figures"}`; exit status 0 where nothing failed.
"""

import argparse
import gc
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from drp import doctor
from drp.config.loading import dump_config
from drp.config.sections import Config, EngineSettings, SamplingSettings, StudentSettings
from drp.student.gpu import find_gpus

TINY = ROOT / "data/tiny/model"
NO_GPU = "no GPU"
ROW = "ROW "
"""Begins the lines of a part's output that are rows."""
MEMORY_TOLERANCE_MIB = 1024


@dataclass(frozen=True)
class Sizes:
    """Of the model `wide` and of the work."""

    hidden: int
    intermediate: int
    heads: int
    key_value_heads: int
    vocabulary: int
    lengths: tuple[int, ...]
    """Tokens of the examples whose attention is compared."""
    longest: int
    """About the most tokens of a training example."""
    responses: int
    """How many are sampled at once."""
    new_tokens: int


ON_GPU = Sizes(3584, 18944, 28, 4, 152064, (7, 64, 129, 1000, 2048, 4096), 3000, 256, 256)
ON_CPU = Sizes(224, 1184, 7, 1, 1024, (7, 64, 129), 200, 16, 48)


@dataclass(frozen=True)
class Row:
    """One check's result."""

    check: str
    result: str
    """`ok`, `FAILED` or `not run`."""
    detail: str
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where a part works, and on what."""

    folder: Path
    cpu: bool

    @property
    def sizes(self) -> Sizes:
        return ON_CPU if self.cpu else ON_GPU

    @property
    def device(self) -> str:
        return "cpu" if self.cpu else "cuda"

    @property
    def models(self) -> dict[str, Path]:
        return {"tiny": TINY, "wide": self.folder / "wide"}


def judge(check: str, holds: bool, detail: str, **figures: float) -> Row:
    return Row(check, "ok" if holds else "FAILED", detail, {name: round(value, 4) for name, value in figures.items()})


def skip(check: str, reason: str) -> Row:
    return Row(check, "not run", reason)


# -- The run ---------------------------------------------------------------------------------------------------------


def main() -> int:
    args = read_arguments()
    if args.part:
        return run_part(args.part, Place(Path(args.folder), args.cpu))
    if not args.cpu and not find_gpus():
        sys.exit("error: this machine has no GPU; --cpu checks the same with small sizes")
    started = time.monotonic()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="drp-gpu-") as folder:
        for part in ["models", *(part for part in PARTS if part in (args.only or PARTS) and part != "models")]:
            left = args.minutes * 60 - (time.monotonic() - started)
            for row in start_part(part, Path(folder), args.cpu, left) if left > 0 else [skip(part, "time is up")]:
                rows.append(row)
                print(f"{row.check:<31} {row.result:<8} {row.detail}", flush=True)
    named = {result: [row.check for row in rows if row.result == result] for result in ("ok", "FAILED", "not run")}
    summary = {
        "check": "gpu",
        "device": str(find_gpus()[0]) if not args.cpu else "CPU",
        "ok": len(named["ok"]),
        "failed": named["FAILED"],
        "not_run": named["not run"],
        "seconds": round(time.monotonic() - started),
        "figures": {row.check: row.figures for row in rows if row.figures},
    }
    print(json.dumps(summary))
    return 1 if named["FAILED"] else 0


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="small sizes on the CPU, whether there is a GPU or not")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), help="these parts only")
    parser.add_argument("--minutes", type=float, default=10.0, help="limit; what is not done by then is not run")
    parser.add_argument("--part", choices=[*PARTS, "hold"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def start_part(part: str, folder: Path, cpu: bool, limit_s: float) -> Iterator[Row]:
    """Run a part in a process of its own. Yields its rows as they come, and one more if it fails."""
    log = folder / f"{part}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            make_command(part, folder, cpu),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if cpu else {}),
            start_new_session=True,
        )
        alarm = threading.Timer(limit_s, os.killpg, (process.pid, signal.SIGKILL))
        alarm.start()
        try:
            assert process.stdout
            for line in process.stdout:
                if line.startswith(ROW):
                    yield Row(**json.loads(line.removeprefix(ROW)))
            status = process.wait()
        finally:
            alarm.cancel()
            with suppress(ProcessLookupError):  # what the part has left running
                os.killpg(process.pid, signal.SIGKILL)
    if status:
        last = [line for line in log.read_text().splitlines() if line.strip()][-1:]
        yield Row(part, "FAILED", f"ended with status {status}: {''.join(last)}")


def make_command(part: str, folder: Path, cpu: bool) -> list[str]:
    command = [sys.executable, str(Path(__file__).resolve()), "--part", part, "--folder", str(folder)]
    return [*command, "--cpu"] if cpu else command


def run_part(part: str, place: Place) -> int:
    """In the process of a part: print its rows."""
    if part == "hold":
        hold_engine(place)
    for row in PARTS[part](place):
        print(f"{ROW}{json.dumps(asdict(row))}", flush=True)
    return 0


# -- Parts -----------------------------------------------------------------------------------------------------------


def make_models(place: Place) -> Iterable[Row]:
    """Write the model `wide` and the training examples. No check, so no row."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from drp.student.response import load_tokenizer

    sizes, tokenizer = place.sizes, load_tokenizer(str(TINY))
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(place.device):
        model = Qwen2ForCausalLM(
            Qwen2Config(
                vocab_size=sizes.vocabulary,
                hidden_size=sizes.hidden,
                intermediate_size=sizes.intermediate,
                num_hidden_layers=4,
                num_attention_heads=sizes.heads,
                num_key_value_heads=sizes.key_value_heads,
                max_position_embeddings=8192,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    model.save_pretrained(place.models["wide"])
    tokenizer.save_pretrained(place.models["wide"])
    for name, longest in (("tiny", 150), ("wide", sizes.longest)):
        with (place.folder / f"{name}.jsonl").open("w") as file:
            for record in make_records(80 if name == "tiny" else 24, longest):
                file.write(json.dumps(record) + "\n")
    return []


def make_records(n: int, longest: int) -> Iterator[dict[str, Any]]:
    """Records of pruned.jsonl with sums as reasoning, of 20 to about `longest` tokens."""
    draw = random.Random(0)
    for number in range(n):
        length = round(20 * math.exp(number / (n - 1) * math.log(longest / 20)))
        sums = [(draw.randrange(90), draw.randrange(90)) for _ in range(max(1, length // 10))]
        thinking = "\n".join(f"{a} + {b} = {a + b}." for a, b in sums)
        answer = sum(map(sum, sums))
        yield {
            "id": f"sum-{number}#0",
            "question": f"What is the sum of {sums[0][0]} and {2 * len(sums) - 1} other numbers?",
            "pruned_response": f"{thinking}\n</think>\n\nThe answer is {answer}.",
            "correct": True,
            "finish_reason": "stop",
        }


def check_environment(place: Place) -> Iterator[Row]:
    import torch

    findings = [finding for finding in doctor.examine() if finding.subject not in ("openai", "gemini")]
    wrong = [f"{finding.subject}: {finding.found} ({finding.advice})" for finding in findings if finding.ok is False]
    found = {finding.subject: finding.found for finding in findings}
    names = ("python", "torch", "transformers", "peft", "vllm", "gpu", "driver", "capability")
    described = "; ".join([*wrong, *(f"{name} {found[name]}" for name in names if name in found)])
    yield judge("environment", not wrong, described)
    if place.cpu:
        yield skip("environment: torch's GPU", NO_GPU)
    else:
        free, total = (size / 2**30 for size in torch.cuda.mem_get_info())
        name = torch.cuda.get_device_name()
        yield judge("environment: torch's GPU", True, f"{name}, {free:.0f} of {total:.0f} GiB free", gib=total)


def check_attention(place: Place) -> Iterator[Row]:
    """Heads of R1-Distill's 7B and 1.5B, of a Llama of 8B, and without sharing."""
    import torch

    from drp.training.batches import VARLEN_TOLERANCE, compare_varlen

    for heads, shared, head_dim in ((28, 4, 128), (12, 2, 128), (32, 8, 128), (16, 16, 64)):
        for dtype in (torch.bfloat16, torch.float16):
            check = f"attention {heads}/{shared} {str(dtype).removeprefix('torch.')}"
            if place.cpu:
                yield skip(check, NO_GPU)
                continue
            device = torch.device("cuda")
            error = compare_varlen(
                heads=heads,
                key_value_heads=shared,
                head_dim=head_dim,
                lengths=place.sizes.lengths,
                dtype=dtype,
                device=device,
            )
            detail = f"relative error {error:.4f} of output and gradients, torch {torch.__version__}"
            yield judge(check, error <= VARLEN_TOLERANCE, detail, error=error)


def check_layouts(place: Place) -> Iterator[Row]:
    import torch

    from drp.student.response import load_format
    from drp.training.batches import autocast, install_padding_free_attention, join_examples, pad_examples, sum_loss
    from drp.training.examples import encode_example
    from drp.training.student import add_adapter, load_base, skip_input_casts

    for name, folder in place.models.items():
        config = make_config(place, name, "layouts")
        base = load_base(config, "bf16", torch.device(place.device))
        before = base.config._attn_implementation
        choice = install_padding_free_attention(base, "bf16")
        model = add_adapter(base, config.train.lora, 0)
        skip_input_casts(model)
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        torch.manual_seed(0)
        for weight in weights:  # B begins as 0, with which A would have no gradient
            weight.data.normal_(std=0.02)
        format = load_format(config.student.model_copy(update={"model": str(folder)}))
        records = [json.loads(line) for line in (place.folder / f"{name}.jsonl").read_text().splitlines()][1::8][:4]
        examples = [encode_example(format, r["id"], r["question"], r["pruned_response"]) for r in records]

        def compute(
            batch: dict[str, Any], model: Any = model, weights: list[Any] = weights
        ) -> tuple[float, torch.Tensor]:
            with autocast(place.device, "bf16"):
                loss = sum_loss(model, move(batch, place.device))
            return float(loss), torch.cat([part.flatten() for part in torch.autograd.grad(loss, weights)])

        joined, joined_gradient = compute(join_examples(examples))
        base.set_attn_implementation(before)
        padded, padded_gradient = compute(pad_examples(examples))
        error = abs(joined / padded - 1)
        gradient_error = float((joined_gradient - padded_gradient).norm() / padded_gradient.norm())
        fastest = choice.name is not None and not choice.reason
        detail = (
            f"{choice.name} against {before}: loss {error:.1e}, gradient {gradient_error:.3f} apart {choice.reason}"
        )
        holds = fastest and error < 0.01 and gradient_error < 0.1
        yield judge(f"layouts {name}", holds, detail.strip(), loss_error=error, gradient_error=gradient_error)


def move(value: Any, device: str) -> Any:
    if isinstance(value, dict):
        return {key: move(item, device) for key, item in value.items()}
    return value.to(device) if hasattr(value, "to") else value


def check_trainings(place: Place, name: str) -> Iterator[Row]:
    from drp.runs.stage import RunOptions
    from drp.stages import train

    for variant, settings in list_variants(place):
        check = f"train {name} {variant}"
        if isinstance(settings, str):
            yield skip(check, settings)
            continue
        config = make_config(place, name, f"{name}-{variant.replace(' ', '-')}", **settings)
        estimate = train.preview(config).memory
        assert estimate is not None
        if estimate.need.total > 0.9 * estimate.free:
            yield skip(check, f"needs {estimate.need.total >> 30} GiB of {estimate.free >> 30} GiB free")
            continue
        clear_memory(place)
        try:
            summary = train.run(config, RunOptions())
        except Exception as error:  # a failed check, whatever it is; the next one may work
            yield judge(check, False, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
            continue
        assert summary is not None
        rates = [json.loads(line)["tokens_per_s"] for line in (config.run_dir / "train/log.jsonl").open()]
        rate = median([rate for rate in rates if rate][1:])
        detail = f"loss {summary.first_loss:.3f} -> {summary.last_loss:.3f}, {rate:,.0f} tokens/s"
        figures = {"tokens_per_s": rate}
        holds = summary.last_loss < summary.first_loss and summary.setup.padding_free
        if summary.peak_gpu_mib is not None and name == "wide":
            estimated = estimate.need.total >> 20
            figures |= {"peak_mib": summary.peak_gpu_mib, "estimated_mib": estimated}
            detail += f", peak {summary.peak_gpu_mib:,} MiB, estimated {estimated:,}"
            holds = holds and 0.7 < estimated / summary.peak_gpu_mib < 1.4
        yield judge(check, holds, detail, **figures)
        remove(config.run_dir)


def list_variants(place: Place) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Names of trainings with their settings, or with the reason why they are not run."""
    for name in ("lora", "full", "qlora", "lora liger"):
        method, _, kernels = name.partition(" ")
        settings: dict[str, Any] | str = {"method": method, "liger": bool(kernels)}
        if kernels and place.cpu:
            settings = NO_GPU
        elif (package := {"qlora": "bitsandbytes", "lora liger": "liger_kernel"}.get(name)) and not find_spec(package):
            settings = f"{package} is not installed"
        for checkpointing in (False, True):
            label = f"{name} checkpointed" if checkpointing else name
            yield label, settings if isinstance(settings, str) else settings | {"gradient_checkpointing": checkpointing}


def make_config(place: Place, model: str, run: str, **train: Any) -> Config:
    """A run of its own for the model, with the training examples as its pruned.jsonl."""
    folder = place.folder / "runs" / run
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "pruned.jsonl"
    if not source.exists():
        source.symlink_to(place.folder / f"{model}.jsonl")
    settings: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 8,
        "gradient_accumulation": 1,
        "learning_rate": 1e-4 if train.get("method") == "full" else 1e-3,
        "schedule": "constant",
        "warmup_ratio": 0.0,
        "precision": "bf16",
        "validation_split": 0.0,
        "lora": {"rank": 8, "alpha": 16},
    }
    if model == "wide" and not place.cpu and read_memory_mib()[1] < 40_000:
        settings |= {"batch_size": 2, "gradient_accumulation": 4}
    student = {"model": str(place.models[model])}
    return Config.model_validate({"run_dir": folder, "student": student, "train": settings | train})


def check_stop(place: Place) -> Iterator[Row]:
    """The training `whole` is what `check_merged` and `check_engine` use."""
    settings: dict[str, Any] = {"epochs": 12, "validation_split": 0.1, "eval_steps": 10, "checkpoint_steps": 10}
    whole, stopped = (make_config(place, "tiny", run, **settings) for run in ("whole", "stopped"))
    for config in (whole, stopped):
        (config.run_dir / "config.yaml").write_text(dump_config(config))
    first = start_training(whole)
    assert first.wait() == 0, f"the training ended with status {first.returncode}"
    second = start_training(stopped)
    log = stopped.run_dir / "train/log.jsonl"
    while second.poll() is None and not (log.exists() and len(log.read_text().splitlines()) > 15):
        time.sleep(0.02)
    second.send_signal(signal.SIGTERM)
    status = second.wait()
    done = len(log.read_text().splitlines())
    resumed = start_training(stopped).wait()
    expected, got = (
        [json.loads(line) for line in (run.run_dir / "train/log.jsonl").open()] for run in (whole, stopped)
    )
    losses = [[line["loss"] or line["validation_loss"] for line in lines] for lines in (expected, got)]
    same_steps = [line["id"] for line in expected] == [line["id"] for line in got]
    apart = max(abs(a / b - 1) for a, b in zip(*losses, strict=False))
    detail = f"stopped (status {status}) after {done} of {len(expected)} lines, resumed (status {resumed}): "
    holds = (status, resumed) == (130, 0) and same_steps and apart < 0.05
    yield judge("stop and resume", holds, f"{detail}losses {apart:.1e} apart at most", loss_error=apart)
    summary = json.loads((whole.run_dir / "train/summary.json").read_text())
    validations = {line["step"]: line["validation_loss"] for line in expected if line["validation_loss"] is not None}
    best = min((step for step in validations if step), key=lambda step: validations[step])
    exported = (whole.run_dir / "train/merged/config.json").exists()
    detail = f"step {summary['kept_step']} of {summary['steps']}, the best by validation loss is {best}"
    yield judge("best weights exported", exported and summary["kept_step"] == best, detail)


def start_training(config: Config) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "drp", "train", str(config.run_dir / "config.yaml")]
    return subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr)


def check_merged(place: Place) -> Iterator[Row]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    folder = place.folder / "runs/whole/train"
    if not (folder / "merged/config.json").exists():
        yield skip("merged against adapter", "part `stop` has trained nothing")
        return
    rows = [json.loads(line)["input_ids"] for line in (folder / "sft.jsonl").open()][:16]

    def compute(model: Any) -> list[torch.Tensor]:
        with torch.no_grad():
            return [model(torch.tensor([ids], device=place.device)).logits[0].float().log_softmax(-1) for ids in rows]

    def load(path: Path) -> Any:
        return AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).to(place.device).eval()

    base = load(TINY)
    plain = compute(base)
    adapted = compute(PeftModel.from_pretrained(base, str(folder / "adapter")).eval())
    merged = compute(load(folder / "merged"))

    def measure(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
        return float(torch.cat([(x - y).abs().mean(-1) for x, y in zip(a, b, strict=True)]).mean())

    error, effect = measure(merged, adapted), measure(adapted, plain)
    detail = f"log-probabilities {error:.4f} apart (rounding to bfloat16), the adapter changes them by {effect:.3f}"
    yield judge("merged against adapter", error < 0.1 * effect, detail, error=error, effect=effect)


def check_engine(place: Place) -> Iterator[Row]:
    trained = place.folder / "runs/whole/train"
    before, _ = read_memory_mib()
    greedy = {}
    with closing(open_engine(place, TINY, 0.6)) as sampler:
        responses, rate = sample(place, sampler)
        again, _ = sample(place, sampler)
        others, _ = sample(place, sampler, first=1000)
    same, different = (share_of_equal(responses, drawn) for drawn in (again, others))
    yield judge("engine samples", bool(responses), f"{rate:,.0f} tokens/s from tiny", tokens_per_s=rate)
    detail = f"{same:.0%} of the responses are the same again, {different:.0%} in a stream with other ids"
    yield judge("engine seeds", same > 0.9 and different < 0.5, detail, same=same, different=different)
    yield judge_memory(place, "engine memory after closing", before)
    with closing(open_engine(place, place.models["wide"], 0.6, compiled=True)) as sampler:
        responses, rate = sample(place, sampler)
    detail = f"{rate:,.0f} tokens/s from wide"
    yield judge("engine second model", bool(responses), detail, tokens_per_s=rate)
    yield judge_memory(place, "engine memory after second", before)
    if not (trained / "adapter").exists():
        yield skip("engine adapter", "part `stop` has trained nothing")
        return
    for name, model, adapter in (("adapter", TINY, str(trained / "adapter")), ("merged", trained / "merged", None)):
        with closing(open_engine(place, model, 0.0, adapter=adapter)) as sampler:
            greedy[name], _ = sample(place, sampler)
    # The merged weights are rounded, which changes a token now and then, and all that follow it.
    same = share_of_equal(*({number: text[:40] for number, text in drawn.items()} for drawn in greedy.values()))
    detail = f"{same:.0%} of greedy responses begin as the merged model's, over 40 characters"
    yield judge("engine adapter", same >= 0.6, detail, same=same)


def open_engine(
    place: Place, model: Path, temperature: float, *, adapter: str | None = None, compiled: bool = False
) -> Any:
    from drp.student.engines import open_engines

    engine = EngineSettings(max_model_len=1024, enforce_eager=not compiled, gpu_memory_utilization=0.8)
    sampling = SamplingSettings(temperature=temperature, max_new_tokens=place.sizes.new_tokens)
    return open_engines(StudentSettings(model=str(model)), engine, sampling, 0, adapter=adapter)


def sample(place: Place, sampler: Any, first: int = 0) -> tuple[dict[int, str], float]:
    """Responses to the same questions, by their place, and tokens per second. first: the number of the first id."""
    from drp.student.base import Completion, SamplingRequest

    questions = [record["question"] for record in make_records(place.sizes.responses, 100)]
    requests = [
        SamplingRequest(f"q-{number}#0", sampler.format.prompt_ids(question))
        for number, question in enumerate(questions, first)
    ]
    started = time.perf_counter()
    done = [drawn for drawn in sampler.sample(iter(requests)) if isinstance(drawn, Completion)]
    rate = sum(drawn.n_tokens for drawn in done) / (time.perf_counter() - started)
    return {int(drawn.id[2:-2]) - first: drawn.text for drawn in done}, rate


def share_of_equal(some: dict[int, str], others: dict[int, str]) -> float:
    return sum(others.get(number) == text for number, text in some.items()) / len(some)


def check_kill(place: Place) -> Iterator[Row]:
    import psutil

    before, _ = read_memory_mib()
    holder = subprocess.Popen(
        make_command("hold", place.folder, place.cpu), stdout=subprocess.PIPE, stderr=sys.stderr, text=True
    )
    assert holder.stdout
    ready = any(line == "ready\n" for line in holder.stdout)
    family = psutil.Process(holder.pid).children(recursive=True) if ready else []
    holder.kill()
    holder.wait()
    _, alive = psutil.wait_procs(family, timeout=20)
    detail = f"{len(family)} processes beside the engine's, {len(alive)} alive after 20 s"
    yield judge("kill leaves no process", ready and not alive, detail if ready else "the engine did not start")
    yield judge_memory(place, "kill frees the memory", before)


def hold_engine(place: Place) -> None:
    """Sample until killed."""
    with closing(open_engine(place, TINY, 0.6)) as sampler:
        sample(place, sampler)
        print("ready", flush=True)
        while True:
            sample(place, sampler)


# -- Memory ----------------------------------------------------------------------------------------------------------


def read_memory_mib() -> tuple[int, int]:
    """Memory of the first visible GPU: used, by all processes, and in all; 0, 0 without one, or for a part of one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    command = ["nvidia-smi", f"--id={visible}", "--query-gpu=memory.used,memory.total", "--format=csv,noheader,nounits"]
    if not visible or not find_gpus():
        return 0, 0
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used, total = (part.strip() for part in answer.split(","))
    return (int(used), int(total)) if used.isdigit() and total.isdigit() else (0, 0)


def judge_memory(place: Place, check: str, before: int) -> Row:
    """Wait up to 20 s until the GPU's used memory is as before."""
    if place.cpu:
        return skip(check, NO_GPU)
    limit = time.monotonic() + 20
    while (kept := read_memory_mib()[0] - before) > MEMORY_TOLERANCE_MIB and time.monotonic() < limit:
        time.sleep(0.5)
    return judge(check, kept <= MEMORY_TOLERANCE_MIB, f"{kept} MiB more than before", kept_mib=kept)


def clear_memory(place: Place) -> None:
    """Free what an earlier training has left, and measure the peak anew."""
    import torch

    gc.collect()
    if not place.cpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def remove(folder: Path) -> None:
    """Remove a run with its merged model, which takes gigabytes."""
    import shutil

    shutil.rmtree(folder)


PARTS: dict[str, Callable[[Place], Iterable[Row]]] = {
    "models": make_models,
    "environment": check_environment,
    "attention": check_attention,
    "layouts": check_layouts,
    "tiny": lambda place: check_trainings(place, "tiny"),
    "wide": lambda place: check_trainings(place, "wide"),
    "stop": check_stop,
    "merged": check_merged,
    "engine": check_engine,
    "kill": check_kill,
}

if __name__ == "__main__":
    sys.exit(main())
