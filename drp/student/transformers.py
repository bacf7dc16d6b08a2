"""The backend `transformers`: `model.generate` in batches. Slower than vLLM, and needs nothing beyond the installation.

Requests are read in windows of a few batches and sorted by prompt length, so that little is spent on padding.
"""

import gc
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from drp.config.sections import EngineSettings, SamplingSettings
from drp.errors import InputError, UserError, first_line
from drp.student.base import (
    GeneratedTokens,
    LocalSampler,
    Rejection,
    SamplingRequest,
    limit_response,
    limit_threads,
    reseed,
)
from drp.student.response import ChatFormat, Tokenizer

WINDOW_BATCHES = 8
"""Batches in a window of requests that are sorted by prompt length."""


class TransformersSampler(LocalSampler):
    """A student in transformers, on a GPU if torch sees one. Raises InputError if it cannot be loaded.

    config: transformers' configuration of the model, as `read_model_config` returns it.
    """

    def __init__(
        self,
        *,
        model: str,
        engine: EngineSettings,
        sampling: SamplingSettings,
        seed: int,
        format: ChatFormat,
        config: Any,
        revision: str | None = None,
        trust_remote_code: bool = False,
        adapter: str | None = None,
    ) -> None:
        super().__init__(format)
        self._sampling, self._seed = sampling, seed
        self._batch_size = engine.batch_size
        self._restore_threads: Callable[[], None] = lambda: None
        self._model: Any = _load_model(model, engine.dtype, config, revision, trust_remote_code)
        if adapter:
            self._model.load_adapter(adapter)
        if self._model.device.type == "cpu":
            self._restore_threads = limit_threads(self._model.num_parameters())
        own_limit = getattr(self._model.config, "max_position_embeddings", None)
        self.max_model_len: int | None = min(filter(None, (engine.max_model_len, own_limit)), default=None)
        self._ends = _end_tokens(self._model, format.tokenizer)
        # `generate` fills in what a call leaves unset from the model's own generation config, for example a top_k or a
        # repetition penalty. vLLM does not get them either, so they are cleared.
        self._model.generation_config = _generation_config()

    def sample_tokens(self, requests: Iterator[SamplingRequest]) -> Iterator[GeneratedTokens | Rejection]:
        """Sample one response for each request, batch by batch; within a window the shorter prompts come first."""
        while window := list(itertools.islice(requests, self._batch_size * WINDOW_BATCHES)):
            accepted: list[tuple[SamplingRequest, int]] = []
            for request in window:
                limit = limit_response(request, self._sampling.max_new_tokens, self.max_model_len)
                if isinstance(limit, Rejection):
                    yield limit
                else:
                    accepted.append((request, limit))
            accepted.sort(key=lambda item: len(item[0].prompt_ids))
            for start in range(0, len(accepted), self._batch_size):
                yield from self._draw(accepted[start : start + self._batch_size])

    def close(self) -> None:
        """Free the model's memory and restore torch's threads. A second call does nothing."""
        model, self._model = self._model, None
        if model is None:
            return
        on_gpu = model.device.type == "cuda"
        del model
        gc.collect()
        if on_gpu:
            import torch

            torch.cuda.empty_cache()
        self._restore_threads()

    def _draw(self, batch: list[tuple[SamplingRequest, int]]) -> Iterator[GeneratedTokens]:
        import torch

        reseed(self._seed, batch[0][0])
        prompts, mask = self._pad([request.prompt_ids for request, _ in batch])
        try:
            with torch.inference_mode():
                drawn = self._model.generate(
                    input_ids=prompts,
                    attention_mask=mask,
                    generation_config=self._configure(max(limit for _, limit in batch)),
                )
        except torch.OutOfMemoryError as error:
            raise UserError(f"the GPU's memory is full ({first_line(error)}): lower engine.batch_size") from error
        for (request, limit), row in zip(batch, drawn[:, prompts.shape[1] :].tolist(), strict=True):
            ids, reason = _cut_row(row, self._ends, limit)
            yield GeneratedTokens(request.id, ids, reason)

    def _pad(self, rows: list[list[int]]) -> tuple[Any, Any]:
        """Token ids and attention mask, both (batch, seq). Padded on the left, as generation appends on the right."""
        import torch

        width = max(map(len, rows))
        pads = [[self._ends[0]] * (width - len(row)) for row in rows]
        ids = torch.tensor([pad + row for pad, row in zip(pads, rows, strict=True)])
        mask = torch.tensor([[0] * len(pad) + [1] * len(row) for pad, row in zip(pads, rows, strict=True)])
        return ids.to(self._model.device), mask.to(self._model.device)

    def _configure(self, max_new_tokens: int) -> Any:
        settings: dict[str, Any] = {"do_sample": False}
        if self._sampling.temperature > 0:
            settings = {"do_sample": True, "temperature": self._sampling.temperature, "top_p": self._sampling.top_p}
            settings |= {"top_k": 0}  # off; the default is 50
        return _generation_config(
            max_new_tokens=max_new_tokens, eos_token_id=self._ends, pad_token_id=self._ends[0], **settings
        )


def _load_model(model: str, dtype: str, config: Any, revision: str | None, trust_remote_code: bool) -> Any:
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            model, config=config, revision=revision, trust_remote_code=trust_remote_code, dtype=dtype
        )
    except (OSError, ValueError) as error:
        raise InputError(f"student.model: transformers cannot load {model!r}: {first_line(error)}") from error
    finally:
        if shown:
            bars.enable_progress_bar()
    return loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _end_tokens(model: Any, tokenizer: Tokenizer) -> list[int]:
    """The tokens that end a response: the tokenizer's end-of-sequence token and those of the model's generation config.

    Raises InputError if there are none.
    """
    configured = getattr(model.generation_config, "eos_token_id", None)
    configured = configured if isinstance(configured, list) else [configured]
    ends = dict.fromkeys(token for token in (tokenizer.eos_token_id, *configured) if token is not None)
    if not ends:
        raise InputError("student.model: neither the tokenizer nor generation_config.json has an end-of-sequence token")
    return list(ends)


def _generation_config(**settings: Any) -> Any:
    from transformers import GenerationConfig

    untyped: Any = GenerationConfig
    return untyped(**settings)


def _cut_row(row: list[int], ends: list[int], limit: int) -> tuple[list[int], str]:
    """A generated row without its padding, and its finish reason."""
    row = row[:limit]
    end = next((place for place, token in enumerate(row) if token in ends), None)
    return (row, "length") if end is None else (row[: end + 1], "stop")
