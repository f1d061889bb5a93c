"""tbscreen's client: screen chest radiographs for tuberculosis through a gateway.

with tbscreen.Client("http://localhost:8000") as client:
    result = client.predict("radiograph.png")
    print(result.prediction, result.probability)
"""

from tbscreen.client import Client
from tbscreen.errors import (
    AccessDenied,
    BatchNotFound,
    BatchTimeout,
    GatewayBusy,
    GatewayError,
    GatewayUnreachable,
    InvalidWebhook,
    JobFailed,
    JobNotFound,
    JobTimeout,
    TbscreenError,
    UploadRefused,
)
from tbscreen.models import (
    Batch,
    BatchItem,
    Health,
    Job,
    JobError,
    Model,
    ModelRef,
    Result,
)
from tbscreen.webhooks import verify_webhook

__all__ = [
    "AccessDenied",
    "Batch",
    "BatchItem",
    "BatchNotFound",
    "BatchTimeout",
    "Client",
    "GatewayBusy",
    "GatewayError",
    "GatewayUnreachable",
    "Health",
    "InvalidWebhook",
    "Job",
    "JobError",
    "JobFailed",
    "JobNotFound",
    "JobTimeout",
    "Model",
    "ModelRef",
    "Result",
    "TbscreenError",
    "UploadRefused",
    "verify_webhook",
]
