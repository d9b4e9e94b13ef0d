"""Experiments: a grid of networks and settings from a file, measured cell by cell."""
