"""The manifest of an artifact, here of a folder."""

from pathlib import Path
from typing import Any

import pytest

from drp.errors import InputError
from drp.runs.manifest import InputDigest, Manifest, load_manifest, prepare_manifest, remove_artifact


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "train"


def prepare(folder: Path, **fingerprint: Any) -> Manifest:
    source = folder.with_name("in.jsonl")
    source.touch()
    return prepare_manifest("train", folder, fingerprint, [source], parts=[folder / "adapter", folder / "log.jsonl"])


def run(folder: Path, **fingerprint: Any) -> None:
    with prepare(folder, **fingerprint).track(folder):
        (folder / "adapter").mkdir(parents=True)
        (folder / "adapter" / "weights").write_text("1")


def end_with(error: type[BaseException], folder: Path) -> Manifest:
    """The manifest of a run that ends with an exception."""
    with pytest.raises(error), prepare(folder, lr=1).track(folder):
        raise error
    return load(folder)


def load(folder: Path) -> Manifest:
    manifest = load_manifest(folder)
    assert manifest is not None
    return manifest


def test_state_and_working_time_are_saved_over_all_runs(folder: Path) -> None:
    assert end_with(ZeroDivisionError, folder).state == "failed"
    run(folder, lr=1)
    interrupted = end_with(KeyboardInterrupt, folder)
    assert interrupted.state == "interrupted"
    with prepare(folder, lr=1).track(folder):
        assert load(folder).state == "running"
    complete = load(folder)
    assert complete.state == "complete"
    assert complete.seconds > interrupted.seconds > 0
    assert complete.started == interrupted.started


def test_a_changed_fingerprint_is_refused_unless_nothing_was_written(folder: Path) -> None:
    with prepare(folder, lr=1).track(folder):
        (folder / "adapter").mkdir(parents=True)
    (folder / "adapter").rmdir()
    run(folder, lr=2, schedule=("a", "b"))
    prepare(folder, lr=2, schedule=("a", "b"))
    with pytest.raises(InputError, match=r"lr: 2 -> 3"):
        prepare(folder, lr=3, schedule=("a", "b"))


def test_a_folder_without_a_manifest_is_refused(folder: Path) -> None:
    (folder / "adapter").mkdir(parents=True)
    prepare(folder)
    (folder / "adapter" / "weights").write_text("1")
    with pytest.raises(InputError, match="has no manifest"):
        prepare(folder)


def test_an_artifact_is_removed_with_its_manifest_and_other_files_stay(folder: Path) -> None:
    run(folder)
    (folder / "notes.txt").write_text("mine")
    remove_artifact(folder, [folder / "adapter", folder / "log.jsonl"])
    assert load_manifest(folder) is None
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_the_lines_of_an_input_are_known_but_not_written(folder: Path) -> None:
    folder.with_name("in.jsonl").write_text("{}\n{}\n")
    manifest = prepare(folder)
    assert manifest.inputs["0:in.jsonl"].n_lines == 2
    assert "n_lines" not in manifest.model_dump_json()


def test_a_digest_of_a_prefix_survives_growth(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("one\n")
    before = InputDigest.of(path)
    path.write_text("one\ntwo\n")
    after = InputDigest.of(path, before.n_bytes)
    assert after.prefix_sha256 == before.sha256 != after.sha256
    assert (after.n_bytes, after.n_lines) == (8, 2)
    assert InputDigest.of(path).sha256 == after.sha256
    assert InputDigest.of(path, 9).prefix_sha256 is None
