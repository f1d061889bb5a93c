"""Has a site's radiographs screened by the gateway."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from tbscreen.calibrate.bundle import BundleFacts
from tbscreen.calibrate.errors import SiteError
from tbscreen.calibrate.labelled import LabelledImage
from tbscreen.calibrate.site import Scored
from tbscreen.client import Client
from tbscreen.errors import AccessDenied, GatewayUnreachable
from tbscreen.models import Result
from tbscreen.predict.batch import Batch
from tbscreen.predict.output import open_output


class Interrupted(Exception):
    """Ctrl-C: what was sent goes on without a use."""


@dataclass
class Answers:
    """What came of the radiographs.

    Attributes:
        scored: those that were answered.
        positive_faults: how many with TB were not, by code.
        negative_faults: how many of the others were not, by code.
    """

    scored: list[Scored] = field(default_factory=list)
    positive_faults: Counter[str] = field(default_factory=Counter)
    negative_faults: Counter[str] = field(default_factory=Counter)

    def note_fault(self, image: LabelledImage, code: str) -> None:
        """Counts a radiograph that was not answered."""
        faults = self.positive_faults if image.is_positive else self.negative_faults
        faults[code] += 1


def ask_gateway(
    client: Client,
    images: Sequence[LabelledImage],
    facts: BundleFacts,
    *,
    jobs: int,
    wait_s: float,
) -> Answers:
    """Screens the radiographs with the model that `facts` describes.

    Raises:
        SiteError: another model answered.
        GatewayUnreachable: the gateway was lost on the way.
        AccessDenied: it needs an API key, or one that may do more.
        Interrupted: by Ctrl-C.
    """
    answers = Answers()
    if not images:
        return answers
    batch = Batch(client, [image.file for image in images], jobs=jobs, wait_s=wait_s)
    with open_output(None, len(images)) as progress:
        try:
            for image, outcome in zip(images, batch, strict=True):
                progress.advance()
                if batch.lost is not None:
                    raise batch.lost
                if outcome.result is None:
                    answers.note_fault(image, outcome.error_code or "no answer")
                else:
                    answers.scored.append(_score(image, outcome.result, facts))
        except KeyboardInterrupt as error:
            batch.stop()
            raise Interrupted from error
        except (SiteError, GatewayUnreachable, AccessDenied):
            batch.stop()
            raise
    return answers


def _score(image: LabelledImage, result: Result, facts: BundleFacts) -> Scored:
    model = result.model
    if (model.version, model.sha256) != (facts.version, facts.model_sha256):
        raise SiteError(
            f"the model changed on the way, from {facts.version} to {model.version}: start again"
        )
    logit = result.logits[0] if len(result.logits) == 1 else None
    return Scored(image.is_positive, result.probability, logit)
