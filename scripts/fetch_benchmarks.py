"""Write benchmarks from the hub to local JSONL, for machines without a network.

    python scripts/fetch_benchmarks.py gsm8k math500
    python scripts/fetch_benchmarks.py --all --output-dir /shared/benchmarks

Then, in the configuration: `benchmarks: [{name: gsm8k, path: data/benchmarks/gsm8k.jsonl}]`. One line a problem:

    {"id": "gsm8k-0", "question": "Janet's ducks lay ...", "answer": "18", "source": "gsm8k"}
"""

import argparse
import sys
from pathlib import Path

from drp.config.sections import SourceSettings
from drp.errors import DrpError
from drp.problems import BENCHMARKS, load_problems
from drp.records import Failure
from drp.runs.jsonl import write_atomically

OUTPUT_DIR = Path(__file__).parents[1] / "data" / "benchmarks"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one or more of {', '.join(BENCHMARKS)}")
    parser.add_argument("--all", action="store_true", help="all of them")
    parser.add_argument("--output-dir", type=Path, default=OUTPUT_DIR, help="default: data/benchmarks")
    args = parser.parse_args()
    unknown = [name for name in args.names if name not in BENCHMARKS]
    if unknown or not (args.names or args.all):
        parser.error(f"name benchmarks, or --all; known are {', '.join(BENCHMARKS)}; got {' '.join(unknown) or 'none'}")
    try:
        n_failed = sum(fetch(name, args.output_dir) for name in (BENCHMARKS if args.all else args.names))
    except DrpError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 1 if n_failed else 0


def fetch(name: str, output_dir: Path) -> int:
    """Write one benchmark, all or nothing; return how many of its rows were no problems."""
    path = output_dir / f"{name}.jsonl"
    failures: list[Failure] = []
    n_written = 0

    def write(draft: Path) -> None:
        nonlocal n_written
        with draft.open("w", encoding="utf-8") as lines:
            for item in load_problems([SourceSettings(name=name)], seed=0):
                if isinstance(item, Failure):
                    failures.append(item)
                else:
                    lines.write(item.model_dump_json() + "\n")
                    n_written += 1

    write_atomically(path, write)
    for failure in failures:
        print(failure.message, file=sys.stderr)
    print(f"{path}: {n_written} problems, {len(failures)} failed")
    return len(failures)


if __name__ == "__main__":
    sys.exit(main())
