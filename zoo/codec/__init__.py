"""Lossless encoding of tensors for remotes: byte planes, and deltas against a parent's tensor.

The format is frozen: ``docs/store.md`` gives every byte, golden files in the tests hold it.
"""
