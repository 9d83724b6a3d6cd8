"""Strategies: what is done before and after training: probes, blends, the choice of a depth."""
