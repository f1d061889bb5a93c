"""Batches that come as an archive, unpacked as the gateway does it."""

import pytest

from support.sent_form import SentRequest, form, split
from tbscreen_gateway.batches.draft import BatchDraft, BatchLimits
from tbscreen_gateway.batches.form import receive_batch
from tbscreen_gateway.problems import Refusal
from tbscreen_shared.blobs import BlobStore

LIMITS = BatchLimits(
    max_files=20,
    max_request_bytes=50_000_000,
    max_file_bytes=5_000_000,
    max_unpacked_bytes=40_000_000,
    max_ratio=100,
)


async def unpack(data: bytes, blobs: BlobStore, limits: BatchLimits = LIMITS) -> BatchDraft:
    sent = SentRequest(split(form(data, "archive"), 100_000))
    return await receive_batch(sent.request, blobs, limits, lambda _: None)


async def refusal(data: bytes, blobs: BlobStore, limits: BatchLimits = LIMITS) -> Refusal:
    with pytest.raises(Refusal) as caught:
        await unpack(data, blobs, limits)
    return caught.value
