"""A measurement of a network."""

from __future__ import annotations

from zoo.ranking.measured import FeatureScores

__all__ = ["MEASURED"]

MEASURED = FeatureScores(
    manifest="", data_digest="", image_size=32, score=0.8, low=0.7, high=0.9, error=0.05, depth="a",
    depth_score=0.7, last_score=0.6, knn=0.5, logme=0.1, h_score=1.0, ms=3.0, gmacs=0.1,
    device="cpu", seconds=1.0, scores=(),
)  # fmt: skip
