"""Code of plugins that do nothing: of each kind, the least that fits its contract."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["BACKBONE", "FAILS", "HEAD", "SOURCE", "Install"]

Install = Callable[..., None]
HEAD = """
class Plugin:
    def build(self, num_features, num_outputs): pass
    def loss(self, task='classification'): pass
    def metrics(self, outputs, targets, task='classification'): pass
"""
FAILS = "    def __init__(self): raise RuntimeError('no license')\n"
SOURCE = """
class Plugin:
    network = False
    def version(self): {version}
    def entries(self): {entries}
"""
BACKBONE = """
class Plugin:
    def architectures(self): {}
    def build(self, architecture, options=None): raise RuntimeError(architecture)
    def hierarchy(self, architecture, module, *, input_size=None): pass
    def head_modules(self, module): pass
    def replace_head(self, module, num_outputs, build): pass
    def preprocessing(self, module): pass
    def classes(self, module): pass
    def convert(self, module, names): pass
    def fit_weights(self, module, state): pass
    def export_config(self, module, manifest): pass
"""
