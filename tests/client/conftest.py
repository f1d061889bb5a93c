from collections.abc import Iterator
from typing import Any

import pytest

from support.http_gateway import GatewayState, running_gateway
from tbscreen import Client


@pytest.fixture
def gateway() -> Iterator[GatewayState]:
    with running_gateway() as state:
        yield state


@pytest.fixture
def client(gateway: GatewayState) -> Iterator[Client]:
    with Client(gateway.url, retry_for_s=5) as made:
        yield made


@pytest.fixture
def manifest() -> dict[str, Any]:
    """The part of a manifest that `tbscreen calibrate` reads, and something that it does not."""
    figure = {"value": 0.9, "low": 0.8, "high": 0.95}
    return {
        "version": "v1",
        "model_sha256": "0" * 64,
        "labels": ["Normal", "TB Positive"],
        "positive_label": "TB Positive",
        "calibration": {"method": "identity", "scale": 1.0, "bias": 0.0},
        "operating_points": [
            {
                "name": "triage",
                "threshold": 0.4,
                "sensitivity": figure,
                "specificity": figure,
                "measured_on": "validation",
            }
        ],
        "default_operating_point": "triage",
        "indeterminate_band": None,
        "provenance": "not read",
    }
