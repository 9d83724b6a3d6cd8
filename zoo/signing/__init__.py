"""Signing: signatures of checkpoints, in the form and by the library of OpenSSF's model signing."""
