"""Whether a registry of millions is indexed in minutes and searched in milliseconds.

    python benchmarks/search.py [--rows 2000000] [--folder FOLDER] [--postgresql] [--mlflow 10000]

Lists ROWS made-up checkpoints in a registry as a source does, with names, keywords, licenses, data
sets, sizes, dates and cards shaped like those of a public hub, and a few very common words among
many rare ones. Then 200 queries of ten kinds, in turns: a rare word, a common one, two, a part of a
name, numbers, dates, sorted, and words that nothing has; each in the state in which the one before
left the caches. Then the same listing once more, and names that nothing is called. With a FOLDER,
the registry stays there. With --postgresql, it is in a database of a server that is started for
that, as the tests start one (``tests/fakes/postgres.py``: it does not wait for the disk, and keeps
PostgreSQL's other defaults); CPU is then also that of the server's process for this connection.
With --mlflow, as many versions are registered with MLflow, and as far as it can be asked the same,
it is. Times are median, 95th percentile and largest.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from fakes import postgres

from zoo.domain.catalog import CatalogEntry
from zoo.domain.query import Query
from zoo.registry import Registry

ROWS = 2_000_000
QUERIES = 200
FAMILIES = ("resnet", "convnext", "vit", "swin", "efficientnet", "mobilenetv3", "deit", "beit",
            "regnety", "densenet", "maxvit", "coatnet", "eva02", "dinov2", "clip", "siglip", "mit",
            "levit", "poolformer", "hrnet", "xcit", "cait", "mixer", "repvgg",
            "ghostnet")  # fmt: skip
SIZES = ("nano", "tiny", "small", "base", "large", "huge", "b0", "b1", "b3", "b5", "18", "34", "50",
         "101", "152")  # fmt: skip
DETAILS = (
    "patch16_224",
    "patch14_336",
    "patch32_384",
    "window7",
    "window12",
    "rw",
    "d2",
    "",
    "",
    "",
)
TAGS = ("in1k", "in12k", "in22k_ft_in1k", "laion2b", "openai", "augreg_in21k", "a1_in1k", "ra3",
        "fb_in22k", "sw_in12k_ft_in1k")  # fmt: skip
LICENSES = (
    ("apache-2.0",) * 6
    + ("mit",) * 3
    + ("cc-by-4.0", "cc-by-nc-4.0", "openrail", "cc0-1.0", "other")
)
TASKS = ("image-classification",) * 5 + ("image-feature-extraction", "object-detection",
                                         "image-segmentation")  # fmt: skip
LIBRARIES = ("timm", "transformers", "timm", "keras", "open_clip")
SUBJECTS = ("flowers", "birds", "food", "cars", "pets", "leaves", "chest-xray", "skin-lesions",
            "satellite", "traffic-signs", "documents", "weeds", "fish", "galaxies", "tiles",
            "textures", "histology", "digits", "faces", "plankton")  # fmt: skip
SYLLABLES = ("ka", "ro", "mi", "ten", "vel", "shu", "dor", "lin", "pa", "zo", "gre", "nix",
             "ul", "bra", "fen", "ost", "qui", "jar", "wen", "tho", "sil", "mar", "hek",
             "yon")  # fmt: skip
PROSE = ("This model was fine tuned on the {subject} data set starting from {architecture}. It "
         "reaches an accuracy of {accuracy} on the held out split. Training used {epochs} epochs "
         "with a learning rate of {rate} and batches of {batch} images. Intended for {word} and "
         "{other}; limitations are described by {owner}.")  # fmt: skip


def entries(rows: int) -> Iterator[CatalogEntry]:
    """As many made-up checkpoints, always the same ones."""
    draw = random.Random(0)
    for number in range(rows):
        yield entry(draw, number)


def entry(draw: random.Random, number: int) -> CatalogEntry:
    """One checkpoint; a tenth are by a few large owners, the rest by very many."""
    owner = draw.choice(("timm", "facebook", "google", "microsoft")) if draw.random() < 0.1 else (
        made_up(draw) + draw.choice(("", "-lab", "ai", str(number % 97)))
    )  # fmt: skip
    parts = (draw.choice(FAMILIES), draw.choice(SIZES), draw.choice(DETAILS))
    architecture = "_".join(filter(None, parts))
    subject = draw.choice(SUBJECTS)
    tag = f"{draw.choice(TAGS)}-{subject}-{number:x}"
    name = f"{owner}/{architecture}.{tag}"
    side = draw.choice((160, 224, 224, 224, 256, 288, 336, 384, 448))
    card = PROSE.format(
        subject=subject, architecture=architecture, accuracy=f"{draw.random():.3f}",
        epochs=draw.randint(1, 300), rate=f"{draw.random() / 100:.5f}",
        batch=2 ** draw.randint(3, 11),
        word=made_up(draw), other=made_up(draw), owner=owner,
    )  # fmt: skip
    return CatalogEntry(
        name=name,
        backbone="timm",
        architecture=architecture,
        tag=tag,
        license=draw.choice(LICENSES) if draw.random() < 0.7 else None,
        hub_id=name,
        input_size=(3, side, side),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation="bicubic",
        crop_pct=0.95,
        crop_mode="center",
        num_classes=draw.choice((2, 5, 10, 37, 100, 101, 200, 1000, 1000, 1000, 21841)),
        params=int(draw.lognormvariate(17, 1.3)) if draw.random() < 0.8 else None,
        datasets=(subject,) if draw.random() < 0.5 else ("imagenet-1k", subject),
        keywords=(draw.choice(TASKS), draw.choice(LIBRARIES), "safetensors"),
        card=card,
        updated=f"20{draw.randint(21, 26)}-{draw.randint(1, 12):02}-{draw.randint(1, 28):02}",
    )


def made_up(draw: random.Random) -> str:
    """A word of some thousands to millions."""
    return "".join(draw.choices(SYLLABLES, k=draw.randint(2, 4)))


def queries(count: int, rows: int) -> list[tuple[str, Query]]:
    """Mixed queries with their kinds."""
    draw = random.Random(1)

    def family() -> str:
        return draw.choice(FAMILIES)

    def subject() -> str:
        return draw.choice(SUBJECTS)

    kinds: dict[str, Callable[[], Query]] = {
        "a rare word": lambda: Query.parse(f"{draw.randrange(rows):x}"),
        "a word of cards": lambda: Query.parse(made_up(draw)),
        "a common word": lambda: Query.parse(draw.choice((family(), "safetensors", "in1k"))),
        "two common words": lambda: Query.parse(f"{family()} {subject()}"),
        "words that exclude each other": lambda: Query.parse(f"{family()}_b0 {family()}_nano"),
        "a part of a name": lambda: Query.parse(f"{family()[-4:]}_{draw.choice(SIZES)[:2]}"),
        "a word and a size": lambda: Query.parse(f"{family()} params<{draw.choice((1, 5, 30))}M"),
        "filters": lambda: Query.parse(
            f"arch:{family()}* license:{draw.choice(LICENSES)} dataset:{subject()} input>=288"
        ),
        "sorted": lambda: Query.parse(
            f"{family()} {subject()}", sort=draw.choice(("params", "-updated", "name"))
        ),
        "a date, sorted": lambda: Query.parse(
            f"{family()} updated>=2026-{draw.randint(1, 12):02}", sort="-params"
        ),
    }
    names = list(kinds)
    return [(name, kinds[name]()) for name in (names[at % len(names)] for at in range(count))]


def main(rows: int, where: Path | str, used: Callable[[], int], took: Clock) -> None:
    """Fill the registry, measure, print.

    Args:
        rows: How many.
        where: The file of the registry, or the URL of its database.
        used: Tells its bytes.
        took: Measures a call.
    """
    with Registry.open(where) as registry:
        indexed = took(lambda: registry.replace_entries("hub", "1", entries(rows), "now"))
    print(f"| rows | {rows:,} |\n| --- | --- |")
    print(f"| index, into an empty registry | {indexed} |")
    print(f"| disk | {used() / 1e9:.2f} GB |", flush=True)
    with Registry.open(where) as registry:
        again = took(lambda: registry.replace_entries("hub", "1", entries(rows), "now"))
        made = took(lambda: [None for _ in entries(rows)])
        print(f"| index once more, nothing changed | {again} |")
        print(f"| of both, to make the rows up | {made} |", flush=True)
        print_queries(registry, rows, took)
        names = sample(rows)
        typed = [mistyped(name) for name in names]
        near = [took(partial(registry.near, name)) for name in typed]
        right = sum(name in registry.near(wrong) for name, wrong in zip(names, typed, strict=True))
        print(f"| names for a mistyped one | {spread(near)}; {right} of {len(near)} right |")


def print_queries(registry: Registry, rows: int, took: Clock) -> None:
    """Milliseconds of all queries, of each kind, and of the counts of what matches."""
    times: dict[str, list[Took]] = {}
    counts = []
    for kind, query in queries(QUERIES, rows):
        times.setdefault(kind, []).append(took(partial(registry.search, query)))
        counts.append(took(partial(registry.count, query, at_most=1000)))
    print(f"| {QUERIES} queries | {spread([each for some in times.values() for each in some])} |")
    for kind, some in times.items():
        print(f"| … {kind} | {spread(some)} |")
    print(f"| counts of the same, to 1,000 | {spread(counts)} |", flush=True)


def print_mlflow(versions: int, folder: Path) -> None:
    """MLflow's registry of models, in SQLite too: each entry is a version of a model."""
    from peers import MLflow

    client = MLflow(folder).client
    filled = took(lambda: fill(client, versions))
    print(f"| MLflow: {versions:,} versions | {filled} |")
    draw = random.Random(1)

    def family() -> str:
        return draw.choice(FAMILIES)

    def license_() -> str:
        return draw.choice(LICENSES)

    kinds: dict[str, Callable[[], object]] = {
        "a part of a name": lambda: client.search_registered_models(
            f"name ILIKE '%{family()}%'", max_results=50
        ),
        "a part of a name of versions": lambda: client.search_model_versions(
            f"name ILIKE '%{family()}%'", max_results=50
        ),
        "two tags": lambda: client.search_model_versions(
            f"tags.license = '{license_()}' and tags.architecture LIKE '{family()}%'",
            max_results=50,
        ),
    }
    for kind, search in kinds.items():
        print(f"| MLflow: {kind} | {spread([took(search) for _ in range(20)])} |", flush=True)


def fill(client: Any, versions: int) -> None:
    """Register made-up entries."""
    for made in entries(versions):
        name = made.name.replace("/", ".")  # it takes no slash
        client.create_registered_model(name, description=made.card)
        tags = {"license": made.license or "", "architecture": made.architecture}
        client.create_model_version(name, "file:///nowhere", tags=tags)


def sample(rows: int) -> list[str]:
    """Some names, from the first to the last."""
    step = max(1, min(rows, 20_000) // 40)
    return [each.name for each in entries(min(rows, 20_000))][::step]


def mistyped(name: str) -> str:
    """A name with a letter too few in its middle."""
    return name[: len(name) // 2] + name[len(name) // 2 + 1 :]


@dataclass(frozen=True)
class Took:
    """Seconds by the clock, and of this program on a processor."""

    clock: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.clock:.0f} s ({self.cpu:.1f} s of CPU)"


Clock = Callable[[Callable[[], object]], Took]


def took(call: Callable[[], object], cpu: Callable[[], float] = time.process_time) -> Took:
    """How long a call takes, by the clock and by what tells the CPU time so far."""
    began, began_cpu = time.perf_counter(), cpu()
    call()
    return Took(time.perf_counter() - began, cpu() - began_cpu)


def cpu_with(server: postgres.Server) -> float:
    """Seconds of CPU of this program and of the processes of a server that answer it."""
    own, pid = time.process_time(), server.process.pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    answering = [each for each in children if "zoo" in Path(f"/proc/{each}/cmdline").read_text()]
    spent = [Path(f"/proc/{each}/schedstat").read_text().split()[0] for each in answering]
    return own + sum(map(int, spent)) / 1e9


def size_in(server: postgres.Server) -> int:
    """Bytes of the database of a server."""
    with server.connect() as connection:
        row = connection.execute("SELECT pg_database_size('searched')").fetchone()
    return int(row[0]) if row else 0


def spread(times: list[Took]) -> str:
    """Median, 95th percentile and largest."""
    clock, cpu = (ranked(times, part) for part in ("clock", "cpu"))
    return f"{clock} ms (CPU: {cpu} ms)"


def ranked(times: list[Took], part: str) -> str:
    """The same of a part of the times."""
    ordered = sorted(getattr(each, part) for each in times)
    late = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return " / ".join(
        f"{1e3 * each:.1f}" for each in (statistics.median(ordered), late, ordered[-1])
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--mlflow", type=int, metavar="VERSIONS")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if chosen.postgresql:
            programs = postgres.programs() or sys.exit("no PostgreSQL server is installed")
            server = stack.enter_context(postgres.running(programs))
            clock = partial(took, cpu=partial(cpu_with, server))
            main(chosen.rows, server.database("searched"), partial(size_in, server), clock)
        else:
            folder = chosen.folder or scratch / "zoo"
            folder.mkdir(parents=True)
            used = lambda: sum(file.stat().st_size for file in folder.iterdir())  # noqa: E731
            main(chosen.rows, folder / "registry.db", used, took)
        if chosen.mlflow:
            print_mlflow(chosen.mlflow, scratch)
