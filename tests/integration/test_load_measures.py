"""What the faults, the soak and the overload are judged by."""

import random
from collections import Counter

import httpx
import pytest

from faults.soak import judge
from support.callbacks import receiving_callbacks
from support.ledger import fingerprint
from support.trend import Trend, Verdict, trend_of

HOURS = [n / 360 for n in range(240)]  # a sample each 10 s, for 40 minutes


def test_a_level_with_noise_is_flat_and_a_leak_grows() -> None:
    noise = random.Random(1)
    level = [100 + noise.gauss(0, 1) for _ in HOURS]
    assert trend_of(HOURS, level).verdict(tolerance=2.0) is Verdict.FLAT
    leak = trend_of(HOURS, [value + 6 * hour for value, hour in zip(level, HOURS, strict=True)])
    assert leak.slope == pytest.approx(6, abs=1)
    assert leak.verdict(tolerance=2.0) is Verdict.GROWS
    assert trend_of(HOURS, [-value for value in range(240)]).verdict(0.0) is Verdict.FLAT


def test_what_follows_the_jobs_is_judged_at_a_constant_number_of_them() -> None:
    noise = random.Random(2)
    # A neighbour takes a tenth of the machine, for eight minutes late in the hour.
    jobs = [8000.0 if not 150 <= n < 198 else 7200.0 + noise.gauss(0, 20) for n in range(240)]
    keys = [2.15 * count + noise.gauss(0, 5) for count in jobs]
    assert trend_of(HOURS, keys).verdict(tolerance=300) is not Verdict.FLAT
    assert trend_of(HOURS, keys, jobs).verdict(tolerance=300) is Verdict.FLAT
    leak = [key + 600 * hour for hour, key in zip(HOURS, keys, strict=True)]
    assert trend_of(HOURS, leak, jobs).slope == pytest.approx(600, abs=10)
    assert trend_of(HOURS, leak, jobs).verdict(tolerance=300) is Verdict.GROWS
    steady = trend_of(HOURS, leak, [8000.0] * 240)
    assert steady.slope == pytest.approx(trend_of(HOURS, leak).slope)


def test_a_soak_sees_what_a_falling_rate_would_hide() -> None:
    def judged(
        keys_of_a_late_job: float, *, late_jobs: float = 7200.0, uploads_an_hour: float = 0.0
    ) -> list[str]:
        noise = random.Random(3)
        samples: list[dict[str, float]] = []
        for n in range(360):
            jobs = (8000.0 if n < 300 else late_jobs) + noise.gauss(0, 8)
            keys = 2.15 * 8000 + noise.gauss(0, 50)
            if n >= 300:
                keys += keys_of_a_late_job * (late_jobs - 8000)
            samples.append(
                {
                    **dict.fromkeys(
                        ("gateway anonymous_mb", "gateway rss_mb", "gateway files"), 80.0
                    ),
                    **dict.fromkeys(("uploads_mb", "queue_length", "unacked"), 1.0),
                    "at_s": 10.0 * n,
                    "recent_jobs": jobs,
                    "redis keys": keys,
                    "redis used_memory_mb": 4 + 0.0026 * jobs + noise.gauss(0, 0.01),
                    "uploads": 10 + uploads_an_hour * n / 360 + noise.gauss(0, 1),
                }
            )
        return judge(samples)[1]

    assert judged(2.15) == []
    assert judged(2.15, late_jobs=8000.0) == []
    # Nothing is erased any more, just as the rate falls: a level that stays.
    (hidden,) = judged(0.0)
    assert hidden.startswith("redis keys does not follow the jobs")
    (grows,) = judged(2.15, uploads_an_hour=60.0)
    assert grows.startswith("uploads grows")


def test_a_few_noisy_samples_decide_nothing() -> None:
    noise = random.Random(4)
    trend = trend_of(HOURS[:12], [100 + noise.gauss(0, 5) for _ in range(12)])
    assert trend.verdict(tolerance=2.0) is Verdict.UNDECIDED
    with pytest.raises(ValueError, match="too few"):
        trend_of(HOURS[:9], [1.0] * 9)


def test_samples_that_resemble_their_neighbours_are_not_taken_for_a_trend() -> None:
    verdicts: Counter[Verdict] = Counter()
    for seed in range(200):
        noise, value, values = random.Random(seed), 0.0, []
        for _ in HOURS:
            value = 0.9 * value + noise.gauss(0, 1)
            values.append(value)
        verdicts[trend_of(HOURS, values).verdict(tolerance=0.0)] += 1
    # One in forty is what the interval allows; without the widening it is one in three.
    assert verdicts[Verdict.GROWS] <= 14


def test_a_constant_has_an_interval_of_no_width() -> None:
    assert trend_of(HOURS, [7.0] * 240) == Trend(7.0, 0.0, 0.0, 0.0)


def test_a_webhooks_repeat_counts_once_and_a_second_state_as_two() -> None:
    with receiving_callbacks() as callbacks:
        for job_id, attempts in (("a", 1), ("a", 1), ("b", 1), ("b", 2)):
            told = httpx.post(
                callbacks.url,
                json={"id": job_id, "status": "succeeded", "attempts": attempts},
                headers={"webhook-id": job_id},
            )
            assert told.status_code == 204
        assert {job_id: len(states) for job_id, states in callbacks.told().items()} == {
            "a": 1,
            "b": 2,
        }
        assert callbacks.repeats() == 2
        seen = fingerprint({"status": "succeeded", "attempts": 1})
        assert callbacks.contradictions({"a": seen, "b": seen, "untold": seen}) == ["b"]
        assert callbacks.contradictions({"a": "something else"}) == ["a"]
        callbacks.forget()
        assert callbacks.told() == {}
