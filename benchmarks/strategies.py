"""What each strategy reaches on image sets, and what it costs: the truth that advice is held to.

    python benchmarks/strategies.py SETS [--images 400,all] [--seeds 0,1,2,3,4] [--size 48]
        [--only SET] [--arm NAME] [--out strategies.jsonl]

SETS is a folder of image sets, and so many images are drawn for each seed: see `image_sets.py`.
The base is tf_efficientnet_lite0 with ImageNet weights. Seconds are those of the processor, in one
process, with nothing cached before. Each result is a line in ``--out`` as soon as it is there, and
what is there already is not measured again.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from image_sets import PARTS, cells_of, draw, names_of
from presets import BASE, options_of, with_base
from result_lines import Results

import zoo
from zoo.lookup.runs import CACHE

LONG = "epochs=12"
FROZEN = f"strategy=lp-ft batch_norm=frozen {LONG}"
ARMS = {
    "last features": "strategy=probe",
    "best depth": "strategy=probe at=auto",
    "all depths": "strategy=probe at=all",
    "freeze 80%": f"strategy=lp-ft freeze=80% {LONG}",
    "freeze 50%": f"{FROZEN} freeze=50%",
    "freeze 50%, rate 1e-2": f"{FROZEN} freeze=50% lr=1e-2",
    "lp-ft, frozen": FROZEN,
    "lp-ft, frozen, rate 1e-2": f"{FROZEN} lr=1e-2",
    "lp-ft, live, rate 1e-2": f"strategy=lp-ft batch_norm=live lr=1e-2 {LONG}",
    "full": f"strategy=full batch_norm=live {LONG}",
    "lp-ft, frozen, rate 1e-2, long": "strategy=lp-ft batch_norm=frozen lr=1e-2 epochs=40",
    "full, long": "strategy=full batch_norm=live epochs=40",
}
"""Recipes, as far as they are not the default."""


def run(home: Path, data: Path, size: int, cell: dict[str, str]) -> dict[str, object]:
    """Accuracy on the test images and on those to choose on, and seconds of the processor."""
    shutil.rmtree(home / CACHE, ignore_errors=True)
    began = time.process_time()
    options: dict[str, Any] = {"image_size": size, "seed": int(cell["seed"])}
    recipe = zoo.Recipe(data=str(data), **options, **options_of(ARMS[cell["arm"]]))
    with zoo.open(home, progress=False) as z:
        done = z.run_recipe(recipe, BASE, f"bench/run:s{time.time_ns()}", device="cpu")
        seconds = time.process_time() - began
        lines = [line for line in z.run(done.run).lines() if line["kind"] in ("probe", "epoch")]
    return {**cell, "accuracy": done.metrics["accuracy"], "seconds": round(seconds, 2),
            "kept": done.freeze["kept"], "validation":
            [round(line["accuracy"], 4) for line in lines]}  # fmt: skip


def table(found: list[dict[str, Any]]) -> None:
    """Means over the seeds, of which the number is in brackets, and the median of the seconds."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = defaultdict(dict)
    for each in found:
        groups[each["set"], each["images"]].setdefault(each["arm"], []).append(each)
    for key, arms in groups.items():
        print(*key)
        for arm, all_of in arms.items():
            scores = [each["accuracy"] for each in all_of]
            spread = statistics.stdev(scores) if len(scores) > 1 else 0.0
            seconds = statistics.median(each["seconds"] for each in all_of)
            print(f"    {arm:32} {100 * statistics.mean(scores):5.1f} ± {100 * spread:4.1f}"
                  f" ({len(scores)})  {seconds:7.1f} s")  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path)
    parser.add_argument("--images", default="400,all")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--arm", action="append", default=[], choices=ARMS)
    parser.add_argument("--out", type=Path, default=Path("strategies.jsonl"))
    asked = parser.parse_args()
    results = Results(asked.out, PARTS)
    sets = asked.only or names_of(asked.sets)
    drawn = cells_of(asked.sets, sets, asked.images.split(","), asked.seeds.split(","))
    cells = ({**cell, "arm": arm} for cell in drawn for arm in asked.arm or ARMS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with_base(root / "zoo").close()
        for cell in results.missing(cells):
            data = root / "-".join((cell["set"], cell["images"], cell["seed"]))
            draw(asked.sets / cell["set"], data, cell["images"], int(cell["seed"]))
            results.add(run(root / "zoo", data, asked.size, cell))
    table(results.rows)


if __name__ == "__main__":
    main()
