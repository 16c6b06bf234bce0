"""Images, in all the forms that they come in, and the encoder of them."""

import base64
import io
import json
import pickle

import numpy as np
import pytest
import torch
from digits import PixelEncoder, digits
from fakes import TinyEncoder
from PIL import Image

from dsplus_chains import EncoderUnion
from dsplus_chains.encoding import ImageEncoder, as_encoder, images_in, load_encoder, picture_of, read_image
from dsplus_chains.encoding.encoder import recipe_of
from dsplus_chains.schema import BundleError, InvalidInputError, text_hash

PIXELS = np.arange(64, dtype=np.uint8).reshape(8, 8)


def packed(kind: str = "PNG", mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


DATA = packed()
TEXT = base64.b64encode(DATA).decode()
URL = f"data:image/png;base64,{TEXT}"


@pytest.mark.parametrize(
    "form",
    [
        DATA,
        bytearray(DATA),
        URL,
        "DATA:image/png;charset=x;base64," + TEXT,
        {"type": "image", "base64": TEXT, "mime_type": "image/png"},
        {"type": "image", "url": URL},
        {"type": "image", "source_type": "base64", "data": TEXT, "mime_type": "image/png"},
        {"type": "image", "source_type": "url", "url": URL},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": TEXT}},
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "image_url", "image_url": URL},
        {"type": "input_image", "image_url": URL},
        {"bytes": DATA, "path": "gone.png"},
    ],
)
def test_all_forms_of_the_same_bytes_are_the_same_image(form, tmp_path):
    file = tmp_path / "a name.jpg"  # the name says nothing
    file.write_bytes(DATA)
    image = read_image(form)
    assert image == read_image(file) == read_image(str(file)) == read_image(image)
    assert (image.data, image.mime) == (DATA, "image/png")
    assert text_hash(image) == text_hash(read_image(file))
    assert read_image({"bytes": None, "path": file.name}, beside=tmp_path) == image


def test_the_images_of_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("b.png", "a/z.bin"):
        (tmp_path / name).write_bytes(DATA)
    (tmp_path / "a" / "notes.png").write_text("no image")
    assert [image.source.name for image in images_in(tmp_path)] == ["z.bin", "b.png"]
    with pytest.raises(InvalidInputError, match="expected a folder with images"):
        list(images_in(tmp_path / "none"))


def test_what_is_in_memory_is_named_by_its_pixels():
    image = read_image(PIXELS)
    assert image == read_image(Image.fromarray(PIXELS))
    assert image != read_image(PIXELS[::-1]) != read_image(PIXELS.reshape(4, 16))
    assert np.array_equal(np.asarray(picture_of(image))[:, :, 1], PIXELS)
    for shape in [(4, 4, 3), (4, 4, 4)]:
        assert picture_of(read_image(np.full(shape, 200, dtype=np.uint8))).size == (4, 4)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_kinds_of_files(kind):
    image = read_image(packed(kind))
    assert image.mime == f"image/{kind.lower()}"
    assert picture_of(image).size == (8, 8)


def test_pictures_are_upright_and_opaque():
    turned = Image.Exif()
    turned[274] = 6  # to be turned by a quarter
    buffer = io.BytesIO()
    Image.new("RGB", (4, 2)).save(buffer, "PNG", exif=turned)
    assert picture_of(read_image(buffer.getvalue())).size == (2, 4)
    clear = read_image(np.zeros((2, 2, 4), dtype=np.uint8))
    assert picture_of(clear).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_images_of_16_bits_keep_their_shades(kind):
    shades = np.arange(0, 65536, 257, dtype=np.uint16).reshape(16, 16)
    buffer = io.BytesIO()
    Image.fromarray(shades).save(buffer, kind)
    expected = np.arange(256).reshape(16, 16)
    for form in (buffer.getvalue(), Image.fromarray(shades)):
        assert np.array_equal(np.asarray(picture_of(form))[:, :, 0], expected)


def test_a_picture_in_memory_is_seen_as_its_file_is(tmp_path):
    turned = Image.Exif()
    turned[274] = 6
    Image.new("RGB", (4, 2)).save(tmp_path / "turned.jpg", exif=turned)
    Image.new("LA", (3, 3), (9, 0)).save(tmp_path / "clear.png")
    Image.new("P", (3, 3)).save(tmp_path / "palette.png", transparency=0)
    for name in ("turned.jpg", "clear.png", "palette.png"):
        with Image.open(tmp_path / name) as opened:
            assert np.array_equal(picture_of(opened), picture_of(tmp_path / name)), name
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    (tmp_path / "half.png").write_bytes(read_image(noise).data[:2000])
    with Image.open(tmp_path / "half.png") as opened, pytest.raises(InvalidInputError, match="cannot be decoded"):
        read_image(opened)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Image.new("F", (2, 2)), "mode 'F', whose pixels have no known range"),
        (Image.new("I", (2, 2)), "mode 'I', whose pixels have no known range"),
        ("https://example.com/cat.png", "nothing is fetched"),
        ("file:///cat.png", "nothing is fetched"),
        ({"type": "image_url", "image_url": {"url": "http://example.com/cat.png"}}, "nothing is fetched"),
        ({"type": "image", "file_id": "f-1"}, "a dict with the keys"),
        ({"bytes": None, "path": None}, "Got None"),
        ({"type": "image", "base64": "not base64!"}, "expected base64"),
        ({"type": "image", "url": "/etc/passwd"}, "expected an image block"),
        ("no/such/file.png", "no file is there"),
        (".", "no file is there"),
        ("a" * 5000, "expected a path"),
        ("a\0b", "expected a path"),
        ("", "expected a path"),
        (b"", "0 bytes, which is no PNG"),
        (b"<svg/>", "no PNG"),
        (7, r"Got 7 \(int\)"),
        (None, "Got None"),
        (np.zeros((8, 8)), "an array of float64"),
        (np.zeros((8, 8, 2), dtype=np.uint8), "of the shape"),
        (np.zeros((0, 8), dtype=np.uint8), "of the shape"),
        (str(read_image(DATA)), "only names an image"),
    ],
)
def test_what_is_no_image_is_refused(value, told):
    with pytest.raises(InvalidInputError, match=told):
        read_image(value)


def test_an_image_is_a_short_text_that_can_be_kept(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (600, 600, 3), dtype=np.uint8)
    large = read_image(noise)
    assert len(large.data) > 1_000_000
    assert len(json.dumps({"input": large})) < 100
    assert len(repr(large)) < 60
    again = pickle.loads(pickle.dumps(large))
    assert (again, again.data, again.mime) == (large, large.data, large.mime)
    file = tmp_path / "noise.png"
    file.write_bytes(large.data)
    assert len(pickle.dumps(read_image(file))) < 1000
    assert repr(read_image(file)).startswith("<image 'noise.png', sha256 ")


def test_a_file_that_has_changed_is_noticed(tmp_path):
    file = tmp_path / "one.png"
    file.write_bytes(DATA)
    image = read_image(file)
    file.write_bytes(packed("GIF"))
    with pytest.raises(InvalidInputError, match="has changed"):
        picture_of(image)
    file.unlink()
    with pytest.raises(InvalidInputError, match="no file is there"):
        picture_of(image)


def test_half_an_image_is_told_by_its_name(tmp_path):
    file = tmp_path / "half.png"
    file.write_bytes(DATA[:40])
    with pytest.raises(InvalidInputError, match=r"<image 'half.png'.* cannot be decoded"):
        picture_of(read_image(file))


def test_the_name_of_an_image_is_not_enough_to_see_it():
    name = str(read_image(DATA))
    for see in (picture_of, lambda one: PixelEncoder().encode([one])):
        with pytest.raises(InvalidInputError, match="only names an image"):
            see(name)


class Means(torch.nn.Module):
    """The features are red, green and blue, as a map. It records its batches."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, pixels):
        self.sizes.append(tuple(pixels.shape))
        return pixels


def test_any_network_makes_vectors_a_few_images_at_a_time():
    network = Means().eval()
    encoder = ImageEncoder.of_network(
        network, name="means", batch_size=2, size=4, crop=1.0, mean=[0.5] * 3, std=[2] * 3
    )
    images = [np.full((6, 9), value, dtype=np.uint8) for value in (0, 255, 51)]
    vectors = encoder.encode(images)
    assert vectors == pytest.approx(np.repeat([[-0.25], [0.25], [-0.15]], 3, axis=1))  # (v / 255 - 0.5) / 2
    assert network.sizes == [(2, 3, 4, 4), (1, 3, 4, 4)]
    assert recipe_of(encoder) is None
    assert encoder.encode([]).shape == (0, 0)
    with pytest.raises(InvalidInputError, match="training mode"):
        ImageEncoder.of_network(Means(), name="means")


def test_real_weights_tell_a_flower_from_a_temple():
    """scikit-learn's photographs, by the classes of ImageNet."""
    from lite0 import load_lite0
    from sklearn.datasets import load_sample_images

    photographs = load_sample_images().images
    encoder = ImageEncoder.of_network(load_lite0(), name="lite0", size=224, mean=[127 / 255] * 3, std=[128 / 255] * 3)
    best = encoder.encode(photographs).argmax(axis=1).tolist()
    assert best == [698, 985]  # a palace, a daisy


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """A tiny ViT in a folder."""
    from transformers import ViTConfig, ViTModel
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    folder = tmp_path_factory.mktemp("vit")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    ViTModel(ViTConfig(image_size=16, patch_size=8, **sizes)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 16, "width": 16}).save_pretrained(folder)
    return str(folder)


def test_a_model_in_a_folder_is_loaded_and_made_again(vit):
    encoder = ImageEncoder.from_pretrained(vit, device="cpu", local_files_only=True)
    images, _ = digits(3)
    vectors = encoder.encode(images)
    assert vectors.shape == (3, 16)
    again = load_encoder(recipe_of(encoder), device="cpu")
    assert np.array_equal(again.encode(images), vectors)
    both = EncoderUnion(encoders=[encoder, PixelEncoder()])
    assert (both.views, both.modality) == ((16, 64), "image")


def test_a_model_of_texts_is_no_model_of_images(tmp_path):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tiny_llama import tiny_tokenizer

    folder = tmp_path / "static"
    SentenceTransformer(modules=[StaticEmbedding(tiny_tokenizer()._tokenizer, embedding_dim=4)]).save(str(folder))
    with pytest.raises(InvalidInputError, match=r"which reads \['text'\]"):
        ImageEncoder.from_pretrained(str(folder), device="cpu", local_files_only=True)
    with pytest.raises(InvalidInputError, match="which reads texts"):
        as_encoder(TinyEncoder(), modality="image")
    with pytest.raises(InvalidInputError, match=r"which reads images.* modality=\"image\""):
        as_encoder(PixelEncoder())
    with pytest.raises(InvalidInputError, match="some of which read texts"):
        EncoderUnion(encoders=[PixelEncoder(), TinyEncoder()])
    with pytest.raises(BundleError, match="cannot be read"):
        load_encoder({"kind": "image", "name": "auto", "trust": True})
