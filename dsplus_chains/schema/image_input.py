"""`ImageInput` is an image as one input. It is a short text that names the image by its bytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from typing_extensions import override

from dsplus_chains.schema.errors import InvalidInputError
from dsplus_chains.schema.hashing import hash_of_bytes

PREFIX = "image:sha256:"
"""How the text of each image begins."""
LARGEST = 1 << 28
"""Most bytes of an image."""
_NAME = re.compile(PREFIX + "[0-9a-f]{64}")


class ImageInput(str):
    """An image as one input.

    It is a string: "image:sha256:" and the SHA-256 of the image's bytes. So it can be put into a file, a log or a
    record as any other text, and takes no more room. Copies of an image have the same text, whatever their files are
    called. An image in a file stays in the file, and is read when it is needed. `read_image` makes one of all that can
    be an image.

    Args:
        source: The file of the image, or its bytes.
        sha256: What names the image.
        mime: Its type, such as "image/png".
        given: What the chain was called with. None stands for the image itself.

    Example:
        >>> from dsplus_chains.schema import hash_of_bytes
        >>> image = ImageInput(b"GIF89a", sha256=hash_of_bytes(b"GIF89a"), mime="image/gif")
        >>> print(image[:20], len(image), image.data)
        image:sha256:610f5ae 77 b'GIF89a'
    """

    source: Path | bytes
    sha256: str
    mime: str
    given: Any

    def __new__(cls, source: Path | bytes, *, sha256: str, mime: str, given: Any = None) -> ImageInput:
        """The image, from its file or its bytes."""
        image = super().__new__(cls, PREFIX + sha256)
        image.source, image.sha256, image.mime, image.given = source, sha256, mime, given
        return image

    def __getnewargs_ex__(self) -> tuple[Any, ...]:  # what `__new__` takes, for pickle
        return (self.source,), {"sha256": self.sha256, "mime": self.mime, "given": self.given}

    @override
    def __repr__(self) -> str:
        """Where the image is, and the beginning of its hash."""
        where = f"{len(self.source):,} bytes" if isinstance(self.source, bytes) else repr(self.source.name)
        return f"<image {where}, sha256 {self.sha256[:8]}>"

    def called_with(self, given: Any) -> ImageInput:
        """The same image, with what the chain was called with."""
        return ImageInput(self.source, sha256=self.sha256, mime=self.mime, given=given)

    @property
    def data(self) -> bytes:
        """The bytes of the image.

        Raises:
            InvalidInputError: Its file is gone, or holds something else by now.
        """
        if isinstance(self.source, bytes):
            return self.source
        data = bytes_of_file(self.source)
        if hash_of_bytes(data) != self.sha256:
            msg = f"Got {str(self.source)!r}, which has changed since it was first read; call anew with that file"
            raise InvalidInputError(msg)
        return data


def for_people(value: Any) -> str:
    """An input as people can read it. Of an image in a file, it is the path. Its own text is for machines.

    Example:
        >>> image = ImageInput(Path("photos/7.png"), sha256=64 * "0", mime="image/png")
        >>> for_people(image) == str(Path("photos/7.png")), for_people("broke at once")
        (True, 'broke at once')
    """
    if not isinstance(value, ImageInput):
        return str(value)
    return repr(value) if isinstance(value.source, bytes) else str(value.source)


def names_image(text: str) -> bool:
    """Whether a text is the name of an image and nothing else, as stores and logs keep it.

    Example:
        >>> names_image(PREFIX + 64 * "0"), names_image(PREFIX + "what does that mean?")
        (True, False)
    """
    return _NAME.fullmatch(text) is not None


def bytes_of_file(path: Path) -> bytes:
    """The bytes of an image's file.

    Raises:
        InvalidInputError: There is no such file, it is too large, or cannot be read.
    """
    try:
        if not path.is_file():
            msg = f"Got {str(path)!r} but expected the path of an image, and no file is there"
            raise InvalidInputError(msg)
        if (size := path.stat().st_size) > LARGEST:
            msg = f"Got {str(path)!r} of {size:,} bytes but expected an image of at most {LARGEST:,}"
            raise InvalidInputError(msg)
        return path.read_bytes()
    except OSError as error:
        msg = f"Got {str(path)[:200]!r}, which cannot be read as a file ({error.strerror or error})"
        raise InvalidInputError(msg) from error
