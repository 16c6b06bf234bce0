"""Bundles on the hub. The hub is a folder here, behind the methods of the real client."""

from __future__ import annotations

import inspect
import shutil
from types import SimpleNamespace

import pytest
from fakes import TinyEncoder
from huggingface_hub import HfApi
from huggingface_hub.utils import filter_repo_objects

from dsplus_chains import Bundle
from dsplus_chains.schema import BundleError


class FolderHub:
    """A hub of one repository, which is a folder. Calls are recorded. The real client must know each of them."""

    def __init__(self, folder):
        self.folder = folder
        self.calls = []

    def _heard(self, name, *args, **kwargs):
        inspect.signature(getattr(HfApi, name)).bind(self, *args, **kwargs)
        self.calls.append((name, kwargs))

    def create_repo(self, repo_id, **kwargs):
        self._heard("create_repo", repo_id, **kwargs)
        if not self.folder.exists():
            self.private = bool(kwargs["private"])
        self.folder.mkdir(exist_ok=kwargs["exist_ok"])
        (self.folder / ".gitattributes").write_text("*.safetensors filter=lfs")

    def file_exists(self, repo_id, filename):
        self._heard("file_exists", repo_id, filename)
        return (self.folder / filename).exists()

    def upload_folder(self, **kwargs):
        self._heard("upload_folder", **kwargs)
        inside = [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()]
        for name in filter_repo_objects(inside, allow_patterns=kwargs["delete_patterns"]):
            (self.folder / name).unlink()
        shutil.copytree(kwargs["folder_path"], self.folder, dirs_exist_ok=True)

    def repo_info(self, repo_id, **kwargs):
        self._heard("repo_info", repo_id, **kwargs)
        return SimpleNamespace(sha="c0ffee", private=self.private)

    def snapshot_download(self, repo_id, **kwargs):
        self._heard("snapshot_download", repo_id, **kwargs)
        inside = [path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file()]
        for name in filter_repo_objects(inside, allow_patterns=kwargs["allow_patterns"]):
            target = kwargs["local_dir"] / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / name, target)
        return str(kwargs["local_dir"])


@pytest.fixture
def hub(tmp_path):
    return FolderHub(tmp_path / "repository")


@pytest.fixture
def bundle(scorer):
    return Bundle(scorer=scorer, instruction="Praise or complaint?")


def test_a_bundle_comes_back_from_the_hub_as_it_was(bundle, hub, tmp_path):
    pin = bundle.push_to_hub("me/praise", private=True, api=hub)
    folder = tmp_path / "here"
    again = Bundle.from_hub("me/praise", folder=folder, expected_sha256=pin, api=hub, encoder=TinyEncoder())
    texts = ["good phone", "bad price"]
    assert again.scorer.batch(texts) == bundle.scorer.batch(texts)
    assert again.task == bundle.task
    called = dict(hub.calls)
    assert called["create_repo"] == {"private": True, "exist_ok": True}
    assert called["snapshot_download"]["revision"] == "c0ffee"


def test_each_commit_has_its_own_folder_in_the_cache(bundle, hub, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bundle.push_to_hub("me/praise", api=hub)
    again = Bundle.from_hub("me/praise", api=hub, encoder=TinyEncoder())
    assert again.scorer.saved.folder.endswith("hub/me--praise/c0ffee")


def test_the_model_card_tells_how_to_load_it_and_is_written_once(bundle, hub):
    pin = bundle.push_to_hub("me/praise", api=hub)
    card = hub.folder / "README.md"
    assert pin not in card.read_text()  # the next push would leave it there, and it would be wrong
    assert 'expected_sha256="...",  # what push_to_hub returned' in card.read_text()
    assert "library_name: dsplus-chains" in card.read_text()
    card.write_text("mine")
    bundle.with_task(instruction="Which?").push_to_hub("me/praise", api=hub)
    assert card.read_text() == "mine"


def test_files_of_an_earlier_bundle_go(bundle, hub):
    bundle.push_to_hub("me/praise", api=hub)
    (hub.folder / "tuned.json").write_text("{}")
    bundle.push_to_hub("me/praise", api=hub)
    assert Bundle.load(hub.folder, encoder=TinyEncoder()).tuned is None


@pytest.mark.parametrize("private", [None, False])
def test_a_public_repository_gets_no_private_bundle(bundle, hub, private):
    bundle.push_to_hub("me/praise", private=private, api=hub)
    before = len(hub.calls)
    with pytest.raises(BundleError, match="'me/praise' is public"):
        bundle.push_to_hub("me/praise", private=True, api=hub)
    assert "upload_folder" not in dict(hub.calls[before:])
    bundle.push_to_hub("me/praise", api=hub)


def test_a_folder_of_an_earlier_bundle_gets_the_new_one(bundle, hub, tmp_path):
    place = tmp_path / "here"
    bundle.push_to_hub("me/praise", api=hub)
    Bundle.from_hub("me/praise", folder=place, api=hub, encoder=TinyEncoder())
    (place / "tuned.json").write_text("{}")  # of the earlier one
    (place / "README.md").write_text("mine")
    assert Bundle.from_hub("me/praise", folder=place, api=hub, encoder=TinyEncoder()).tuned is None
    assert (place / "README.md").read_text() == "mine"
    (place / "bundle.json").unlink()
    (place / "tuned.json").write_text("somebody's own")
    with pytest.raises(BundleError, match="does not list"):
        Bundle.from_hub("me/praise", folder=place, api=hub, encoder=TinyEncoder())
    assert (place / "tuned.json").read_text() == "somebody's own"


def test_a_repository_that_holds_another_bundle_is_refused(bundle, hub, tmp_path):
    pin = bundle.push_to_hub("me/praise", api=hub)
    bundle.with_task(instruction="Which?").push_to_hub("me/praise", api=hub)
    with pytest.raises(BundleError, match="do not use it"):
        Bundle.from_hub("me/praise", folder=tmp_path / "b", expected_sha256=pin, api=hub, encoder=TinyEncoder())


def test_a_model_card_and_git_attributes_are_no_damage(bundle, tmp_path):
    pin = bundle.save(tmp_path / "b")
    for name in ("README.md", ".gitattributes"):
        (tmp_path / "b" / name).write_text(f"my {name}")
    Bundle.load(tmp_path / "b", expected_sha256=pin, encoder=TinyEncoder())
    assert bundle.with_task(instruction="Which?").save(tmp_path / "b") != pin
    assert (tmp_path / "b" / "README.md").read_text() == "my README.md"
    assert (tmp_path / "b" / ".gitattributes").read_text() == "my .gitattributes"
    Bundle.load(tmp_path / "b", encoder=TinyEncoder())


def test_a_model_card_elsewhere_is_a_file_that_is_not_listed(bundle, tmp_path):
    bundle.save(tmp_path / "b")
    (tmp_path / "b" / "scorer" / "README.md").write_text("?")
    with pytest.raises(BundleError, match="does not list"):
        Bundle.load(tmp_path / "b", encoder=TinyEncoder())
