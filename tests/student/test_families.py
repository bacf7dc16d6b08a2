"""Families of reasoning models, most with the chat templates that they were published with (templates/NOTICE.md): the
prompt, the opening tag, the split of a response, and the training example."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from drp.config.sections import StudentSettings, TrainSettings
from drp.errors import ConfigError, InputError
from drp.student.base import GeneratedTokens, read_completion
from drp.student.response import ChatFormat, join_response, load_format, split_response
from drp.training.examples import IGNORED, ExampleSelection, encode_example
from drp.training.preflight import inspect_examples
from tests.tiny import R1_OLDER

TEMPLATES = Path(__file__).parent / "templates"
# The shape of Phi-4-reasoning's: a system text that names the tags, no BOS, nothing opened.
PHI4 = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system<|im_sep|>You are Phi. Use: <think> {Thought} "
    "</think> {Solution}.<|im_end|>{% endif %}{% for m in messages %}{% if messages[0]['role'] == 'system' %}"
    "<|im_start|>system<|im_sep|>You are Phi.<|im_end|>{% elif m['role'] == 'user' %}<|im_start|>user<|im_sep|>"
    "{{ m['content'] }}<|im_end|>{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>"
    "{% endif %}"
)
# Qwen2.5-Math's, of a model that was not trained to think.
UNTAGGED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Family:
    """A family of models. bos, eos: None if it has none. special: other special tokens; plain: added, not special."""

    template: str | None
    prompt: str
    """The whole prompt of "1+1?"; `...` stands for a system text of the template's own."""
    response: str
    """As the model generates it."""
    eos: str
    bos: str | None = None
    special: tuple[str, ...] = ()
    plain: tuple[str, ...] = ("<think>", "</think>")
    settings: dict[str, Any] = field(default_factory=dict)


def read_template(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text(encoding="utf-8")


R1 = {"bos": "<｜begin▁of▁sentence｜>", "eos": "<｜end▁of▁sentence｜>", "special": ("<｜User｜>", "<｜Assistant｜>")}
CHATML = {"eos": "<|im_end|>", "special": ("<|im_start|>", "<|im_sep|>")}
SHORT, LONG = "So 2.\n</think>\n\n2", "<think>\nSo 2.\n</think>\n\n2"
CHANNELS = ("<|start|>", "<|end|>", "<|message|>", "<|channel|>")

FAMILIES = {
    "R1-Distill-Llama": Family(
        template=read_template("deepseek-ai-DeepSeek-R1-Distill-Llama-8B"),
        prompt="<｜begin▁of▁sentence｜><｜User｜>1+1?<｜Assistant｜><think>\n",
        response=SHORT,
        **R1,
    ),
    "R1-Distill-Qwen, newer": Family(
        template=read_template("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"),
        prompt="<｜begin▁of▁sentence｜><｜User｜>1+1?<｜Assistant｜><think>\n",
        response=SHORT,
        settings={"template_kwargs": {"enable_thinking": True}},
        **R1,
    ),
    "R1-Distill-Qwen, older": Family(
        template=R1_OLDER,
        prompt="<｜begin▁of▁sentence｜><｜User｜>1+1?<｜Assistant｜>",
        response=LONG,
        **R1,
    ),
    "Qwen3": Family(
        template=read_template("Qwen-Qwen3-0.6B"),
        prompt="<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n",
        response=LONG,
        **CHATML,
    ),
    "Qwen3 with a system text and a prompt": Family(
        template=read_template("Qwen-Qwen3-0.6B"),
        prompt="<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n1+1?\nBox {it}: \\boxed{}.<|im_end|>\n"
        "<|im_start|>assistant\n",
        response=LONG,
        settings={"system": "Be brief.", "prompt": "{question}\nBox {it}: \\boxed{}."},
        **CHATML,
    ),
    "Magistral": Family(
        template=read_template("mistralai-Ministral-3-14B-Reasoning-2512"),
        prompt="<s>[SYSTEM_PROMPT]...[/SYSTEM_PROMPT][INST]1+1?[/INST]",
        response="[THINK]So 2.[/THINK]2",
        bos="<s>",
        eos="</s>",
        special=("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[THINK]", "[/THINK]"),
        plain=(),
    ),
    "gpt-oss": Family(
        template=read_template("openai-gpt-oss-120b"),
        prompt="<|start|>system<|message|>...Current date: 2025-01-01\n\nReasoning: high\n...<|end|><|start|>user"
        "<|message|>1+1?<|end|><|start|>assistant",
        response="<|channel|>analysis<|message|>So 2.<|end|><|start|>assistant<|channel|>final<|message|>2",
        eos="<|return|>",
        special=CHANNELS,
        plain=(),
        settings={"template_kwargs": {"reasoning_effort": "high"}},
    ),
    "Phi-4-reasoning": Family(
        template=PHI4,
        prompt="<|im_start|>system<|im_sep|>...<|im_end|><|im_start|>user<|im_sep|>1+1?<|im_end|><|im_start|>assistant"
        "<|im_sep|>",
        response=LONG,
        **CHATML,
    ),
    "SmolLM3": Family(
        template=read_template("HuggingFaceTB-SmolLM3-3B"),
        prompt="<|im_start|>system\n...<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n",
        response=LONG,
        **CHATML,
    ),
    "Seed-OSS": Family(
        template=read_template("ByteDance-Seed-OSS"),
        prompt="<seed:bos>user\n1+1?<seed:eos><seed:bos>assistant\n",
        response="<seed:think>So 2.</seed:think>2",
        eos="<seed:eos>",
        special=("<seed:bos>", "<seed:think>", "</seed:think>"),
        plain=(),
    ),
    "no chat template": Family(
        template=None,
        prompt="<s>Question: 1+1?\nAnswer: <think>\n",
        response=SHORT,
        bos="<s>",
        eos="</s>",
        settings={"chat": False, "prompt": "Question: {question}\nAnswer: <think>\n"},
    ),
    "tags of one's own": Family(
        template=UNTAGGED,
        prompt="<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n",
        response="<|begin_of_thought|>So 2.<|end_of_thought|>2",
        plain=(),
        settings={"thinking_tags": ["<|begin_of_thought|>", "<|end_of_thought|>"]},
        **CHATML,
    ),
}


def build_tokenizer(family: Family) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the family's special tokens, which puts a BOS before every text if there is one."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(BPE(vocab={character: number for number, character in enumerate(alphabet)}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    names = {"eos_token": family.eos} | ({"bos_token": family.bos} if family.bos else {})
    special = [*names.values(), *family.special]
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    core.add_tokens([AddedToken(token, special=False, normalized=False) for token in family.plain])
    if family.bos:
        pair = (family.bos, core.token_to_id(family.bos))
        core.post_processor = processors.TemplateProcessing(single=f"{family.bos} $A", special_tokens=[pair])
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        chat_template=family.template,
        extra_special_tokens=list(family.special),
        **names,
    )


@pytest.fixture(params=FAMILIES.values(), ids=FAMILIES.keys())
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


@pytest.fixture
def format(family: Family) -> ChatFormat:
    return ChatFormat(build_tokenizer(family), StudentSettings(model="m", **family.settings))


def test_prompt_is_exact_with_one_beginning_token(family: Family, format: ChatFormat) -> None:
    ids = format.prompt_ids("1+1?")
    text = format.tokenizer.decode(ids)
    pieces = family.prompt.split("...")
    place = 0
    for piece in pieces:
        place = text.index(piece, place) + len(piece)
    assert text.startswith(pieces[0])
    assert text.endswith(pieces[-1])
    if len(pieces) == 1:
        assert text == family.prompt
    if family.bos:
        assert (ids.index(format.tokenizer.bos_token_id), ids.count(format.tokenizer.bos_token_id)) == (0, 1)


def test_generated_response_is_split_at_the_models_own_tag(family: Family, format: ChatFormat) -> None:
    tokenizer = format.tokenizer
    ids = tokenizer(family.response, add_special_tokens=False)["input_ids"]
    completion = read_completion(GeneratedTokens("a", [*ids, tokenizer.eos_token_id], "stop"), format)
    assert split_response(completion.text) == ("So 2.", "2")
    assert "</think>" in completion.text
    assert not any(token in completion.text for token in (family.eos, *family.special))
    before = family.response.partition(format.tags.closing)[0]
    assert completion.n_thinking_tokens == len(tokenizer(before, add_special_tokens=False)["input_ids"])
    cut_off = read_completion(GeneratedTokens("a", ids[: completion.n_thinking_tokens], "length"), format)
    assert "</think>" not in cut_off.text
    assert split_response(cut_off.text) == ("So 2.", "")


def test_example_trains_on_what_the_model_would_write(family: Family, format: ChatFormat) -> None:
    tokenizer = format.tokenizer
    response = read_completion(
        GeneratedTokens("a", tokenizer(family.response, add_special_tokens=False)["input_ids"], "stop"), format
    ).text
    for text in (response, join_response("So 2.", "2")):
        example = encode_example(format, "a", "1+1?", text)
        assert tokenizer.decode(example.response_ids) == family.response + family.eos
        assert example.labels[: len(example.prompt_ids)] == [IGNORED] * len(example.prompt_ids)
        assert encode_example(format, "a", "1+1?", example.response) == example
        shown = inspect_examples(ExampleSelection(train=[example]), format, TrainSettings())
        assert f"{format.tags.opening} once" in shown.render()
        assert (example.prompt_ids, shown.target) == (format.prompt_ids("1+1?"), family.response + family.eos)
        assert (shown.prompt[-40:] + shown.target).count(format.tags.opening) == 1


@pytest.mark.parametrize(
    ("template", "settings", "said"),
    [
        (None, {}, r"student\.chat: .*no chat template.*student\.chat: false"),
        (UNTAGGED, {}, r"student\.thinking_tags: neither.*\['<think>', '</think>'\]"),
        (read_template("Qwen-Qwen3-0.6B"), {"template_kwargs": {"enable_thinking": False}}, "enable_thinking: true"),
        (read_template("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"), {}, "enable_thinking: true"),
        (PHI4, {"system": "Be brief."}, r"leaves out the question.*remove student\.system"),
        ("{{ messages[-1].content }}<think>", {"system": "Be brief."}, r"out the system.*remove student\.system"),
        ("{{ raise_exception('no thanks') }}", {}, "refuses the prompt.*no thanks"),
        (read_template("Qwen-Qwen3-0.6B"), {"template_kwargs": {"tokenize": True}}, "student.template_kwargs"),
    ],
    ids=["no-template", "no-tags", "qwen3-off", "r1-off", "question-lost", "system-lost", "refusing", "bad-switch"],
)
def test_what_cannot_work_is_one_message_that_says_what_to_set(
    template: str | None, settings: dict[str, Any], said: str
) -> None:
    tokenizer = build_tokenizer(Family(template=template, prompt="", response="", plain=(), **CHATML))
    with pytest.raises(ConfigError, match=said) as caught:
        ChatFormat(tokenizer, StudentSettings(model="m", **settings))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("has_both", [False, True])
def test_a_tokenizer_of_mistral_common_is_replaced_or_refused(tmp_path: Path, *, has_both: bool) -> None:
    data = Path(pytest.importorskip("mistral_common").__file__).parent / "data"
    if has_both:
        build_tokenizer(FAMILIES["Magistral"]).save_pretrained(tmp_path)
    (tmp_path / "tekken.json").write_bytes((data / "tekken_240911.json").read_bytes())
    (tmp_path / "config.json").write_text('{"model_type": "mistral", "architectures": ["MistralForCausalLM"]}')
    if has_both:
        format = load_format(StudentSettings(model=str(tmp_path)))
        assert format.tags.closing == "[/THINK]"
        assert len(format.prompt_ids("1+1?")) < 700
    else:
        with pytest.raises(InputError, match=r"tekken\.json.*tokenizer\.json and a chat template"):
            load_format(StudentSettings(model=str(tmp_path)))


def test_prompts_do_not_change_with_the_day() -> None:
    template = "{{ strftime_now('%d %B %Y') }} {{ messages[0].content }}<think>"
    tokenizer = build_tokenizer(Family(template=template, prompt="", response="", **CHATML))
    assert ChatFormat(tokenizer).prompt_text("1+1?") == "01 January 2025 1+1?<think>"
