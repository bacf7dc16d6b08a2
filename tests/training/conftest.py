from pathlib import Path

import pytest
import torch

from drp.config.sections import Config
from drp.training.summary import TrainSummary
from tests.tiny import save_student
from tests.training.runs import prepare, run


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Models this small only lose time to a second thread, and CI has few cores.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_student(tmp_path_factory.mktemp("student"), dtype=torch.bfloat16)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, student: Path) -> tuple[Config, TrainSummary]:
    config = prepare(tmp_path_factory.mktemp("finished"), student)
    return config, run(config)
