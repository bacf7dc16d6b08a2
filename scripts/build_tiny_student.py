"""Build the tiny student: problems, tokenizer, pretraining, export.

    python -m scripts.build_tiny_student --output data/tiny

Writes OUTPUT/model (a transformers folder: bfloat16 weights, tokenizer, chat template), the problems OUTPUT/*.jsonl,
and OUTPUT/build_log.jsonl. Checkpoints lie in OUTPUT/.work until the last step; a killed build goes on from there when
started again with the same options. With the defaults: about an hour on 2 CPU cores. The same options
and seed on the same device give the same weights.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

    from scripts.tiny.pretraining import Pretraining

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("data/tiny"), help="folder to write (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=4000, help="pretraining steps (default: %(default)s)")
    parser.add_argument("--again", type=int, default=1500, help="more steps, the rates rising and falling again")
    parser.add_argument("--documents", type=int, default=90000, help="pretraining documents (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of problems, documents and weights (default: %(default)s)")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="(default: %(default)s)")
    parser.add_argument("--vocabulary", type=int, default=1024, help="tokenizer entries (default: %(default)s)")
    parser.add_argument("--hidden", type=int, default=192, help="hidden size (default: %(default)s)")
    parser.add_argument("--mlp", type=int, default=512, help="MLP size (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=4, help="(default: %(default)s)")
    parser.add_argument("--batch-tokens", type=int, default=4096, help="tokens a step (default: %(default)s)")
    parser.add_argument("--save-every", type=int, default=200, help="steps between checkpoints (default: %(default)s)")
    parser.add_argument("--threads", type=int, help="CPU threads; another number gives other roundings")
    parser.add_argument("--compile", action="store_true", help="torch.compile: faster, needs a C++ compiler")
    parser.add_argument("--keep-work", action="store_true", help="keep OUTPUT/.work when done")
    return parser.parse_args(arguments)


def build(options: argparse.Namespace) -> None:
    """Everything, in order; what `--help` promises."""
    from scripts.tiny.corpus import draw_sets, write_documents, write_sets
    from scripts.tiny.export import export
    from scripts.tiny.pretraining import pretrain
    from scripts.tiny.tokenizer import build_tokenizer, encode_documents

    work = options.output / ".work"
    work.mkdir(parents=True, exist_ok=True)
    refuse_other_options(options, work / "options.json")
    files, taken = draw_sets(options.seed)
    write_sets(files, options.output)
    texts = list(write_documents(options.seed, options.documents, taken))
    tokenizer = build_tokenizer((text for pair in texts[:20000] for text in pair), options.vocabulary)
    run = prepare(options, tokenizer)
    documents = encode_documents(tokenizer, texts)
    pretrain(run, documents, work, options.seed, lambda now: export(now.model, tokenizer, options.output / "model"))
    (work / "build_log.jsonl").replace(options.output / "build_log.jsonl")
    if not options.keep_work:
        shutil.rmtree(work)


def prepare(options: argparse.Namespace, tokenizer: PreTrainedTokenizerFast) -> Pretraining:
    """The untrained model on its device, with its optimisers."""
    import torch

    from scripts.tiny.pretraining import ModelSize, Pretraining, Schedule, build_model

    device = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if options.threads:
        torch.set_num_threads(options.threads)
    schedule = Schedule(
        options.steps,
        options.batch_tokens,
        again=options.again,
        save_every=options.save_every,
        compiled=options.compile,
    )
    size = ModelSize(
        options.hidden, options.mlp, options.layers, heads=options.hidden // 32, kv_heads=max(1, options.hidden // 96)
    )
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    return Pretraining(build_model(size, len(tokenizer), *ids, seed=options.seed), schedule, device)


def refuse_other_options(options: argparse.Namespace, path: Path) -> None:
    """Checkpoints made with other options are not to be gone on from."""
    ignored = {"output", "again", "keep_work", "save_every", "compile", "threads"}
    now = {name: value for name, value in vars(options).items() if name not in ignored}
    before = json.loads(path.read_text()) if path.exists() else now
    if before != now:
        changed = ", ".join(sorted(name for name in now if before.get(name) != now[name]))
        sys.exit(f"{path.parent} holds a build with other options ({changed}): use the same, or delete that folder")
    path.write_text(json.dumps(now))


if __name__ == "__main__":
    build(parse(None))
