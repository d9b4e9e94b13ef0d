"""The host side of the lab: set-up, start, stop, impairment, diagnosis. Standard library only."""
