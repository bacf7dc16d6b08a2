"""The store of replies: found again, whole lines only, one writer, money counted."""

import json
from pathlib import Path

import pytest

from drp.chat.store import ReplyStore, StoredReply, hash_request
from drp.chat.wire import Message
from drp.errors import InputError
from drp.records import Usage


def reply_to(question: str, text: str = "42", cost_usd: float | None = 0.5, finish: str = "stop") -> StoredReply:
    usage = Usage(calls=1, input_tokens=10, output_tokens=20, cost_usd=cost_usd)
    return StoredReply(
        id=hash_of(question), provider="openai", model="m", text=text, finish_reason=finish, usage=usage, time="2026"
    )


def hash_of(question: str) -> str:
    return hash_request("http://x", "m", [Message("user", question)], 0.0, 100)


def test_a_reply_is_found_at_once_and_after_reopening(path: Path) -> None:
    replies = [reply_to(f"q{i}", text=f"Antwort {i}: ½ · π\n\n" * i) for i in range(50)]
    with ReplyStore(path) as store:
        for reply in replies:
            store.append(reply)
            assert store.find(reply.id) == reply
    with ReplyStore(path) as store:
        assert [store.find(reply.id) for reply in replies] == replies
        assert store.find(hash_of("never asked")) is None
        assert len(store) == 50


@pytest.mark.parametrize("n_lost", [1, 5, 100])
def test_a_torn_last_line_is_cut_off_and_the_rest_kept(path: Path, n_lost: int) -> None:
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


def test_a_spoilt_line_is_named(path: Path) -> None:
    with ReplyStore(path) as store:
        store.append(reply_to("a"))
    path.write_text('{"id": 3}\n' + path.read_text())
    with pytest.raises(InputError, match=r"replies\.jsonl:1: not a stored reply"):
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
    requests = [
        ("http://x", "m", [ask], 0.0, 1),
        ("http://y", "m", [ask], 0.0, 1),
        ("http://x", "n", [ask], 0.0, 1),
        ("http://x", "m", [tell], 0.0, 1),
        ("http://x", "m", [ask, ask], 0.0, 1),
        ("http://x", "m", [Message("user", "a"), Message("user", "b")], 0.0, 1),
        ("http://x", "m", [Message("user", "ab\ud83d")], 0.0, 1),
        ("http://x", "m", [ask], 0.5, 1),
        ("http://x", "m", [ask], 0.0, 2),
    ]
    assert len({hash_request(*request) for request in requests}) == len(requests)
