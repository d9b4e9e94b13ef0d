"""The judge, from a submission to its feedback, on real programs: ``make test-judge``."""
