"""Ranks: the processes that train one network together, and the device of each."""
