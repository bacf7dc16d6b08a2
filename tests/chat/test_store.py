"""The store of replies: found again, complete lines only, one writer, and what each stage paid."""

import json
from pathlib import Path

import pytest

from drp.chat.store import ReplyStore, StoredReply, hash_request
from drp.chat.wire import Message
from drp.config.sections import TeacherSettings
from drp.errors import InputError
from drp.records import Usage
from tests.chat.conftest import read_store


def reply_to(question: str, text: str = "42", cost_usd: float | None = 0.5, finish: str = "stop") -> StoredReply:
    usage = Usage(calls=1, input_tokens=10, output_tokens=20, cost_usd=cost_usd)
    return StoredReply(
        id=hash_of(question), provider="openai", model="m", text=text, finish_reason=finish, usage=usage, time="2026"
    )


def hash_of(question: str) -> str:
    return hash_request(TeacherSettings(provider="openai", model="m"), "http://x", [Message("user", question)])


def test_a_reply_is_found_at_once_and_after_reopening(path: Path) -> None:
    replies = [reply_to(f"q{i}", text=f"Antwort {i}: ½ · π\n\n" * i) for i in range(50)]
    with ReplyStore(path) as store:
        for reply in replies:
            store.append(reply)
            assert store.find(reply.id) == reply
    with ReplyStore(path) as store:
        assert [store.find(reply.id) for reply in replies] == replies
        assert store.find(hash_of("never asked")) is None
    assert len(read_store(path)) == 50


@pytest.mark.parametrize("n_lost", [1, 5, 100])
def test_an_incomplete_last_line_is_cut_off_and_the_rest_kept(path: Path, n_lost: int) -> None:
    with ReplyStore(path) as store:
        store.append(reply_to("a"))
        store.append(reply_to("b"))
    path.write_bytes(path.read_bytes()[:-n_lost])
    with ReplyStore(path) as store:
        assert store.find(hash_of("a"))
        assert store.find(hash_of("b")) is None
        store.append(reply_to("b"))
        assert store.find(hash_of("b"))
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [hash_of("a"), hash_of("b")]


def test_a_bad_line_is_named(path: Path) -> None:
    with ReplyStore(path) as store:
        store.append(reply_to("a"))
    path.write_text('{"id": 3}\n' + path.read_text())
    with pytest.raises(InputError, match=r"replies\.jsonl:1: field `id`.*; delete this line"):
        ReplyStore(path).open()


def test_a_second_process_is_refused_until_the_first_is_done(path: Path) -> None:
    store = ReplyStore(path).open()
    with pytest.raises(InputError, match="another drp"):
        ReplyStore(path).open()
    store.close()
    store.close()
    ReplyStore(path).open().close()


def test_dollars_are_summed_over_all_runs_and_unknown_ones_apart(path: Path) -> None:
    with ReplyStore(path) as store:
        store.append(reply_to("a", cost_usd=0.25))
        store.append(reply_to("b", cost_usd=None))
        store.append(reply_to("c", cost_usd=0.5, finish="empty"))
    with ReplyStore(path) as store:
        assert store.spent_usd == 0.75
        assert (store.unpriced.calls, store.unpriced.output_tokens) == (1, 20)
        assert store.find(hash_of("c")) is None, "an empty reply counts as spent, but is no reply"


def test_after_a_failed_write_nothing_more_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_file: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device", str(path))

    with ReplyStore(path) as store:
        store.append(reply_to("a"))
        with monkeypatch.context() as full:
            full.setattr("os.write", fail)
            with pytest.raises(InputError, match="no space left"):
                store.append(reply_to("b"))
        with pytest.raises(InputError, match="no space left"):
            store.append(reply_to("c"))
    assert len(path.read_text().splitlines()) == 1


def test_a_read_only_folder_is_a_clear_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file"):
        ReplyStore(tmp_path / "file" / "replies.jsonl").open()


def test_every_part_of_a_request_is_in_its_hash() -> None:
    ask, tell = Message("user", "ab"), Message("system", "ab")
    settings = TeacherSettings(provider="openai", model="m", temperature=0.0, max_output_tokens=1)
    requests = [
        (settings, "http://x", [ask]),
        (settings, "http://y", [ask]),
        (settings.model_copy(update={"model": "n"}), "http://x", [ask]),
        (settings, "http://x", [tell]),
        (settings, "http://x", [ask, ask]),
        (settings, "http://x", [Message("user", "a"), Message("user", "b")]),
        (settings, "http://x", [Message("user", "ab\ud83d")]),
        (settings.model_copy(update={"temperature": 0.5}), "http://x", [ask]),
        (settings.model_copy(update={"max_output_tokens": 2}), "http://x", [ask]),
    ]
    assert len({hash_request(*request) for request in requests}) == len(requests)


def test_a_hash_is_the_same_as_in_the_stores_of_earlier_versions() -> None:
    assert hash_of("q") == "4ef4b4f8aab917009d176f97b4fc0944e04baa8311b26991daa92de9c5da36eb"


def test_an_id_that_is_no_hash_names_its_line(path: Path) -> None:
    line = reply_to("a").model_copy(update={"id": "x"}).model_dump_json()
    path.write_text(line + "\n")
    with pytest.raises(InputError, match=r"replies\.jsonl:1: field `id`"):
        ReplyStore(path).open()


def test_paid_counts_the_replies_of_the_stores_stage(path: Path) -> None:
    def keep(stage: str, name: str, cost_usd: float | None) -> None:
        usage = Usage(calls=1, input_tokens=10, output_tokens=5, cost_usd=cost_usd)
        with ReplyStore(path, stage) as store:
            store.append(
                StoredReply(id=name * 64, provider="p", model="m", text="x", finish_reason="stop", usage=usage, time="")
            )

    keep("decompose", "a", 0.5)
    keep("prune", "b", 0.25)
    keep("decompose", "c", 0.125)
    assert [reply["stage"] for reply in read_store(path)] == ["decompose", "prune", "decompose"]
    with ReplyStore(path, "decompose") as store:
        assert store.paid == Usage(calls=2, input_tokens=20, output_tokens=10, cost_usd=0.625)
        assert store.spent_usd == 0.875
    keep("prune", "d", None)
    with ReplyStore(path, "prune") as store:
        assert (store.paid.calls, store.paid.cost_usd) == (2, None)
    with ReplyStore(path, "judge") as store:
        assert store.paid == Usage(cost_usd=0.0)
