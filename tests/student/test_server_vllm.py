"""The server backend against vLLM's own server, which conftest.py starts while other tests run."""

import pytest

from drp.config.sections import EngineSettings, SamplingSettings
from drp.student.sampler import open_sampler
from tests.student.conftest import MAX_MODEL_LEN

GREEDY = SamplingSettings(temperature=0, max_new_tokens=30)


@pytest.mark.vllm
def test_vllm_server_gives_the_responses_of_transformers(address, student, requests):
    served = open_sampler(str(student), EngineSettings(backend="server", base_url=address, max_num_seqs=4), GREEDY, 0)
    assert served.max_model_len == MAX_MODEL_LEN
    local = open_sampler(str(student), EngineSettings(backend="transformers", dtype="float32"), GREEDY, 0)
    drawn = {one.id: one for one in served.sample(iter(requests))}
    assert drawn == {one.id: one for one in local.sample(iter(requests))}
    served.close()
    local.close()
