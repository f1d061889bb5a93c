"""The API answers as its OpenAPI document says, whatever it is asked."""

import base64
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from support.compose import ComposeStack
from support.guarded_gateway import guarded_gateway

Answers = list[dict[str, object]]
CONTRACT = Path(__file__).parent / "contract"
GUARDED = {
    "TBSCREEN_WEBHOOK_SECRET": f"whsec_{base64.b64encode(bytes(range(32))).decode()}",
    "TBSCREEN_CALLBACK_ALLOW": "127.0.0.0/8",
    "TBSCREEN_CALLBACK_HTTP": "true",
    # Low enough to be reached.
    "TBSCREEN_RATE_LIMIT_PER_MINUTE": "120",
}
CALLBACKS = {"TBSCREEN_CONTRACT_CALLBACK": "http://127.0.0.1:9/in"}


@pytest.mark.timeout(900)
def test_no_answer_is_undocumented_and_none_is_a_fault(stack: ComposeStack, tmp_path: Path) -> None:
    # The second where a slow machine has not come through every operation in the first.
    run_until_all_was_tried(stack.url, tmp_path, "schemathesis.toml", {}, seconds=(45, 180))


@pytest.mark.timeout(900)
def test_nor_of_a_gateway_that_needs_keys_and_sends_callbacks(
    stack: ComposeStack, tmp_path: Path
) -> None:
    with guarded_gateway(stack, GUARDED) as gateway:
        header = ("--header", f"Authorization: Bearer {gateway.token}")
        run_until_all_was_tried(
            *(gateway.url, tmp_path, "guarded.toml", CALLBACKS, *header),
            seconds=(30, 180),
            until=met_its_guards,
        )


def met_its_guards(answers: Answers) -> bool:
    # Requests without a key, or with a wrong one, are the check's own, and not among these.
    statuses = {answer["status"] for answer in answers}
    signed_in = any(
        (answer["operation"], answer["status"]) == ("POST /v1/session", 201) for answer in answers
    )
    called_back = any(answer["callback"] and answer["status"] == 202 for answer in answers)
    return statuses >= {201, 403, 429} and signed_in and called_back


def run_until_all_was_tried(
    url: str,
    directory: Path,
    config: str,
    environment: dict[str, str],
    *options: str,
    seconds: tuple[int, ...],
    until: Callable[[Answers], bool] = bool,
) -> None:
    """Tries for each of these times in turn, until every operation was tried, and all that must be.

    Args:
        until: takes what was answered, each with its operation and status.
    """
    answers = directory / "answers.jsonl"
    for limit_s in seconds:
        answers.unlink(missing_ok=True)
        done = subprocess.run(
            [
                *(Path(sys.executable).with_name("schemathesis"), "--config-file"),
                *(config, "run", f"{url}/openapi.json", *options),
                *("--max-time", str(limit_s), "--request-timeout", "60"),
                *("--continue-on-failure", "--no-color", "--generation-deterministic"),
                *("--report", "json", "--report-dir", directory),
            ],
            cwd=CONTRACT,
            env=os.environ | environment | {"TBSCREEN_CONTRACT_ANSWERS": str(answers)},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        counted = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
        assert counted, done.stdout[-2000:]
        selected = re.search(r"Selected: (\d+)/(\d+)\n\s+Tested: (\d+)", done.stdout)
        assert selected, done.stdout[-2000:]
        told = [json.loads(line) for line in answers.read_text().splitlines()]
        print(selected[0], counted[0], len(told), Counter(answer["status"] for answer in told))
        if int(counted[1]) >= 500 and len(set(selected.groups())) == 1 and until(told):
            return
    pytest.fail("too few cases, or an operation or an answer was left out: see above")
