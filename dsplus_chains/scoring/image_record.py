"""How a scorer of images begins the record from an input of a chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dsplus_chains.encoding.image_reading import is_image_block, is_stored_image, read_image
from dsplus_chains.schema import InvalidInputError
from dsplus_chains.scoring.record_start import check_key, check_own_keys


def start_image_record(value: Any, *, input_key: str) -> dict[str, Any]:
    """The record of one input of a chain, which is an image, or a dict that holds one.

    A record is kept, shown and traced. So the image stands in it as an `ImageInput`, which takes no more room than its
    hash. It knows what the chain was called with.

    Args:
        value: An image, as `read_image` takes it. Or a dict with one, all other keys of which are kept.
        input_key: The key of a dict under which the image is. The image becomes `input`.

    Raises:
        InvalidInputError: There is no image. Or the dict has a different `input` already, or keys of the chain's own.

    Example:
        >>> import numpy as np
        >>> record = start_image_record({"photo": np.zeros((8, 8), dtype=np.uint8), "id": 7}, input_key="photo")
        >>> sorted(record), record["input"] is record["photo"], len(record["input"])
        (['id', 'input', 'photo'], True, 77)
    """
    is_image = is_image_block(value) or is_stored_image(value)
    if not isinstance(value, Mapping) or (is_image and input_key not in value):
        image = read_image(value)
        return {"input": image if image is value else image.called_with(value)}
    check_key(value, input_key, "image")
    check_own_keys(value)
    if "input" in value and input_key != "input" and value["input"] is not value[input_key]:
        msg = (
            f"Got a dict that holds one image under {input_key!r} and something else under 'input', which is where the "
            "record keeps what is scored. Rename the one under 'input'"
        )
        raise InvalidInputError(msg)
    image = read_image(value[input_key])
    if "prediction" not in value:
        image = image.called_with(value)
    return {**value, input_key: image, "input": image}
