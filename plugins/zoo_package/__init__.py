"""Weights that installed Python packages ship."""
