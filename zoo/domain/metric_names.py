"""What zoo calls the figures that it measures, and a remark on a name that is nearly one."""

from __future__ import annotations

from zoo.domain.near import near_names

__all__ = ["remark"]

MEASURED = (
    *("accuracy", "balanced_accuracy", "top5_accuracy", "macro_f1", "mean_average_precision"),
    *("loss", "mae", "rmse", "r2"),
)
OTHERS = (
    *("acc", "acc1", "acc5", "top1", "top5", "precision", "recall", "f1", "auc", "auroc", "map"),
    *("val_acc", "val_accuracy", "val_loss", "test_acc", "test_accuracy", "test_loss"),
    *(
        "best_acc",
        "best_acc1",
        "best_accuracy",
        "train_accuracy",
        "train_loss",
        "mse",
        "top1_accuracy",
    ),
)
"""Figures of others that are no slip, though they resemble those of zoo."""


def remark(name: str) -> str:
    """What to tell whoever states a metric of that name, if it looks like a slip; else empty."""
    if name in (*MEASURED, *OTHERS):
        return ""
    near = near_names(name.lower(), MEASURED, most=2, cutoff=0.75)
    meant = " or ".join(near)
    return f"zoo measures no '{name}', and keeps it as it is; did you mean {meant}?" if near else ""
