"""`tbscreen calibrate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from tbscreen.calibrate import (
    BundleFacts,
    Labelled,
    Needs,
    Scored,
    SiteError,
    SiteFile,
    Targets,
    Unanswered,
    calibrate_site,
    check_target,
    images_needed,
    read_sources,
    write_site_file,
)
from tbscreen.calibrate.bundle import BundleError, Interval, active_version, read_facts
from tbscreen.calibrate.run import Answers, Interrupted, ask_gateway
from tbscreen.client import DEFAULT_URL, Client
from tbscreen.errors import AccessDenied, GatewayUnreachable, TbscreenError
from tbscreen.gateway_options import (
    KEY_HINT,
    ApiKeyFileOption,
    UrlOption,
    check_access,
    open_client,
)
from tbscreen.predict_command import ExitCode


def calibrate(
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER|TABLE...",
            help="Folders with a folder for each label, or CSV tables with the column label and "
            "either file or what `tbscreen predict --format csv` prints. None: say how many "
            "radiographs it takes.",
            exists=True,
            show_default=False,
        ),
    ] = None,
    positive: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="A label that means TB; may be repeated, and all others mean none. Without it "
            "normal, negative, no TB, non-TB, healthy, 0 and other do, and any other word is "
            "refused.",
            show_default="TB Positive, tuberculosis, TB, positive, 1",
        ),
    ] = None,
    sensitivity: Annotated[
        float, typer.Option(min=0.5, max=0.99, help="What the threshold shall reach, at least.")
    ] = 0.90,
    sensitivity_low: Annotated[
        float,
        typer.Option(
            min=0.1, max=0.98, help="Lowest that its 95 % interval may reach: sets how many TB."
        ),
    ] = 0.80,
    half_width: Annotated[
        float,
        typer.Option(
            min=0.01, max=0.3, help="Of the specificity's 95 % interval: sets how many without TB."
        ),
    ] = 0.05,
    models_dir: Annotated[
        Path,
        typer.Option(
            envvar="TBSCREEN_MODELS_DIR",
            help="Folder of published models, where workers find the site's threshold.",
        ),
    ] = Path("models"),
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it there, to be copied to the models volume."),
    ] = None,
    url: UrlOption = DEFAULT_URL,
    api_key_file: ApiKeyFileOption = None,
    jobs: Annotated[
        int, typer.Option(min=1, max=64, help="How many files are with the gateway at a time.")
    ] = 8,
    wait: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="How long to wait for each answer.")
    ] = 300.0,
) -> None:
    """Set the site's own threshold from its labelled radiographs.

    The threshold is written beside the model it was measured with and holds for that model only;
    workers apply it within a second, and results name it `site`. Delete the file to return to the
    published threshold. It holds counts and figures, and nothing of a single radiograph.

    Use radiographs that the model was not trained on, one for each person, as they come in the
    clinic. Fewer than the stated intervals take are refused. One with TB that is not answered
    counts as missed; one without is left out and counted apart.

    Exit codes:

    - 0: the threshold is written, or it is said how many radiographs it takes
    - 1: these radiographs do not make one; nothing is written
    - 2: wrong usage
    - 3: the gateway can not be reached
    - 4: the gateway needs an API key, or one that may do more
    - 130: interrupted
    """
    if sensitivity_low >= sensitivity:
        raise typer.BadParameter("must be below --sensitivity", param_hint="--sensitivity-low")
    targets = Targets(sensitivity, sensitivity_low, half_width)
    try:
        with open_client(url, api_key_file) as client:
            labelled = read_sources(sources, positive or ()) if sources else None
            facts = _find_facts(client, models_dir, labelled)
            needs = images_needed(facts, targets)
            if labelled is None:
                typer.echo(_describe_needs(facts, needs, targets))
                return
            _check_counts(labelled, needs)
            target = _find_target(output, models_dir, facts.version)
            answers = ask_gateway(client, labelled.images, facts, jobs=jobs, wait_s=wait)
        site = _calibrate(facts, labelled, answers, targets)
        write_site_file(target, site)
    except Interrupted as error:
        raise typer.Exit(ExitCode.INTERRUPTED) from error
    except GatewayUnreachable as error:
        _complain(f"{error}. Start one with `tbscreen serve`, or name another with --url.")
        raise typer.Exit(ExitCode.UNREACHABLE) from error
    except AccessDenied as error:
        _complain(f"{error} {KEY_HINT}")
        raise typer.Exit(ExitCode.DENIED) from error
    # ValueError: what the sources, the bundle or the figures refuse.
    except (ValueError, OSError, TbscreenError) as error:
        _complain(str(error))
        raise typer.Exit(ExitCode.SOME_FAILED) from error
    typer.echo(_describe(site, target))


def _find_facts(client: Client, models_dir: Path, labelled: Labelled | None) -> BundleFacts:
    """Returns the model that answered, or is to answer, from the folder or from the gateway."""
    versions = set(labelled.versions) if labelled else set()
    if labelled is None and (active := active_version(models_dir)):
        versions.add(active)
    elif labelled is None or labelled.images:
        workers = check_access(client).workers
        versions |= {worker.model.version for worker in workers if worker.model}
    if len(versions) != 1:
        listed = ", ".join(sorted(versions)) or "none"
        raise SiteError(f"one model must answer all of them, but there are: {listed}")
    (version,) = versions
    facts = read_facts(models_dir, version)
    if facts is not None:
        return facts
    try:
        return BundleFacts.model_validate(client.model(version).manifest)
    except ValidationError as error:
        raise BundleError(f"model {version}: its manifest is not understood") from error


def _find_target(output: Path | None, models_dir: Path, version: str) -> Path:
    """Returns where the threshold is to be written, once it is certain that it can be.

    Raises:
        SiteError: it can not, or no worker would look there.
    """
    if output is None and read_facts(models_dir, version) is None:
        raise SiteError(
            f"{models_dir} does not hold the model {version}, so no worker looks there for its "
            "threshold: name the workers' folder with --models-dir, or a file with --output"
        )
    target = output or models_dir / f"{version}.site.json"
    check_target(target)
    return target


def _check_counts(labelled: Labelled, needs: Needs) -> None:
    missing = []
    if labelled.positives < needs.positives:
        missing.append(f"{needs.positives} with TB (there are {labelled.positives})")
    if labelled.negatives < needs.negatives:
        missing.append(f"{needs.negatives} without (there are {labelled.negatives})")
    if missing:
        raise SiteError(
            f"too few radiographs for these intervals: it takes {' and '.join(missing)}. Collect "
            "more, or state wider ones with --half-width or --sensitivity-low"
        )


def _calibrate(
    facts: BundleFacts, labelled: Labelled, answers: Answers, targets: Targets
) -> SiteFile:
    for label, count in sorted(labelled.labels.items()):
        kind = "TB" if label in labelled.positive_labels else "no TB"
        typer.echo(f"{label}: {count} radiographs, {kind}", err=True)
    for code, count in answers.positive_faults.most_common():
        _complain(f"{count} radiographs with TB were not answered and count as missed: {code}")
    for code, count in answers.negative_faults.most_common():
        _complain(f"{count} radiographs without TB were not answered and are left out: {code}")
    unanswered = Unanswered(
        labelled.unanswered_positives + answers.positive_faults.total(),
        labelled.unanswered_negatives + answers.negative_faults.total(),
    )
    scored: list[Scored] = [*labelled.scored, *answers.scored]
    return calibrate_site(facts, scored, targets, unanswered=unanswered)


def _describe_needs(facts: BundleFacts, needs: Needs, targets: Targets) -> str:
    known = facts.default_point.specificity
    return (
        f"Model {facts.version}. A threshold for a sensitivity of {targets.sensitivity:g} takes\n"
        f"  {needs.positives} radiographs with TB, for a 95 % interval that stays above "
        f"{targets.sensitivity_low:g}\n"
        f"  {needs.negatives} without, to know its specificity to ± {targets.half_width:g} "
        f"(published: {known.value:.2f}, {known.low:.2f} to {known.high:.2f})"
    )


def _describe(site: SiteFile, target: Path) -> str:
    point, fitted, band = site.operating_point, site.calibration, site.indeterminate_band
    calibration = "as published: it takes 100 radiographs of each kind to fit the site's own"
    if fitted:
        calibration = f"fitted: scale {fitted.scale:.2f}, bias {fitted.bias:.2f}"
    lines = [
        f"threshold {point.threshold:.3f} for model {site.version}, on {point.measured_on}",
        f"sensitivity {_with_interval(point.sensitivity)}",
        f"specificity {_with_interval(point.specificity)}",
        f"unanswered {site.unanswered_positive_images} with TB, "
        f"{site.unanswered_negative_images} without",
        f"calibration {calibration}",
        f"indeterminate {f'{band[0]:.3f} to {band[1]:.3f}' if band else 'none'}",
        f"written to {target}",
    ]
    return "\n".join(lines)


def _with_interval(figure: Interval) -> str:
    return f"{figure.value:.2f}, 95 % interval {figure.low:.2f} to {figure.high:.2f}"


def _complain(message: str) -> None:
    sys.stderr.write(f"tbscreen: {message}\n")
