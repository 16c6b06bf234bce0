"""Decisions on images. What keeps decisions keeps only the hash of an image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from dsplus_chains.encoding.image_reading import read_image
from dsplus_chains.encoding.modality import Modality
from dsplus_chains.learning.experience import Experience, hash_of_input
from dsplus_chains.schema import ImageInput, InvalidInputError, TrainingDataError


def only_for_images(images: Iterable[Any] | None, modality: Modality) -> Iterable[Any]:
    """The images that are given beside decisions, if any.

    Raises:
        InvalidInputError: There are some, and the small model reads texts.
    """
    if images is not None and modality != "image":
        msg = "Got images= and a small model of texts, which reads no image; leave it out"
        raise InvalidInputError(msg)
    return () if images is None else images


def with_images(
    decisions: Sequence[Experience], images: Iterable[Any], *, labelled: Iterable[Any] = ()
) -> list[Experience]:
    """Decisions with the images that they are on in place of the text. One whose image is not there teaches nothing.

    Args:
        decisions: The decisions. Those that were read from a table have their images already.
        images: The images, in any order and in any form that `read_image` knows. There may be others among them.
        labelled: Images whose labels are known beside the decisions.

    Raises:
        TrainingDataError: There are decisions beside those on labelled images, but none on one of the images.
        InvalidInputError: Something among the images is none.
    """
    gold = {hash_of_input(image): image for image in map(read_image, labelled)}
    known = {hash_of_input(image): image for image in map(read_image, images)}
    known |= {row.text_hash: row.text for row in decisions if isinstance(row.text, ImageInput)}
    others = [row for row in decisions if row.text_hash not in gold]
    if others and not any(row.text_hash in known for row in others):
        msg = (
            f"Got {len(others)} decisions and {len(known)} images, and no decision is on one of them. A store keeps "
            "the hashes of images, and not the images; give those that the chain was called with: images=[...]"
        )
        raise TrainingDataError(msg)
    known |= gold
    return [replace(row, text=known.get(row.text_hash)) for row in decisions]
