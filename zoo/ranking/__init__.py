"""Ranking: which of many networks suits a dataset, before any of them is trained on it."""
