import pytest

from tbscreen_gateway.dependencies import get_wait


@pytest.mark.parametrize(
    ("wait", "prefer", "seconds", "applied"),
    [
        (None, None, 0, None),
        (2.5, None, 2.5, None),
        (99.0, None, 30, None),
        (1.0, "wait=9", 1, None),
        (None, "wait=9", 9, "wait=9"),
        (None, "respond-async, wait=9", 9, "wait=9"),
        (None, "return=minimal; x, Wait=9 ; foo=bar", 9, "wait=9"),
        (None, 'wait="7"', 7, "wait=7"),
        (None, "wait=600", 30, "wait=30"),
        (None, "wait=-1", 0, None),
        (None, "wait=soon", 0, None),
        (None, "nowait=5", 0, None),
        (None, "respond-async", 0, None),
    ],
)
def test_a_wait_is_asked_for_by_query_or_preference(
    wait: float | None, prefer: str | None, seconds: float, applied: str | None
) -> None:
    asked = get_wait(wait, prefer)
    assert asked.seconds == seconds
    assert asked.headers.get("Preference-Applied") == applied
