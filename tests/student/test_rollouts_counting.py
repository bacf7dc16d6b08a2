"""Token counts of eval records against the token ids that the engines gave, with the student that ships: greedy and
sampled, cut off and finished. A response's tokens are all that the engine generated, the end-of-sequence token too.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from drp.config.sections import EngineSettings, GradingSettings, SamplingSettings
from drp.grading import Grader
from drp.records import Failure, Sample
from drp.stages.evaluate import build_sample
from drp.student.response import ChatFormat, load_tokenizer, split_response
from drp.student.rollouts import draw, grade_responses, read_rollouts
from drp.student.sampler import open_sampler
from tests.conftest import REPOSITORY

STUDENT = str(REPOSITORY / "data" / "tiny" / "model")
GREEDY = SamplingSettings(temperature=0, max_new_tokens=110)
SAMPLED = SamplingSettings(n=2, temperature=0.6, max_new_tokens=110)
Ids = list[int]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return load_tokenizer(STUDENT)


@pytest.fixture(scope="module", params=["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def sampler(request: pytest.FixtureRequest) -> Iterator[Any]:
    engine = EngineSettings(backend=request.param, dtype="float32", max_num_seqs=8, batch_size=8)
    sampler = open_sampler(STUDENT, engine, GREEDY, seed=0)
    yield sampler
    sampler.close()


def listen_to_vllm(engine: Any, heard: list[Ids], monkeypatch: pytest.MonkeyPatch) -> None:
    step = engine.step

    def listen() -> Any:
        outputs = step()
        heard.extend(list(output.outputs[0].token_ids) for output in outputs)
        return outputs

    monkeypatch.setattr(engine, "step", listen)


def listen_to_transformers(model: Any, heard: list[Ids], end: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generate = model.generate

    def listen(input_ids: Any, **arguments: Any) -> Any:
        drawn = generate(input_ids=input_ids, **arguments)
        for row in drawn[:, input_ids.shape[1] :].tolist():
            heard.append(row[: row.index(end) + 1] if end in row else row)
        return drawn

    monkeypatch.setattr(model, "generate", listen)


@pytest.fixture
def evaluate(
    sampler: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> Callable[[SamplingSettings], list[tuple[Sample, Ids]]]:
    """Eval records, each with the ids as the engine itself gave them; both come in one order."""
    heard: list[Ids] = []
    if hasattr(sampler, "_engine"):
        listen_to_vllm(sampler._engine, heard, monkeypatch)
    else:
        listen_to_transformers(sampler._model, heard, tokenizer.eos_token_id, monkeypatch)

    def run(settings: SamplingSettings) -> list[tuple[Sample, Ids]]:
        monkeypatch.setattr(sampler, "_sampling", settings)
        problems = list(read_rollouts(REPOSITORY / "data" / "tiny" / "test.jsonl", settings.n))
        with Grader(GradingSettings(workers=1)) as grader:
            drawn = list(draw(((0, one) for one in problems[:24]), sampler, ChatFormat(tokenizer)))  # type: ignore[misc]
            graded = [outcome for _, outcome in grade_responses(iter(drawn), grader)]
        by_id = {one.rollout.id: build_sample(one) for one in graded if not isinstance(one, Failure)}
        samples = [by_id[rollout.id] for _, rollout, _ in drawn]
        assert len(samples) == 24
        return list(zip(samples, heard, strict=True))

    return run


@pytest.mark.parametrize("settings", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_counts_are_those_of_the_engines_ids(evaluate: Any, tokenizer: Any, settings: SamplingSettings) -> None:
    closing, end = tokenizer.convert_tokens_to_ids("</think>"), tokenizer.eos_token_id
    reasons, thinking_cut = set(), 0
    for sample, ids in evaluate(settings):
        assert sample.n_tokens == len(ids)
        assert sample.n_tokens <= settings.max_new_tokens
        assert sample.finish_reason == ("stop" if ids[-1] == end else "length")
        assert end not in ids[:-1]
        assert sample.n_thinking_tokens == (ids.index(closing) if closing in ids else len(ids))
        parts = split_response(sample.response)
        n = sample.n_thinking_tokens
        assert tokenizer.decode(ids[:n]).strip() == parts.thinking
        assert tokenizer.decode([token for token in ids[n + 1 :] if token != end]).strip() == parts.summary
        if closing not in ids:
            assert (sample.predicted, sample.correct) == (None, False), "unfinished thinking was graded"
        reasons.add(sample.finish_reason)
        thinking_cut += closing not in ids
    assert reasons == {"stop", "length"}
    assert thinking_cut


GREEDY_RECORDS: dict[str, Sample] = {}


def test_both_engines_make_the_same_greedy_records(evaluate: Any) -> None:
    """The second engine to run is held against the first."""
    for sample, _ in evaluate(GREEDY):
        assert GREEDY_RECORDS.setdefault(sample.id, sample) == sample
