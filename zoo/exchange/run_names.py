"""Names of files that training scripts write: which run they are of, and which moment of it.

``checkpoint-12.pth.tar`` and ``model_best.pth.tar`` are timm's, ``epoch=3-step=400.ckpt`` and
``last.ckpt`` Lightning's, ``checkpoint-500`` a folder of transformers' Trainer, ``epoch_12.pth`` of
OpenMMLab, ``model_5.pth`` of torchvision's scripts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Literal

from zoo.domain.reference import DEFAULT_TAG, Reference
from zoo.errors import InvalidOption, InvalidReference

__all__ = [
    "PLACEHOLDERS",
    "STATE",
    "SUFFIXES",
    "TRAINER",
    "Moment",
    "check_pattern",
    "filled",
    "is_exact",
    "is_named_by_script",
    "moment_of",
    "root_name",
    "run_name",
    "run_path",
    "safe_part",
    "stem_of",
    "tagged",
]

SUFFIXES = (".safetensors", ".pth.tar", ".pth", ".pt", ".ckpt")
STATE = re.compile(
    r"(optimizer|scheduler|scaler|rng_state\w*|training_args)\.(pt|pth|bin|safetensors)", re.I
)
"""What scripts keep beside weights to resume from."""
TRAINER = "trainer_state.json"
PLACEHOLDERS = ("stem", "folder", "epoch")
NUMBER = re.compile(
    r"(?P<base>.*?)[-_. ]?(?P<word>epoch|ep|step|iter|checkpoint|ckpt|model|weights)[-_=. ]?"
    r"(?P<number>\d{1,9})",
    re.IGNORECASE,
)
LIGHTNING = re.compile(r"(?P<base>.*?)[-_. ]?epoch=(?P<epoch>\d{1,9})(?P<rest>[-_.].*)?", re.I)
FIGURE = re.compile(r"[-_.]((?!step=)[A-Za-z][A-Za-z0-9_/]{0,60})=(\d{1,6}\.\d{1,12})(?![\d.]*\d)")
STEP = re.compile(r"\bstep=(\d{1,9})\b")
ROLE = re.compile(
    r"(?P<base>.*?)[-_. ]?(?P<role>best|last|latest|final)(-v\d+)?"
    r"|(?P<begins>best|last|latest|final)[-_. ](?P<more>.*)",
    re.IGNORECASE,
)
STEPS = ("step", "iter")
GENERIC = frozenset(
    ["", "model", "models", "checkpoint", "ckpt", "weights", "net", "pytorch_model", "state_dict"]
)
"""What is no name of anybody's run."""
INNER = frozenset(["checkpoints", "weights", "lightning_logs"])
"""Folders within a run's that hold its files."""
VERSION = re.compile(r"version_\d+")
UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST = 100
LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "ø": "o", "Ø": "O", "ł": "l"})
"""Those that are no letter of ASCII with a mark."""

OWN_FILES = {
    "summary.csv": re.compile(r"checkpoint-\d{1,9}|last|model_best|best", re.I),
    "metrics.csv": re.compile(
        LIGHTNING.pattern + r"|last(-v\d{1,9})?|model_\d{1,9}|checkpoint", re.I
    ),
}
"""What the scripts that write a table call their checkpoints: timm, Lightning and torchvision."""
TRAINER_FOLDER = re.compile(r"checkpoint-\d{1,9}")
TRAINER_FILES = ("model.", "pytorch_model.")

Role = Literal["best", "last", ""]


@dataclass(frozen=True, slots=True)
class Moment:
    """Which of a run's checkpoints a file is.

    Attributes:
        base: What else the name says, where that is a name of its own; empty: the folder's counts.
        role: ``best`` or ``last``, where the name says so.
        epoch: The epoch that it says.
        step: The step that it says.
        figures: Figures that it says: ``val_acc=0.91``.
    """

    base: str
    role: Role = ""
    epoch: int | None = None
    step: int | None = None
    figures: tuple[tuple[str, float], ...] = ()

    @property
    def tag(self) -> str:
        """The tag of a reference to it; empty if only its role is known."""
        if self.epoch is not None:
            return f"epoch-{self.epoch}"
        return "" if self.step is None else f"step-{self.step}"


def stem_of(path: PurePath) -> str:
    """A file's name without the suffix of weights."""
    name = path.name
    suffix = next((each for each in SUFFIXES if name.lower().endswith(each)), path.suffix)
    return name[: len(name) - len(suffix)] if suffix else name


def moment_of(stem: str, *, steps: bool = False) -> Moment | None:
    """Which moment of a run a file or folder is; None if its name tells of none.

    With ``steps``, a bare number counts steps, as in the folders of transformers' Trainer.
    """
    if (match := LIGHTNING.fullmatch(stem)) is not None:
        step = STEP.search(match["rest"] or "")
        figures = tuple((name, float(text)) for name, text in FIGURE.findall(match["rest"] or ""))
        moment = Moment(match["base"], epoch=int(match["epoch"]), figures=figures)
        moment = replace(moment, step=int(step[1])) if step else moment
    elif (match := NUMBER.fullmatch(stem)) is not None:
        number = int(match["number"])
        counts_steps = steps or match["word"].lower() in STEPS
        moment = Moment(
            match["base"],
            epoch=None if counts_steps else number,
            step=number if counts_steps else None,
        )
    elif stem.lower() in GENERIC:
        return Moment("", role="last")
    else:
        moment = Moment(stem)
    role, base = _role(moment.base)
    if not role and moment.base == stem:
        return None
    return replace(moment, base="" if base.lower() in GENERIC else base, role=role)


def _role(base: str) -> tuple[Role, str]:
    match = ROLE.fullmatch(base)
    if not match:
        return "", base
    word = (match["role"] or match["begins"]).lower()
    rest = (match["base"] if match["role"] else match["more"]) or ""
    # best_accuracy_top1 is named for what it is the best in, and no run is.
    return (
        ("best", "")
        if match["begins"] and word == "best"
        else (
            "best" if word == "best" else "last",
            rest,
        )
    )


def is_named_by_script(path: Path, table: str) -> bool:
    """Whether a file is called what the script that writes such a ``table`` of figures calls its
    checkpoints.
    """
    if table == TRAINER:
        own = path.name.startswith(TRAINER_FILES)
        return own and bool(TRAINER_FOLDER.fullmatch(path.absolute().parent.name))
    return table in OWN_FILES and bool(OWN_FILES[table].fullmatch(stem_of(path)))


def run_path(folder: PurePath) -> PurePath:
    """The folder of the run whose files are in ``folder``, both below the one that is imported."""
    while folder.name in INNER:
        folder = folder.parent
    return folder


def root_name(root: Path) -> str:
    """What a folder is called, whose files may be of one run."""
    whole = root.resolve()
    return (whole.parent if whole.name in INNER else whole).name or "run"


def run_name(run: PurePath, root: Path) -> str:
    """What a run is called whose folder is ``run`` below the folder ``root``."""
    parts = [root_name(root), *(part for part in run.parts if part not in INNER)]
    return "-".join(parts[-2:]) if VERSION.fullmatch(parts[-1]) else parts[-1]


def safe_part(text: str) -> str:
    """``text`` as a part of a reference, as far as it can be one: letters without their marks, and
    ``-`` for the rest. Empty if nothing is left.
    """
    text = unicodedata.normalize("NFKD", text.translate(LETTERS))
    text = "".join(char for char in text if not unicodedata.combining(char))
    text = re.sub(r"\.\.+", ".", UNSAFE.sub("-", text))
    return text.lstrip(".-")[:LONGEST].rstrip(".-")


def check_pattern(pattern: str) -> None:
    """See that a pattern of names can be one.

    Raises:
        InvalidOption: It has other placeholders than `PLACEHOLDERS`.
        InvalidReference: What it gives is no reference.
    """
    unknown = set(re.findall(r"\{(.*?)\}", pattern)) - set(PLACEHOLDERS)
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise InvalidOption(f"'{{{sorted(unknown)[0]}}}' is none of {known}")
    filled(pattern, dict.fromkeys(PLACEHOLDERS, "x"))


def filled(pattern: str, values: Mapping[str, str]) -> Reference:
    """The reference that a pattern gives.

    Raises:
        InvalidReference: It is none, or none that every system can hold.
    """
    for name in re.findall(r"\{(\w+)\}", pattern):
        if not safe_part(values[name]):
            raise InvalidReference(
                f"'{values[name]}' has no letter or digit that a name can have (a to z, 0 to 9): "
                "import it alone, under a name of yours (zoo import FILE --as NAME)",
                hint="",
            )
    text = re.sub(r"\{(\w+)\}", lambda match: safe_part(values[match[1]]), pattern)
    ref = Reference.parse(text)
    ref.check_portable()
    return ref


def is_exact(pattern: str) -> bool:
    """Whether a pattern itself says which name each checkpoint of a run gets."""
    return ":" in pattern or "{epoch}" in pattern


def tagged(ref: Reference, tag: str) -> Reference:
    """The same name with another tag, or with the default one."""
    return replace(ref, tag=safe_part(tag) or DEFAULT_TAG)
