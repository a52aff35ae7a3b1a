"""What a benchmark stores, as the tests of the reports and of what is stored need it."""

__all__ = ["RESULT"]

RESULT = {
    "date": "2026-01-02",
    "versions": {"torch": "9.9"},
    "machine": "abacus",
    "rounds": 9,
    "results": {
        "add": {"ms": {"others": 4.0, "derived": 2.0}, "times_faster": 2.0, "quartiles": [1.5, 3]},
        "take": {"ms": {"others": 1.0, "derived": 2.0}, "times_faster": 0.5, "quartiles": [0.4, 2]},
    },
}
