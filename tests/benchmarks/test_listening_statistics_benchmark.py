"""The benchmark's lines; what they say is tested in tests/listening."""

import json


def test_a_line_a_kind_of_study(benchmark):
    done = benchmark("listening_statistics", "--studies=2")
    assert done.returncode == 0, done.stderr
    *intervals, alarms = [json.loads(line) for line in done.stdout.splitlines()]
    assert {line["benchmark"] for line in intervals} == {"interval_coverage"} and len(intervals) == 11
    assert alarms["benchmark"] == "signed_rank_false_alarms" and alarms["value"] in (0, 0.5, 1)
