"""The configuration stored in a run directory: by which stages, and without credentials."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from drp.cli import app
from drp.config.loading import dump_config, load_config, load_stored_config, storing_config
from drp.config.sections import Config
from drp.credentials import hide_credentials
from drp.errors import InputError

SECRETS = {
    "student": {"model": "m"},
    "teacher": {"provider": "openai", "model": "m", "base_url": "http://me:s3cret@host:8000/v1?api_key=s3cret&x=1"},
    "engine": {"backend": "server", "base_url": "https://s3cret@host/v1"},
}


def make_config(root: Path, **sections: object) -> Config:
    return Config.model_validate({"run_dir": str(root), "student": {"model": "m"}, **sections})


def test_a_stored_configuration_loads_after_its_run_directory_was_moved(tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    config = make_config(root, seed=7, train={"learning_rate": 3e-5}, eval={"benchmarks": [{"name": "math500"}]})
    with storing_config(config):
        pass
    assert load_stored_config(root) == config
    moved = root.rename(tmp_path / "moved")
    assert load_stored_config(moved, ["seed=8"]) == config.model_copy(update={"run_dir": moved, "seed": 8})


def test_no_password_or_key_is_stored_or_part_of_a_fingerprint(tmp_path: Path) -> None:
    config = make_config(tmp_path, **SECRETS)
    assert config.teacher.base_url == SECRETS["teacher"]["base_url"]
    for text in (dump_config(config), str(config.identity())):
        assert "s3cret" not in text
        assert "http://***@host:8000/v1?api_key=***&x=1" in text


@pytest.mark.parametrize("text", ["a@b", "user:pass@host", "http://host/v1", "https://host/a@b?x=1", "data/tiny"])
def test_a_text_without_credentials_is_unchanged(text: str) -> None:
    assert hide_credentials(text) == text


def test_a_refused_configuration_does_not_replace_the_stored_one(tmp_path: Path) -> None:
    with storing_config(make_config(tmp_path, seed=1)):
        pass
    with pytest.raises(InputError), storing_config(make_config(tmp_path, seed=2)):
        raise InputError("made with another configuration")
    assert load_stored_config(tmp_path).seed == 1
    with pytest.raises(KeyboardInterrupt), storing_config(make_config(tmp_path, seed=3)):
        raise KeyboardInterrupt
    assert load_stored_config(tmp_path).seed == 3


def test_nothing_is_stored_in_a_dry_run_or_without_a_run_directory(tmp_path: Path) -> None:
    with storing_config(make_config(tmp_path), dry_run=True):
        pass
    with storing_config(make_config(tmp_path / "none")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_stage_stores_the_configuration_that_it_ran_with(tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    (root / "traces.jsonl").write_text("")
    (tmp_path / "c.yaml").write_text(f"run_dir: {root}\nstudent: {{model: m}}\n")
    done = CliRunner().invoke(app, ["decompose", str(tmp_path / "c.yaml"), "--set", "seed=5"])
    assert done.exit_code == 0, done.output
    assert load_config(root / "effective-config.yaml").seed == 5


def test_only_the_first_process_of_a_launcher_stores_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    with storing_config(make_config(tmp_path, seed=1)):
        pass
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setenv("RANK", "0")
    with storing_config(make_config(tmp_path, seed=2)):
        pass
    assert load_stored_config(tmp_path).seed == 2
