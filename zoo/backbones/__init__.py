"""Torch from here up: build, trace, cut, freeze, heads, load, predict."""
