"""Reads images in all the forms that they come in. Nothing is fetched from anywhere."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import numpy as np

from dsplus_chains.schema import ImageInput, InvalidInputError, describe_error, hash_of_bytes, shown, what_came
from dsplus_chains.schema.image_input import PREFIX, bytes_of_file

if TYPE_CHECKING:
    from PIL.Image import Image

BLOCKS = ("image", "image_url", "input_image")
"""The types of content blocks that hold an image."""
FORMS = (
    "expected a path, bytes, a data: URL, a PIL image, an array of 8-bit pixels of shape [h, w], [h, w, 3] or "
    "[h, w, 4], or an image content block"
)
_KINDS = {
    rb"\x89PNG\r\n\x1a\n": "image/png",
    rb"\xff\xd8\xff": "image/jpeg",
    rb"GIF8[79]a": "image/gif",
    rb"RIFF....WEBP": "image/webp",
    rb"BM": "image/bmp",
    rb"II\*\x00|MM\x00\*": "image/tiff",
    rb"....ftyp(avif|avis)": "image/avif",
}
"""How files of each type begin."""
_DATA_URL = re.compile(r"data:(?P<told>[^,]*),(?P<data>.*)", re.DOTALL | re.IGNORECASE)
_REMOTE = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def read_image(value: Any, *, beside: Path | None = None) -> ImageInput:
    """The image that a value holds or names.

    Args:
        value: A path, bytes, a ``data:`` URL, a PIL image, an array of 8-bit pixels, or an image content block of
            LangChain, OpenAI or Anthropic. Or a dict with "bytes" and "path", as data sets of Hugging Face hold an
            image in Parquet. An `ImageInput` stays as it is.
        beside: The folder that a path is relative to. None is the working directory.

    Raises:
        InvalidInputError: It is no image, or one that would have to be fetched.

    Example:
        >>> dark = read_image(np.zeros((8, 8), dtype=np.uint8))
        >>> sent = read_image({"type": "image", "base64": base64.b64encode(dark.data).decode()})
        >>> dark.mime, sent == read_image(dark.data)
        ('image/png', True)
    """
    if isinstance(value, ImageInput):
        return value
    if isinstance(value, str):
        return _from_text(value, beside)
    if isinstance(value, Path):
        path = (value if beside is None else beside / value).absolute()
        return _made(path, bytes_of_file(path), where=repr(str(value)))
    if isinstance(value, (bytes, bytearray, memoryview)):
        data = bytes(value)
        return _made(data, data, where=f"{len(data):,} bytes")
    if is_stored_image(value):
        stored = value["path"] if value["bytes"] is None else value["bytes"]
        return read_image(stored, beside=beside)
    return _from_block(value) if is_image_block(value) else _from_pixels(value)


def images_in(folder: str | Path) -> Iterator[ImageInput]:
    """The images in a folder and its subfolders, in the order of their paths. Other files are passed over.

    Args:
        folder: The folder.

    Raises:
        InvalidInputError: There is no such folder.
    """
    if not Path(folder).is_dir():
        msg = f"Got {str(folder)!r} but expected a folder with images, and none is there"
        raise InvalidInputError(msg)
    for path in sorted(Path(folder).rglob("*")):
        with suppress(InvalidInputError):  # it is no image
            yield read_image(path)


def is_image_block(value: Any) -> bool:
    """Whether a value is a content block of a message that holds an image."""
    return isinstance(value, Mapping) and value.get("type") in BLOCKS


def is_stored_image(value: Any) -> bool:
    """Whether a value is an image as data sets of Hugging Face hold it in Parquet."""
    return isinstance(value, Mapping) and set(value) == {"bytes", "path"}


def picture_of(value: Any) -> Image:
    """The pixels of an image, upright, in red, green and blue. What is transparent becomes white.

    Args:
        value: An image, as `read_image` takes it.

    Raises:
        InvalidInputError: It is none, or cannot be decoded.
    """
    image = read_image(value)
    pil, _ = _pillow()
    try:
        with pil.open(BytesIO(image.data)) as opened:
            picture = _upright(opened)
            if picture.has_transparency_data:
                layer = picture.convert("RGBA")
                picture = pil.alpha_composite(pil.new("RGBA", layer.size, "white"), layer)
            colours: Image = picture.convert("RGB")
            return colours
    except InvalidInputError:
        raise
    except Exception as error:  # whatever is in the file
        msg = f"Got {image!r}, which cannot be decoded ({describe_error(error)}); drop or mend it"
        raise InvalidInputError(msg) from error


def undecodable(images: Sequence[Any]) -> dict[int, InvalidInputError]:
    """The images that cannot be decoded, by their place, with what is wrong with each.

    Args:
        images: Images, as `read_image` takes them.

    Example:
        >>> {place: str(error)[:21] for place, error in undecodable([np.zeros((2, 2), np.uint8), b"GIF89a"]).items()}
        {1: 'Got <image 6 bytes, s'}
    """
    found = {}
    for place, image in enumerate(images):
        try:
            picture_of(image)
        except InvalidInputError as error:
            found[place] = error
    return found


@cache
def probe_image() -> ImageInput:
    """A fixed image. Its vector shows whether an encoder is the one that a model was fitted on."""
    rising = np.arange(64 * 64, dtype=np.uint32).reshape(64, 64)
    return read_image(np.stack([rising // 16, rising % 256, rising.T // 16], axis=2).astype(np.uint8))


def _from_text(text: str, beside: Path | None = None) -> ImageInput:
    if text.startswith(PREFIX):
        msg = f"Got {shown(text)}, which only names an image; what keeps such names keeps no images, so give the image"
        raise InvalidInputError(msg)
    if (found := _DATA_URL.fullmatch(text)) is not None:
        data = _from_base64(found["data"]) if found["told"].endswith("base64") else unquote_to_bytes(found["data"])
        return _made(data, data, where=f"a data: URL of {len(data):,} bytes")
    if _REMOTE.match(text):
        msg = f"Got the address {shown(text)}, and nothing is fetched; load the image yourself, and give its bytes"
        raise InvalidInputError(msg)
    if "\0" in text or len(text) > 4096 or not text.strip():
        msg = f"Got {shown(text)} but {FORMS}"
        raise InvalidInputError(msg)
    return read_image(Path(text), beside=beside)


def _from_block(block: Mapping[str, Any]) -> ImageInput:
    source = block.get("source")
    told = {**block, **(source if isinstance(source, Mapping) else {})}
    for key in ("base64", "data"):
        if isinstance(told.get(key), str):
            data = _from_base64(told[key])
            return _made(data, data, where=f"an image block of {len(data):,} bytes")
    url = told.get("image_url", told.get("url"))
    url = url.get("url") if isinstance(url, Mapping) else url
    if isinstance(url, str) and (_DATA_URL.match(url) or _REMOTE.match(url)):
        return _from_text(url)
    msg = f"Got {what_came(block)} but expected an image block with base64 data, or with a data: URL"
    raise InvalidInputError(msg)


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        msg = f"Got {shown(text, 20)} as the data of an image but expected base64 ({error})"
        raise InvalidInputError(msg) from error


def _from_pixels(value: Any) -> ImageInput:
    """An image that is in memory. It is named by its pixels, as other versions of Pillow pack them otherwise."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        value = _from_array(np.asarray(value))
    if not (hasattr(value, "mode") and hasattr(value, "tobytes") and hasattr(value, "save")):
        msg = f"Got {what_came(value)} but {FORMS}"
        raise InvalidInputError(msg)
    buffer = BytesIO()
    try:
        flat = _upright(value)
        if flat.mode not in {"L", "RGB", "RGBA"}:
            flat = flat.convert("RGBA" if flat.has_transparency_data else "RGB")
        flat.save(buffer, "PNG")
    except InvalidInputError:
        raise
    except Exception as error:  # Pillow decodes a file when its pixels are wanted
        msg = f"Got {what_came(value)}, which cannot be decoded ({describe_error(error)}); drop or mend it"
        raise InvalidInputError(msg) from error
    told = f"{flat.mode} {flat.size[0]} {flat.size[1]} ".encode()
    return ImageInput(buffer.getvalue(), sha256=hash_of_bytes(told + flat.tobytes()), mime="image/png")


def _upright(opened: Any) -> Any:
    """A picture as its file says that it is held, with 8 bits a channel.

    Raises:
        InvalidInputError: Its pixels have no known range.
    """
    pil, ops = _pillow()
    picture = ops.exif_transpose(opened)
    if picture.mode not in {"I", "F"} and not picture.mode.startswith("I;16"):
        return picture
    if picture.mode == "F" or (picture.mode == "I" and opened.format != "PNG"):  # older Pillow calls 16 bits of PNG so
        msg = f"Got an image of the mode {picture.mode!r}, whose pixels have no known range, but {FORMS}"
        raise InvalidInputError(msg)
    return pil.fromarray((np.asarray(picture) // 257).astype(np.uint8))  # Pillow makes all above 255 white


def _from_array(pixels: Any) -> Any:
    if pixels.dtype != np.uint8 or not pixels.size or not (pixels.ndim == 2 or pixels.shape[2:] in {(3,), (4,)}):
        msg = f"Got an array of {pixels.dtype} of the shape {pixels.shape} but {FORMS}"
        raise InvalidInputError(msg)
    pil, _ = _pillow()
    return pil.fromarray(np.ascontiguousarray(pixels))


def _made(source: Path | bytes, data: bytes, *, where: str) -> ImageInput:
    mime = next((mime for start, mime in _KINDS.items() if re.match(start, data[:16], re.DOTALL)), None)
    if mime is None:
        msg = f"Got {where}, which is no PNG, JPEG, GIF, WebP, BMP, TIFF or AVIF; {FORMS}"
        raise InvalidInputError(msg)
    return ImageInput(source, sha256=hash_of_bytes(data), mime=mime)


def _pillow() -> tuple[Any, Any]:
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        msg = "An image needs Pillow; run: pip install 'dsplus-chains[vision]'"
        raise ImportError(msg) from error
    return Image, ImageOps
