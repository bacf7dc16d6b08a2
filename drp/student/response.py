"""The text format of the student: chat prompt, thinking tags, token counts.

Models mark their thinking in different ways: `<think>` and `</think>` (R1, Qwen3, Phi-4-reasoning), `[THINK]` and
`[/THINK]` (Magistral), channels (gpt-oss). The records of a run have `<think>` and `</think>` for all of them: a
`ChatFormat` translates when a response is decoded, and back when it becomes a training example.

    First, 3 x 4 = 12.          <- thinking
    </think>

    The answer is 12.           <- summary

Some chat templates end their generation prompt with the opening tag, so that a response has only the closing one.
Others leave the opening tag to the model. Both are accepted, and the opening tag is never written twice.
"""

from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from drp.config.sections import StudentSettings
from drp.errors import ConfigError, InputError, first_line

OPENING = "<think>"
CLOSING = "</think>"
"""The tags in all records, whatever the model's own are."""

MISTRAL_BACKEND = "MistralCommonBackend"
"""The class of tokenizer that transformers makes of a tekken.json if mistral-common, which vLLM needs, is there."""

# transformers has no common type for tokenizers that includes chat templates.
Tokenizer = Any


class ThinkingTags(NamedTuple):
    """How a model marks its thinking. White space around the tags is not a part of them."""

    opening: str
    closing: str


PLAIN = ThinkingTags(OPENING, CLOSING)
KNOWN_TAGS = (
    ThinkingTags("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ThinkingTags("[THINK]", "[/THINK]"),
    ThinkingTags("<seed:think>", "</seed:think>"),
    PLAIN,
)
"""Tags that are recognized in a chat template or a vocabulary: gpt-oss, Magistral, Seed-OSS, and all others."""

TEMPLATE_DATE = datetime(2025, 1, 1)
"""What a chat template gets when it asks for today's date, as those of gpt-oss, SmolLM3 and Llama 3.2 do. With the real
date, the prompts of training and evaluation would differ from those of sampling."""


def load_tokenizer(model: str, revision: str | None = None, trust_remote_code: bool = False) -> Tokenizer:
    """Load the student's tokenizer. Raises InputError if it cannot be found or loaded, or has no text form."""
    from transformers import AutoTokenizer

    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        tokenizer = AutoTokenizer.from_pretrained(model, **options)
        if type(tokenizer).__name__ != MISTRAL_BACKEND:
            return tokenizer
        tokenizer = AutoTokenizer.from_pretrained(model, mistral_format=False, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"student.model: cannot load a tokenizer from {model!r}: {first_line(error)}") from None
    if type(tokenizer).__name__ == MISTRAL_BACKEND or tokenizer.chat_template is None:
        raise InputError(
            f"student.model: {model!r} has only mistral-common's tokenizer, tekken.json, which cannot encode special "
            "tokens in a text: name a copy of the model that has tokenizer.json and a chat template"
        )
    return tokenizer


def load_format(student: StudentSettings, adapter: str | None = None) -> "ChatFormat":
    """Load the tokenizer of a model, or of its adapter, and find its format.

    adapter: a folder with a LoRA adapter and the tokenizer that it was trained with.
    Raises InputError if the tokenizer cannot be loaded, and ConfigError as `ChatFormat` does.
    """
    name, revision = (adapter, None) if adapter else (student.model, student.revision)
    return ChatFormat(load_tokenizer(name, revision, student.trust_remote_code), student)


class ChatFormat:
    """How a model is prompted and how its responses are written: the same in sampling, training and evaluation.

    tokenizer: the model's.
    student: its `prompt`, `system`, `chat`, `template_kwargs` and `thinking_tags`; None: the defaults.

    tags: the model's own thinking tags.
    is_opened: whether the prompt already ends with the opening tag.

    Raises ConfigError, with the key to set, if the model has no chat template, if the template leaves out the question
    or the system text or switches thinking off, and if the thinking tags cannot be found.
    """

    def __init__(self, tokenizer: Tokenizer, student: StudentSettings | None = None) -> None:
        self.tokenizer = tokenizer
        self.student = student or StudentSettings(model=getattr(tokenizer, "name_or_path", ""))
        tail = self._read_tail()
        self.tags = ThinkingTags(*self.student.thinking_tags) if self.student.thinking_tags else self._find_tags(tail)
        self.is_opened = tail.rstrip().endswith(self.tags.opening)
        if self.tags.closing in tail:
            raise ConfigError(
                f"student.template_kwargs: the prompt of {self.student.model!r} ends with {tail[-40:]!r}, which closes "
                "the thinking before it has begun: set the template's switch, such as {enable_thinking: true}"
            )
        self._closing_ids: list[int] = self._tokenize(self.tags.closing)
        # skip_special_tokens=True would remove tags that are special tokens, too.
        tag_ids = {*self._tokenize(self.tags.opening), *self._closing_ids}
        self._hidden_ids = set(tokenizer.all_special_ids) - (tag_ids - {tokenizer.eos_token_id})

    def prompt_text(self, question: str) -> str:
        """The whole prompt of a question, up to where the response begins."""
        student = self.student
        content = student.prompt.replace("{question}", question)
        if not student.chat:
            return self._find_bos(content) + content
        messages = [{"role": "user", "content": content}]
        if student.system is not None:
            messages.insert(0, {"role": "system", "content": student.system})
        text: str = self.tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=True,
            **({"strftime_now": TEMPLATE_DATE.strftime} | student.template_kwargs),
        )
        return text

    def prompt_ids(self, question: str) -> list[int]:
        """Token ids of `prompt_text`. It has the beginning-of-sequence token in it, so the tokenizer adds no other."""
        return self._tokenize(self.prompt_text(question))

    def response_text(self, response: str) -> str:
        """A record's response as the model has to generate it after the prompt, with the model's own tags.

        It begins with the opening tag only if the prompt does not already end with it.
        """
        bare = response.lstrip().removeprefix(OPENING).removeprefix(self.tags.opening).lstrip("\n")
        if self.tags != PLAIN:
            joint = f"\n{CLOSING}\n\n"
            bare = bare.replace(joint if joint in bare else CLOSING, self.tags.closing, 1)
        if self.is_opened:
            return bare
        return f"{self.tags.opening}\n{bare}" if self.tags == PLAIN else f"{self.tags.opening}{bare}"

    def decode_response(self, token_ids: list[int]) -> str:
        """Text of a generated response without special tokens; the model's tags become `<think>` and `</think>`."""
        kept = [token for token in token_ids if token not in self._hidden_ids]
        text: str = self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return unify_tags(text, self.tags)

    def count_response_tokens(self, response: str) -> int:
        """Number of tokens of a record's response with the model's own tags, and of the end-of-sequence token.

        As after a prompt that ends with the opening tag, also for models that write this tag themselves.
        """
        return count_tokens(self.tokenizer, response.replace(CLOSING, self.tags.closing, 1)) + 1

    def count_thinking_tokens(self, token_ids: list[int]) -> int:
        """Number of tokens before the closing tag; all of them if the response has no closing tag."""
        closing = self._closing_ids
        start = -1
        while True:
            try:
                start = token_ids.index(closing[0], start + 1)
            except ValueError:
                return len(token_ids)
            if token_ids[start : start + len(closing)] == closing:
                return start

    def _tokenize(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _find_bos(self, text: str) -> str:
        """The beginning-of-sequence token if the tokenizer would add it to a text that does not begin with it."""
        bos: str | None = self.tokenizer.bos_token
        added = self.tokenizer("a")["input_ids"][0] == self.tokenizer.bos_token_id
        return bos if bos and added and not text.startswith(bos) else ""

    def _read_tail(self) -> str:
        """What the prompt has after a question."""
        from jinja2 import TemplateError

        student, probe = self.student, "What is 17 + 25?"
        if student.chat and not getattr(self.tokenizer, "chat_template", None):
            raise ConfigError(
                f"student.chat: the tokenizer of {student.model!r} has no chat template: save one with it, or set "
                "student.chat: false and write the whole prompt in student.prompt"
            )
        try:
            text = self.prompt_text(probe)
        except (TemplateError, ValueError, TypeError, KeyError) as error:
            raise ConfigError(
                f"student: the chat template of {student.model!r} refuses the prompt ({first_line(error)}): check "
                "student.system and student.template_kwargs"
            ) from None
        _, found, tail = text.rpartition(probe)
        missing = "question" if not found else "system" if (student.system or "").strip() not in text else None
        if missing:
            hint = "remove student.system" if student.system else "use another template, or student.chat: false"
            raise ConfigError(f"student: the chat template of {student.model!r} leaves out the {missing} text: {hint}")
        return tail

    def _find_tags(self, tail: str) -> ThinkingTags:
        """The known tags with which the prompt ends, or else that the template or the vocabulary has."""
        template = self.tokenizer.chat_template if self.student.chat else ""
        texts = template.values() if isinstance(template, dict) else [template or ""]
        for has_tags in (
            lambda tags: tail.rstrip().endswith(tags.opening),
            lambda tags: any(tags.opening in text or tags.closing in text for text in texts),
            lambda tags: tags.closing in self.tokenizer.get_added_vocab(),
        ):
            if found := next(filter(has_tags, KNOWN_TAGS), None):
                return found
        raise ConfigError(
            f"student.thinking_tags: neither the chat template nor the vocabulary of {self.student.model!r} has known "
            f"thinking tags: set the two texts that open and close its thinking, such as ['{OPENING}', '{CLOSING}']"
        )


class Parts(NamedTuple):
    """A response taken apart."""

    thinking: str
    summary: str


def split_response(response: str) -> Parts:
    """Split a record's response at the first `</think>`; without one, all of it is thinking. Both are stripped."""
    thinking, _, summary = response.partition(CLOSING)
    return Parts(thinking.strip().removeprefix(OPENING).strip(), summary.strip())


def join_response(thinking: str, summary: str) -> str:
    """Thinking and summary as a record's response, without the opening tag (see `ChatFormat.response_text`)."""
    return f"{thinking}\n{CLOSING}\n\n{summary}"


def unify_tags(response: str, tags: ThinkingTags | None = None) -> str:
    """Write a response's first opening and closing tags as `<think>` and `</think>`.

    tags: those of the model; None: the known ones that the response has, if it has no `</think>`.
    """
    if tags is None:
        found = (tags for tags in KNOWN_TAGS if tags.closing in response or response.lstrip().startswith(tags.opening))
        tags = PLAIN if CLOSING in response else next(found, PLAIN)
    if tags == PLAIN:
        return response
    thinking, closing, summary = response.partition(tags.closing)
    return thinking.replace(tags.opening, OPENING, 1) + (CLOSING if closing else "") + summary


@lru_cache(maxsize=256)
def count_tokens(tokenizer: Tokenizer, text: str) -> int:
    """Number of tokens of a part of a response; no special tokens are added.

    Cached, because the checks of a pruning count the same texts repeatedly and most of their time is counting.
    """
    fast = getattr(tokenizer, "backend_tokenizer", None)
    if fast is not None and fast.truncation is None:
        # Calling the tokenizer through transformers takes 1.5 times as long.
        return len(fast.encode_batch_fast([text], add_special_tokens=False)[0])
    # verbose=False: no warning about texts longer than the model's context; here they are only counted.
    return len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
