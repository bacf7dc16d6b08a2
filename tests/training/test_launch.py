"""Several processes compute the same steps as one and use each example once per epoch; a kill or a stop ends all."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from drp.config.loading import dump_config
from drp.config.sections import Config
from drp.errors import ConfigError, DrpError
from drp.training.batches import FILLER, EpochSampler, add_fillers, join_examples, pad_examples
from drp.training.checkpoints import is_sharded
from drp.training.launch import check_machine, launch_processes
from tests.tiny import make_config
from tests.training.runs import ADAPTER, prepare, read_log, run
from tests.training.test_batches import make_examples

# 17 examples to train on make nine micro-batches, so that in the last one of an epoch one process gets no example.
SETTINGS = {"batch_size": 2, "gradient_accumulation": 4, "epochs": 15, "eval_steps": 20, "checkpoint_steps": 3}

# How long to wait for a subprocess before the test fails. Importing torch in three processes takes two minutes when all
# cores are busy.
WAIT_S = 240


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, student: Path) -> Path:
    config = prepare(tmp_path_factory.mktemp("alone"), student, 19, **SETTINGS)
    run(config)
    return config.run_dir


def start(config: Config, **variables: str) -> "subprocess.Popen[str]":
    path = config.run_dir / "config.yaml"
    path.write_text(dump_config(config))
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    return subprocess.Popen(
        [sys.executable, "-m", "drp", "train", str(path)], stderr=subprocess.PIPE, text=True, env=environment
    )


def wait_for_step(process: "subprocess.Popen[str]", folder: Path, step: int) -> None:
    limit = time.monotonic() + WAIT_S
    log = folder / "train/log.jsonl"
    while not (log.exists() and len(log.read_text().splitlines()) > step):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit, f"step {step} was not reached"
        time.sleep(0.02)


def check_same(alone: Path, several: Path) -> None:
    """Compare tokens exactly, losses to 1e-4 (relative), weights within the rounding errors of 45 steps."""
    expected, got = read_log(alone), read_log(several)
    assert [(line.id, line.n_tokens, line.n_response_tokens, line.lr) for line in expected] == [
        (line.id, line.n_tokens, line.n_response_tokens, line.lr) for line in got
    ]
    losses, others = ([line.loss or line.validation_loss for line in lines] for lines in (got, expected))
    assert losses == pytest.approx(others, rel=1e-4)
    weights, same = (load_file(folder / "train" / ADAPTER) for folder in (alone, several))
    assert weights.keys() == same.keys()
    assert max(float((weights[name] - same[name]).abs().max()) for name in weights) < 2e-3
    merged, other = (load_file(folder / "train/merged/model.safetensors") for folder in (alone, several))
    for name, weight in merged.items():
        torch.testing.assert_close(other[name], weight, rtol=0.01, atol=0.01)  # bfloat16


@pytest.mark.slow
def test_two_processes_that_are_killed_and_resumed_as_one_make_the_same_steps(
    alone: Path, student: Path, tmp_path: Path
) -> None:
    config = prepare(tmp_path, student, 19, **SETTINGS, num_processes=2)
    process = start(config)
    wait_for_step(process, tmp_path, 8)
    ranks = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    _, alive = psutil.wait_procs(ranks, timeout=10)
    assert not alive, "a killed training left processes behind"
    done = len(read_log(tmp_path))
    assert done < len(read_log(alone))
    run(make_config(student, tmp_path, **SETTINGS))
    check_same(alone, tmp_path)


@pytest.mark.slow
def test_a_sharded_training_stops_with_a_checkpoint_and_makes_the_same_steps(
    alone: Path, student: Path, tmp_path: Path
) -> None:
    sharded = {"num_processes": 2, "strategy": "fsdp", "gradient_checkpointing": True}
    config = prepare(tmp_path, student, 19, **SETTINGS, **sharded)
    process = start(config)
    wait_for_step(process, tmp_path, 4)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert errors.count("drp:") == errors.count("drp: interrupted") == 1
    assert "Traceback" not in errors
    assert all(is_sharded(path) for path in (tmp_path / "train/checkpoints").iterdir())
    last = max(int(path.name.split("-")[1]) for path in (tmp_path / "train/checkpoints").glob("checkpoint-*"))
    assert last == read_log(tmp_path)[-1].step
    summary = run(config)
    assert summary.setup.processes == 2
    check_same(alone, tmp_path)


@pytest.mark.slow
def test_a_launcher_can_end_a_process_whose_main_process_never_connects(student: Path, tmp_path: Path) -> None:
    config = prepare(tmp_path, student, 19, **SETTINGS)
    with socket.create_server(("127.0.0.1", 0)) as leader:
        leader.settimeout(WAIT_S)
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(leader.getsockname()[1])}
        process = start(config, RANK="1", LOCAL_RANK="1", WORLD_SIZE="2", **address)
        try:
            met, _ = leader.accept()
            process.terminate()
            _, errors = process.communicate(timeout=10)
            met.close()
        finally:
            process.kill()
    assert process.returncode == -signal.SIGTERM
    assert "drp:" not in errors


def fail_on_purpose() -> None:
    if os.environ["RANK"] == "1":
        raise ValueError("the second process failed")


@pytest.mark.slow
def test_a_process_that_fails_is_reported_with_its_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DrpError, match="process 1 failed: ValueError: the second process failed"):
        launch_processes(2, fail_on_purpose)
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("n_examples", [8, 9, 12, 17])
def test_every_example_is_used_once_per_epoch_and_all_processes_have_equally_many_batches(n_examples: int) -> None:
    from accelerate.data_loader import BatchSamplerShard
    from torch.utils.data import BatchSampler

    for sampler in (
        EpochSampler([5] * n_examples, seed=0, group=None, round_to=4),
        add_fillers(range(n_examples), round_to=4),
    ):
        shards = [list(BatchSamplerShard(BatchSampler(sampler, 2, drop_last=False), 2, rank)) for rank in (0, 1)]
        assert len(shards[0]) == len(shards[1])
        used = [index for shard in shards for batch in shard for index in batch if index < n_examples]
        assert sorted(used) == list(range(n_examples))


def test_a_filler_is_dropped_beside_examples_and_has_no_loss_alone() -> None:
    examples = make_examples()
    for lay in (join_examples, pad_examples):
        with_filler, without = lay([*examples, FILLER]), lay(examples)
        assert with_filler["ids"] == without["ids"]
        assert torch.equal(with_filler["inputs"]["input_ids"], without["inputs"]["input_ids"])
        alone = lay([FILLER, FILLER])
        assert (alone["ids"], alone["n_tokens"], alone["n_targets"]) == ([], 0, 0)


def test_steps_that_cannot_be_divided_among_the_processes_are_refused(student: Path, tmp_path: Path) -> None:
    for settings, message in (
        ({"gradient_accumulation": 4, "num_processes": 3}, r"gradient_accumulation.*multiple of 3"),
        ({"strategy": "fsdp"}, r"train\.num_processes"),
        ({"strategy": "fsdp", "num_processes": 2, "method": "qlora"}, "4 bits"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_machine(make_config(student, tmp_path, **settings).train)  # type: ignore[arg-type]
