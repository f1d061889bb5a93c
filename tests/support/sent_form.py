"""Forms as bytes, and requests that bring them in pieces."""

from collections.abc import Iterable

from fastapi import Request

FORM = "multipart/form-data; boundary=edge"


def part(data: bytes, name: str = "file") -> bytes:
    head = (
        f'--edge\r\nContent-Disposition: form-data; name="{name}"; filename="Doe^Jane.dcm"\r\n\r\n'
    )
    return head.encode() + data + b"\r\n"


def form(data: bytes, name: str = "file") -> bytes:
    return part(data, name) + b"--edge--\r\n"


class SentRequest:
    """A request whose body comes in the given pieces; None among them is the client leaving."""

    def __init__(
        self, pieces: Iterable[bytes | None], content_type: str = FORM, **headers: str
    ) -> None:
        self._pieces = iter(pieces)
        self.pieces_read = 0
        given = {"content-type": content_type, **headers}
        self.request = Request(
            {
                "type": "http",
                "method": "POST",
                "headers": [
                    (name.replace("_", "-").encode(), value.encode("latin-1"))
                    for name, value in given.items()
                ],
            },
            self._receive,
        )

    async def _receive(self) -> dict[str, object]:
        piece = next(self._pieces, b"")
        self.pieces_read += 1
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": piece != b""}


def split(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
