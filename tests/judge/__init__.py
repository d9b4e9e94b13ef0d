"""Other people's programs, judged and tried in the lab: ``make test-judge``."""
