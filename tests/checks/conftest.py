"""The checks' fixtures; ``-p grading.plugin`` adds ``--submission``."""

from grading.plugin import (
    arena,
    judge,
    packets_folder,
    pytest_runtest_makereport,
    pytest_runtest_setup,
    submission,
    submission_manifest,
)

__all__ = [
    "arena",
    "judge",
    "packets_folder",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "submission",
    "submission_manifest",
]
