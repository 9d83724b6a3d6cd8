"""Plain data: what JSON can hold."""

from __future__ import annotations

from typing import Any, TypeAlias

__all__ = ["Json"]

Json: TypeAlias = dict[str, Any]
"""A JSON object, made by ``to_json`` or parsed; who reads it knows, or checks, what is in it."""
