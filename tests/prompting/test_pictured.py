"""Images in prompts, as they go over the wire to a multimodal chat model."""

import base64
import io
import json

import pytest
from digits import PixelEncoder, digits, written
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from openai_server import openai_server
from PIL import Image

from dsplus_chains import HintPromptBuilder, OverrideExplainer, SmallModelScorer, SQLiteAnswerCache, data_shunt
from dsplus_chains.encoding import picture_of, read_image
from dsplus_chains.prompting.pictured import THE_IMAGE, with_image
from dsplus_chains.running.call_estimate import estimated_tokens
from dsplus_chains.schema import InvalidInputError, LargeAnswer, Prediction

PIXELS, LABELS = digits(90)


@pytest.fixture(scope="module")
def scorer():
    return SmallModelScorer.fit(PIXELS[:80], LABELS[:80], modality="image", encoder=PixelEncoder(), model="linear")


@pytest.fixture(scope="module")
def server():
    with openai_server(lambda _: "7") as running:
        yield running


def chat(server, **settings):
    return ChatOpenAI(model="m", base_url=server.base_url, api_key="none", max_retries=0, **settings)


def test_a_deferred_image_goes_over_the_wire_with_its_hints(scorer, server, tmp_path):
    paths = written(tmp_path, PIXELS[80:])
    sure = sorted(record["prediction"].confidence for record in scorer.batch(paths))
    chain = data_shunt(scorer, chat(server), instruction="Which digit is it?", threshold=sure[4], top_k=3)
    records = chain.batch([str(path) for path in paths])
    deferred = [path for path, record in zip(paths, records, strict=True) if record["source"] == "large"]
    bodies = [json.loads(body) for body in server.taken()]
    assert len(bodies) == len(deferred) == 4
    sent = {}
    for body in bodies:
        system, human = body["messages"]
        assert system["content"].startswith("Which digit is it?")
        image, text = human["content"]
        assert (image["type"], list(image["image_url"])) == ("image_url", ["url"])
        head, data = image["image_url"]["url"].split(",")
        assert head == "data:image/png;base64"
        sent[base64.b64decode(data)] = text["text"]
    assert set(sent) == {path.read_bytes() for path in deferred}
    assert all(text.startswith(THE_IMAGE) and text.endswith("\n\nLabel:") for text in sent.values())
    assert all(text.count(" %") == 3 for text in sent.values())
    assert str(tmp_path) not in json.dumps(bodies)
    assert "sha256" not in json.dumps(bodies)


async def test_the_same_goes_out_whoever_calls(scorer, server):
    chain = data_shunt(scorer, chat(server), instruction="Which digit is it?", threshold=None, hints="hard")
    image = PIXELS[85]
    chain.invoke(image)
    await chain.ainvoke(image)
    list(chain.stream(image))
    bodies = [json.loads(body)["messages"] for body in server.taken()]
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert "The labels are:" in bodies[0][1]["content"][1]["text"]


def test_the_second_question_shows_the_image_too(scorer):
    with openai_server(lambda text: "hm" if text.endswith("Label:") else "7") as server:
        record = data_shunt(scorer, chat(server), instruction="Which digit?", threshold=None).invoke(PIXELS[80])
        first, second = sorted((json.loads(body)["messages"] for body in server.taken()), key=len)
    assert (record["answer"], record["source"]) == ("7", "large")
    assert first == second[: len(first)]
    assert len(second) > len(first)


def test_answers_are_kept_by_the_bytes_of_the_image(scorer, server, tmp_path):
    path = written(tmp_path, PIXELS[80:81])[0]
    again = tmp_path / "another name.png"
    again.write_bytes(path.read_bytes())
    cache = SQLiteAnswerCache(":memory:")
    chain = data_shunt(scorer, chat(server, cache=cache), instruction="Which digit is it?", threshold=None)
    for value in (path, again, path.read_bytes()):
        chain.invoke(value)
    assert (len(server.taken()), len(cache)) == (1, 1)
    chain.invoke(PIXELS[81])
    assert (len(server.taken()), len(cache)) == (1, 2)
    cache.close()


def test_kinds_that_providers_do_not_take_are_sent_as_png():
    buffer = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(buffer, "BMP")
    image = read_image(buffer.getvalue())
    block = with_image([HumanMessage("?")], {"input": image})[0].content[0]
    assert block["mime_type"] == "image/png"
    assert picture_of(read_image(block)).tobytes() == picture_of(image).tobytes()
    jpeg = io.BytesIO()
    Image.fromarray(PIXELS[0]).save(jpeg, "JPEG")
    block = with_image([HumanMessage("?")], {"input": read_image(jpeg.getvalue())})[0].content[0]
    assert base64.b64decode(block["base64"]) == jpeg.getvalue()


def test_templates_and_explanations_show_it():
    image = read_image(PIXELS[0])
    unsure = Prediction(label="1", confidence=0.5)
    template = [("system", "{instruction}"), ("human", "First."), ("ai", "Yes?"), ("human", "{fenced_input} {labels}")]
    builder = HintPromptBuilder(labels=["1", "7"], instruction="Which?", template=template)
    messages = builder.invoke({"input": image, "prediction": unsure}).to_messages()
    assert [isinstance(message.content, list) for message in messages] == [False, False, False, True]
    assert messages[3].content[1]["text"].startswith(THE_IMAGE)
    only = HintPromptBuilder(labels=["1", "7"], instruction="Which?", template=[("system", "{labels}")])
    assert only.invoke({"input": image, "prediction": unsure}).to_messages()[1].content[0]["type"] == "image"
    asked = []
    model = FakeListChatModel(responses=["It has a bar."])
    explainer = OverrideExplainer(
        model=lambda prompt: asked.append(prompt) or model.invoke("?"), labels=["1", "7"], instruction="Which?"
    )
    explainer.invoke(
        {"input": image, "prediction": unsure, "answer": "7", "source": "large", "large": LargeAnswer(value="7")}
    )
    assert asked[0].to_messages()[1].content[0]["type"] == "image"


def test_a_text_is_asked_about_as_before():
    builder = HintPromptBuilder(labels=["1", "7"], instruction="Which?", hints="none")
    assert builder.invoke("image of a bar").to_messages()[1].content.startswith("<input>\nimage of a bar")


def test_an_image_that_is_gone_fails_alone(tmp_path):
    one, other = map(read_image, written(tmp_path, PIXELS[:2]))
    one.source.unlink()
    builder = HintPromptBuilder(labels=["1", "7"], instruction="Which?", hints="none")
    results = builder.batch([{"input": one}, {"input": other}], return_exceptions=True)
    assert [isinstance(result, InvalidInputError) for result in results] == [True, False]


def test_the_name_of_an_image_is_no_text():
    builder = HintPromptBuilder(labels=["1", "7"], instruction="Which?", hints="none")
    with pytest.raises(InvalidInputError, match="only names an image"):
        builder.invoke({"input": str(read_image(PIXELS[0]))})


def test_a_text_that_begins_like_the_name_of_an_image_is_a_text():
    builder = HintPromptBuilder(instruction="Which?", labels=["a", "b"], hints="none")
    for text in ("image:sha256:", "image:sha256: what is that?", f"image:sha256:{64 * '0'} and more"):
        prompt = builder.invoke({"input": text, "prediction": Prediction(label="a", confidence=0.5)})
        assert f"<input>\n{text}\n</input>" in prompt.messages[-1].content


def test_the_estimate_of_a_call_does_not_count_the_bytes():
    message = with_image([HumanMessage("Which digit?")], {"input": read_image(PIXELS[0].repeat(64, 0).repeat(64, 1))})
    assert estimated_tokens(message) < 1000
