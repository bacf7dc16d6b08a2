from pathlib import Path

import pytest
import yaml

from drp.config.loading import load_config
from drp.config.sections import Config
from drp.errors import ConfigError

MINIMAL = "run_dir: runs/x\nstudent: {model: a}\n"


def load(tmp_path: Path, text: str, *overrides: str) -> Config:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_config(path, overrides)


def message(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides)
    return str(caught.value)


def test_defaults_are_the_papers(tmp_path: Path) -> None:
    train = load(tmp_path, MINIMAL).train
    assert (train.epochs, train.batch_size, train.gradient_accumulation, train.learning_rate) == (3, 2, 4, 3e-5)
    assert (train.schedule, train.warmup_ratio, train.cutoff_tokens, train.max_samples) == ("cosine", 0.1, 4096, 8000)
    assert (train.validation_split, train.eval_steps) == (0.05, 300)


@pytest.mark.parametrize("written", ["3e-5", "3E-5", "3.0e-5", "0.00003", ".3e-4"])
def test_scientific_notation_is_a_number(tmp_path: Path, written: str) -> None:
    assert load(tmp_path, MINIMAL + f"train: {{learning_rate: {written}}}\n").train.learning_rate == 3e-5


def test_an_unknown_key_names_its_place_and_the_nearest_right_one(tmp_path: Path) -> None:
    text = message(tmp_path, MINIMAL + "train: {learning_rte: 1}\n")
    assert "`train.learning_rte`" in text
    assert "did you mean `learning_rate`?" in text


def test_an_unknown_key_inside_a_list_is_found(tmp_path: Path) -> None:
    text = message(tmp_path, MINIMAL + "generate: {problems: [{name: a, colums: {question: q}}]}\n")
    assert "`generate.problems.0.colums`" in text
    assert "did you mean `columns`?" in text


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    text = message(tmp_path, "run_dir: x\ntrain: {epochs: -1, lora: {rnk: 2}}\n")
    assert "`student` is missing" in text
    assert "`train.epochs`" in text
    assert "got -1" in text
    assert "`rank`" in text


def test_a_duplicate_key_is_refused_with_its_line(tmp_path: Path) -> None:
    text = message(tmp_path, "run_dir: a\nstudent: {model: a}\nrun_dir: b\n")
    assert "config.yaml:3" in text
    assert "duplicate key 'run_dir'" in text


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n", "a: [\n", "1: 2\n", "{[a]: 3}\n"])
def test_a_file_that_is_no_configuration_is_an_error(tmp_path: Path, text: str) -> None:
    assert "config.yaml" in message(tmp_path, text)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config(tmp_path / "none.yaml")


def test_overrides_are_typed_as_yaml(tmp_path: Path) -> None:
    config = load(tmp_path, MINIMAL, "train.lora.rank=4", "train.learning_rate=1e-3", "engine.enforce_eager=true")
    assert (config.train.lora.rank, config.train.learning_rate, config.engine.enforce_eager) == (4, 1e-3, True)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("train.learning_rte=1", "did you mean `learning_rate`"),
        ("train", "expected section.key=value"),
        ("seed.x=1", "has no keys of its own"),
        ("seed=[", "--set seed"),
    ],
)
def test_a_wrong_override_is_an_error(tmp_path: Path, override: str, expected: str) -> None:
    assert expected in message(tmp_path, MINIMAL + "seed: 1\n", override)


def test_an_extending_file_sets_only_its_differences(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(MINIMAL + "train: {epochs: 5, lora: {rank: 3}}\nteacher: {provider: rules}\n")
    config = load(tmp_path, "extends: base.yaml\nseed: 4\ntrain: {lora: {alpha: 9}}\n", "train.epochs=6")
    assert (config.seed, config.train.epochs, config.train.lora.rank, config.train.lora.alpha) == (4, 6, 3, 9)


def test_a_circle_of_extensions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: config.yaml\n")
    assert "extends itself" in message(tmp_path, "extends: base.yaml\n")


def test_a_provider_without_a_model_is_refused(tmp_path: Path) -> None:
    assert "set teacher.model" in message(tmp_path, MINIMAL + "teacher: {provider: openai}\n")


def test_operational_keys_are_no_part_of_the_identity(tmp_path: Path) -> None:
    calm = load(tmp_path, MINIMAL, "teacher.concurrency=1", "eval.cutoff_tokens=10")
    busy = load(tmp_path, MINIMAL, "teacher.concurrency=99", "eval.cutoff_tokens=20")
    other = load(tmp_path, MINIMAL, "teacher.temperature=1")
    assert calm.identity() == busy.identity()
    assert calm.identity() != other.identity()


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_configuration_loads_and_says_how_to_run_it(path: Path) -> None:
    load_config(path)
    text = path.read_text()
    assert text.startswith("#")
    assert "drp run" in text or "make " in text
    assert isinstance(yaml.safe_load(text), dict)
