"""Measurements, never tests: each compares with a peer or a stated figure in the same run."""
