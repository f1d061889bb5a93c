"""Asks OSV (osv.dev) about known vulnerabilities of the locked dependencies.

`make audit` runs it over what `uv export` writes. There are three ends, and `verdict` beside the
requirements names the one that was reached: `clean`, `vulnerable`, `not-audited`. The last is an
error too: a service that can not be reached has found nothing, and has not looked either.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

_SERVICE: Final = "https://api.osv.dev/v1/query"

_STATUS: Final = {"clean": 0, "vulnerable": 1, "not-audited": 3}


def audit(requirements: Path, *, service: str, ignored: list[str]) -> tuple[str, list[str]]:
    """Returns the verdict and the lines that explain it.

    Args:
        requirements: pinned, with hashes; nothing is resolved or installed.
        service: URL of OSV's query.
        ignored: identifiers of vulnerabilities that were judged not to matter here.
    """
    answers = requirements.with_name("answers.json")
    answers.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(requirements)]
    command += ["--disable-pip", "--no-deps", "--require-hashes", "--progress-spinner", "off"]
    command += ["--vulnerability-service", "osv", "--osv-url", service]
    command += ["--format", "json", "--output", str(answers)]
    command += [word for identifier in ignored for word in ("--ignore-vuln", identifier)]
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        packages: list[dict[str, Any]] = json.loads(answers.read_text())["dependencies"]
    except (OSError, ValueError):
        # Its exit status is that of a finding.
        return "not-audited", [f"{service} gave no answer: {_last_line(done.stderr)}"]
    skipped = [f"{package['name']}: {package['skip_reason']}" for package in _skipped(packages)]
    if skipped or not packages:
        return "not-audited", skipped or ["there is no package to ask about"]
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in packages
        for vulnerability in package["vulns"]
    ]
    if found:
        return "vulnerable", found
    return "clean", [f"{len(packages)} packages have no known vulnerability"]


def _skipped(packages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [package for package in packages if "skip_reason" in package]


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no reason given"


def main() -> int:
    """Returns 0 when clean, 1 when vulnerable, 3 when it could not be found out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirements", type=Path, help="what `uv export` wrote")
    parser.add_argument("--service", default=_SERVICE, help="URL of OSV's query")
    parser.add_argument("--ignore", action="append", default=[], metavar="ID")
    options = parser.parse_args()
    verdict, lines = audit(options.requirements, service=options.service, ignored=options.ignore)
    options.requirements.with_name("verdict").write_text(f"{verdict}\n")
    stream = sys.stdout if verdict == "clean" else sys.stderr
    stream.write("".join(f"{verdict.upper()}: {line}\n" for line in lines))
    return _STATUS[verdict]


if __name__ == "__main__":
    sys.exit(main())
