r"""The verdicts of stored eval records held against those of lm-evaluation-harness and lighteval, record by record.

    python -m venv peers && peers/bin/pip install "lm-eval[math]"        (lighteval: an environment of its own)
    peers/bin/python scripts/check/evaluators.py --peer lm-eval --task gsm8k runs/x/eval/base/gsm8k.jsonl
    peers/bin/python scripts/check/evaluators.py --peer lighteval --task math500 runs/x/eval/base/math500.jsonl

Reads eval/MODEL/BENCHMARK.jsonl (or a traces.jsonl); needs nothing of drp. Each peer scores the stored response by its
own code: lm-evaluation-harness by the task's filters and `process_results`, after its own cut at `</think>`
(`think_end_token`); lighteval by the task's metric, after its own removal of thinking. Every record on which a verdict
differs is listed; those where `</think>` never came stand apart, since both peers then grade the thinking, and drp
takes no answer from it. The last line is JSON; exit status 0 where a peer finds no answer right that drp does not.

Reasons met so far: `flexible-extract` takes the last number ("... dollars for the 16 glasses") and compares text (75.00
is not 75); lighteval reads "60\\%" as 0.6 alone.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

CLOSING = "</think>"
Record = dict[str, Any]
Verdicts = Iterator[tuple[Record, dict[str, bool]]]

LM_EVAL_TASKS = {"gsm8k": ["gsm8k", "gsm8k_cot_zeroshot"], "math500": ["minerva_math500"]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("records", type=Path)
    parser.add_argument("--peer", choices=["lm-eval", "lighteval"], required=True)
    parser.add_argument("--task", choices=["gsm8k", "math500"], required=True)
    args = parser.parse_args()
    records = [json.loads(line) for line in args.records.read_text(encoding="utf-8").splitlines()]
    judge: Callable[[list[Record], str], Verdicts] = ask_lm_eval if args.peer == "lm-eval" else ask_lighteval
    return report(args.peer, list(judge(records, args.task)))


def ask_lm_eval(records: list[Record], task_name: str) -> Verdicts:
    """Every metric of every official task, on the records in the place of the task's own data set."""
    judged: list[dict[str, bool]] = [{} for _ in records]
    for name in LM_EVAL_TASKS[task_name]:
        for number, verdicts in _run_lm_eval_task(name, records):
            judged[number] |= verdicts
    yield from zip(records, judged, strict=True)


def _run_lm_eval_task(name: str, records: list[Record]) -> Iterator[tuple[int, dict[str, bool]]]:
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.utils import postprocess_generated_text
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    with TemporaryDirectory() as folder:
        data = Path(folder) / "data.jsonl"
        data.write_text("".join(json.dumps(_lm_eval_row(record)) + "\n" for record in records), encoding="utf-8")
        source = {"dataset_path": "json", "dataset_name": None, "num_fewshot": 0, "training_split": None}
        source |= {"dataset_kwargs": {"data_files": {"test": str(data)}}, "fewshot_split": None, "test_split": "test"}
        official = load_yaml(TaskManager().task_index[name].yaml_path)
        task = ConfigurableTask(config={key: value for key, value in official.items() if key != "tag"} | source)
    task.build_all_requests(limit=None, rank=0, world_size=1)
    for request in task.instances:
        response = records[request.doc_id]["response"]
        until = task.config.generation_kwargs["until"]
        request.resps = [postprocess_generated_text(response, until, CLOSING)]
    task.apply_filters()
    for request in task.instances:
        verdicts = {}
        for filter_name, answer in request.filtered_resps.items():
            for metric, value in task.process_results(request.doc, [answer]).items():
                label = metric if filter_name == "none" else filter_name
                verdicts[f"{name} {label}"] = bool(value)
        yield request.doc_id, verdicts


def _lm_eval_row(record: Record) -> Record:
    """Both tasks' columns: GSM8K has the gold behind `####`, MATH in a box."""
    gold = record["answer"]
    return {
        "question": record["question"],
        "answer": f"#### {gold}",
        "problem": record["question"],
        "solution": rf"The answer is $\boxed{{{gold}}}$.",
    }


def ask_lighteval(records: list[Record], task_name: str) -> Verdicts:
    import importlib

    from lighteval.models.model_output import ModelResponse
    from lighteval.tasks.requests import Doc
    from lighteval.utils.utils import remove_reasoning_tags

    module = {"gsm8k": "gsm8k", "math500": "math_500"}[task_name]
    [task] = importlib.import_module(f"lighteval.tasks.tasks.{module}").TASKS_TABLE
    for record in records:
        gold = record["answer"] if task_name == "gsm8k" else rf"$\boxed{{{record['answer']}}}$"
        # The opening tag is the chat template's, so a response lacks it; lighteval goes by the pair.
        text = remove_reasoning_tags(f"<think>\n{record['response']}", [("<think>", CLOSING)])
        answer = ModelResponse(text=[text], text_post_processed=[text])
        doc = Doc(query=record["question"], choices=[gold], gold_index=0, task_name=task.name)
        verdicts = {}
        for metric in task.metrics:
            metric = getattr(metric, "value", metric)
            value = metric.sample_level_fn.compute(doc=doc, model_response=answer)
            verdicts[f"lighteval {metric.metric_name}"] = bool(value)
        yield record, verdicts


def report(peer: str, judged: list[tuple[Record, dict[str, bool]]]) -> int:
    """Right answers by every metric, then each record on which its verdict differs."""
    n_right = sum(record["correct"] is True for record, _ in judged)
    print(f"{len(judged)} records; drp: {n_right} right")
    peers, stricter, laxer = {}, {}, {}
    for metric in dict.fromkeys(metric for _, verdicts in judged for metric in verdicts):
        peers[metric] = sum(verdicts[metric] for _, verdicts in judged)
        print(f"{metric}: {peers[metric]} right")
        if not peers[metric]:
            print("  no response is in the words that this metric demands; nothing to compare")
            continue
        differing = [record for record, verdicts in judged if verdicts[metric] is not (record["correct"] is True)]
        unclosed = [record["id"] for record in differing if CLOSING not in record["response"]]
        closed = [record for record in differing if CLOSING in record["response"]]
        print(f"  {len(unclosed)} differ where the thinking never ended: {', '.join(unclosed)}")
        for record in closed:
            print(f"  {describe(record)}")
        stricter[metric] = sum(record["correct"] is True for record in closed)
        laxer[metric] = len(closed) - stricter[metric]
    result = {"claim": f"the verdicts of {peer}", "n": len(judged), "drp": n_right, "peer": peers}
    result |= {"right_for_drp_alone": stricter, "right_for_peer_alone": laxer, "holds": not any(laxer.values())}
    print(json.dumps(result))
    return 0 if result["holds"] else 1


def describe(record: Record) -> str:
    verdict = {True: "right", False: "wrong", None: "not graded"}[record["correct"]]
    tail = record["response"].partition(CLOSING)[2].strip()[-160:]
    return f"{record['id']}: drp says {verdict}; {record['predicted']!r} against {record['answer']!r}; ends {tail!r}"


if __name__ == "__main__":
    sys.exit(main())
