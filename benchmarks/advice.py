"""Whether `zoo advise` is right: what its plan reaches, beside every strategy and simple rules.

    python benchmarks/strategies.py SETS --images 400,2000 --out strategies.jsonl
    python benchmarks/advice.py SETS --truth strategies.jsonl peers.jsonl [--images 400,2000]
        [--seeds 0,1,2,3,4] [--size 48] [--only SET] [--out advice.jsonl]

The first command measures the truth: how every strategy does on the test images; what others do
there, `advice_peers.py` does. The second asks `zoo advise` about the same images, carries its plan
out, and compares. Regret: points of accuracy below the strategy of zoo that has the best mean over
the seeds. Cost: seconds of the processor, and in fine-tunes of everything that train until they
gain nothing more (``full, long``). The budget is so large that the load of the machine does not
decide.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from image_sets import cells_of, draw, names_of
from presets import BASE, with_base
from result_lines import Results, Row
from strategies import ARMS

import zoo
from zoo.lookup.runs import CACHE, TRIALS

PARTS = ("set", "images", "seed")
UNIT = "full, long"
ADVICE = "zoo advise"
RESAMPLED = 2000
Cell = tuple[str, str, str]


def ask(home: Path, data: Path, size: int, cell: dict[str, str], budget: str) -> Row:
    """What is advised, what that reaches on the test images, and what both cost."""
    for kept in (CACHE, TRIALS):
        shutil.rmtree(home / kept, ignore_errors=True)
    began = time.process_time()
    with zoo.open(home, progress=False) as z:
        advice = z.advise(
            BASE, data, image_size=size, seed=int(cell["seed"]), budget=budget, device="cpu"
        )
        plan, layers = advice.plan, advice.layers
        asked = time.process_time()
        if not plan or not layers:
            return {**cell, "advised": "", "accuracy": 0.0, "seconds": asked - began}
        done = z.run_recipe(
            zoo.Recipe.from_json(plan.recipe), BASE, f"bench/run:s{time.time_ns()}", device="cpu"
        )
    tried = [(x.name, round(x.score, 4), x.epochs, x.done, x.seconds) for x in plan.tried]
    return {
        **cell,
        "advised": plan.advised,
        "accuracy": done.metrics["accuracy"],
        "seconds": round(asked - began, 2),
        "to_run": round(time.process_time() - asked, 2),
        "few": plan.scenario.few,
        "unlike": plan.scenario.unlike,
        "depths": {each.at: round(each.score, 4) for each in layers.depths.depths},
        "best_single": layers.depths.best_single,
        "tried": tried,
    }


def scenario(row: Row) -> str:
    """The strategy that the four scenarios of transfer learning ask for."""
    if row["few"]:
        return "best depth" if row["unlike"] else "last features"
    return "full" if row["unlike"] else "freeze 50%"


def probes(row: Row) -> str:
    """All depths, or the best single one, whichever is better in cross-validation."""
    together = row["depths"]["all"] >= row["depths"][row["best_single"]]
    return "all depths" if together else "best depth"


RULES: dict[str, Callable[[Row], str]] = {
    "all depths or the best one, by cross-validation": probes,
    "the four scenarios": scenario,
}


class Truth:
    """What every strategy reaches, and every peer.

    Args:
        rows: Lines of `strategies.py` and `advice_peers.py`.
        advised: Lines of this benchmark; only what both have counts.
    """

    def __init__(self, rows: list[Row], advised: list[Row]) -> None:
        self.of: dict[Cell, dict[str, Row]] = defaultdict(dict)
        for row in rows:
            self.of[cell(row)][row["arm"]] = row
        self.advised = {cell(row): row for row in advised if set(ARMS) <= set(self.of[cell(row)])}
        self.groups: dict[tuple[str, str], list[Cell]] = defaultdict(list)
        for key in self.advised:
            self.groups[key[:2]].append(key)
        self.best = {group: max(ARMS, key=lambda arm: self.mean(arm, cells))
                     for group, cells in self.groups.items()}  # fmt: skip

    def mean(self, arm: str, cells: list[Cell]) -> float:
        """Accuracy of a strategy over cells."""
        return float(statistics.mean(self.of[key][arm]["accuracy"] for key in cells))

    def most_validated(self, key: Cell) -> str:
        """What is best on the validation images, of all that was tried."""
        return max(ARMS, key=lambda arm: max(self.of[key][arm]["validation"]))

    def choices(self) -> dict[str, dict[Cell, tuple[float, float]]]:
        """Of each rule: the accuracy that it reaches on each cell, and its seconds."""
        found: dict[str, dict[Cell, tuple[float, float]]] = {ADVICE: {}}
        for key, row in self.advised.items():
            found[ADVICE][key] = row["accuracy"], row["seconds"] + row["to_run"]
            arms = self.of[key]
            for name, rule in RULES.items():
                chosen = arms[rule(row)]
                spent = arms["best depth"]["seconds"] + chosen["seconds"]
                found.setdefault(name, {})[key] = chosen["accuracy"], spent
            chosen = arms[self.most_validated(key)]
            spent = sum(arms[arm]["seconds"] for arm in ARMS)
            found.setdefault("all tried, by validation images", {})[key] = chosen["accuracy"], spent
            for arm in arms:
                found.setdefault(f"always {arm}", {})[key] = (
                    arms[arm]["accuracy"],
                    arms[arm]["seconds"],
                )
        return found


def cell(row: Row) -> Cell:
    """What a line is about."""
    return row["set"], row["images"], row["seed"]


def regrets(truth: Truth, reached: dict[Cell, tuple[float, float]], chance: random.Random | None
            ) -> dict[tuple[str, str], float]:  # fmt: skip
    """Points below the best strategy, of each set; with ``chance``, seeds are drawn again."""
    found = {}
    for group, cells in truth.groups.items():
        drawn = chance.choices(cells, k=len(cells)) if chance else cells
        mine = statistics.mean(reached[key][0] for key in drawn)
        found[group] = 100 * (truth.mean(truth.best[group], drawn) - mine)
    return found


def table(truth: Truth) -> None:
    """Each set, and each rule over all sets."""
    for group, cells in sorted(truth.groups.items()):
        arms = sorted(ARMS, key=lambda arm: -truth.mean(arm, cells))
        best = ", ".join(f"{arm} {100 * truth.mean(arm, cells):.1f}" for arm in arms[:3])
        mine = 100 * statistics.mean(truth.advised[key]["accuracy"] for key in cells)
        names = ", ".join(sorted({truth.advised[key]["advised"] for key in cells}))
        print(f"{' '.join(group)} ({len(cells)} seeds): {best}; advised {mine:.1f}: {names}")
    print("\n| | regret | upper bound | worst | within 1 | seconds | cost |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    chance = random.Random(0)
    for name, reached in truth.choices().items():
        if set(reached) != set(truth.advised):
            continue
        each = regrets(truth, reached, None).values()
        means = sorted(
            statistics.mean(regrets(truth, reached, chance).values()) for _ in range(RESAMPLED)
        )
        seconds = statistics.median(spent for _, spent in reached.values())
        cost = statistics.median(
            reached[key][1] / truth.of[key][UNIT]["seconds"] for key in reached
        )
        print(f"| {name} | {statistics.mean(each):.1f} | {means[int(0.95 * RESAMPLED)]:.1f} "
              f"| {max(each):.1f} | {sum(x <= 1 for x in each)} of {len(each)} "
              f"| {seconds:.0f} | {cost:.2f} |")  # fmt: skip


def main() -> None:
    """Ask and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", type=Path)
    parser.add_argument("--truth", type=Path, nargs="+", default=[Path("strategies.jsonl")])
    parser.add_argument("--images", default="400,2000")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--size", type=int, default=48)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--budget", default="3h")
    parser.add_argument("--out", type=Path, default=Path("advice.jsonl"))
    asked = parser.parse_args()
    results = Results(asked.out, PARTS)
    names = asked.only or names_of(asked.sets)
    cells = cells_of(asked.sets, names, asked.images.split(","), asked.seeds.split(","))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        with_base(root / "zoo").close()
        for each in results.missing(cells):
            data = root / "-".join(each.values())
            draw(asked.sets / each["set"], data, each["images"], int(each["seed"]))
            results.add(ask(root / "zoo", data, asked.size, each, asked.budget))
    truth = [row for path in asked.truth for row in Results(path, PARTS).rows]
    both = Truth(truth, results.rows)
    if both.advised:
        table(both)
    else:
        print("nothing to compare: --truth has no draw with all strategies")


if __name__ == "__main__":
    main()
