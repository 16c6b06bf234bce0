"""Bundles on the Hugging Face hub, or on a server that speaks as it does."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

import platformdirs

from dsplus_chains.schema import BundleError, shown
from dsplus_chains.storage.bundle_files import CARD, MANIFEST, OTHERS, read_manifest

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from dsplus_chains.scoring.small_model import SmallModelScorer


class OnHub:
    """A bundle's ways to the hub and back."""

    scorer: SmallModelScorer

    @abstractmethod
    def save(self, path: str | Path) -> str:
        """Write it into a folder, and return the SHA-256 of its manifest."""

    @classmethod
    @abstractmethod
    def load(cls, *args: Any, **kwargs: Any) -> Self:
        """Read it from a folder."""

    def push_to_hub(self, repo_id: str, *, private: bool | None = None, api: HfApi | None = None) -> str:
        """Put the bundle into a repository of the hub, which is made if it is missing. Files of an earlier one go.

        The examples of the bundle go with it. So push to a public repository only what everybody may read. A model
        card is written if the repository has none.

        Args:
            repo_id: The repository, such as "me/intents".
            private: Whether a new repository is private. None: as your account has it. With True, a repository that is
                public already is refused.
            api: The client, for another server or token: ``HfApi(endpoint=..., token=...)``. None: the hub, with the
                token of `hf auth login`.

        Returns:
            The SHA-256 of the manifest. Keep it elsewhere, and give it to `from_hub` as `expected_sha256`.

        Raises:
            BundleError: The bundle cannot be saved, or would be public although `private` is True.
        """
        api = _api(api)
        api.create_repo(repo_id, private=private, exist_ok=True)
        if private and not api.repo_info(repo_id).private:  # it was there before, and the hub has left it as it was
            msg = f"Got private=True but {repo_id!r} is public; make it private, or name another repository"
            raise BundleError(msg)
        with TemporaryDirectory() as place:
            folder = Path(place) / "bundle"
            pin = self.save(folder)
            if not api.file_exists(repo_id, CARD):
                (folder / CARD).write_text(model_card(repo_id, self.scorer.labels), encoding="utf-8")
            api.upload_folder(
                repo_id=repo_id, folder_path=folder, commit_message=f"Bundle {pin[:12]}", delete_patterns=sorted(OTHERS)
            )
        return pin

    @classmethod
    def from_hub(
        cls,
        repo_id: str,
        *,
        revision: str | None = None,
        folder: str | Path | None = None,
        api: HfApi | None = None,
        **settings: Any,
    ) -> Self:
        """Fetch a bundle that `push_to_hub` put there, and read it.

        Args:
            repo_id: The repository, such as "me/intents".
            revision: A branch, a tag or a commit. None: the main branch.
            folder: Where the files are put. Files of an earlier bundle there go. None: the user's cache, with one
                folder for each commit.
            api: The client. See `push_to_hub`.
            **settings: The arguments of `load`. Give `expected_sha256`, so that nobody can give you another bundle.

        Raises:
            BundleError: As `load` says.
        """
        api = _api(api)
        commit = str(api.repo_info(repo_id, revision=revision).sha)
        cache = platformdirs.user_cache_path("dsplus_chains", appauthor=False) / "hub" / repo_id.replace("/", "--")
        place = cache / commit if folder is None else Path(folder)
        had_bundle = (place / MANIFEST).is_file()
        # Real files: a bundle holds no links, which the hub's own cache consists of.
        api.snapshot_download(repo_id, revision=commit, local_dir=place, allow_patterns=[MANIFEST, *sorted(OTHERS)])
        if had_bundle:
            _drop_earlier(place)
        return cls.load(place, **settings)


def model_card(repo_id: str, labels: tuple[Any, ...]) -> str:
    """The text of a new repository's README.md.

    Args:
        repo_id: The repository.
        labels: The labels of the small model.
    """
    return f"""---
library_name: dsplus-chains
pipeline_tag: text-classification
tags: [text-classification, langchain]
---

# {repo_id.rpartition("/")[2]}

A small model for {len(labels)} labels, with its threshold, as a bundle of `dsplus-chains`: {shown(list(labels))}.

```python
from dsplus_chains import Bundle

bundle = Bundle.from_hub(
    "{repo_id}",
    expected_sha256="...",  # what push_to_hub returned
)
chain = bundle.chain(large_model)  # any LangChain chat model
```
"""


def _drop_earlier(folder: Path) -> None:
    """Delete files that an earlier bundle had, and that the manifest does not list.

    Raises:
        BundleError: The manifest is damaged.
    """
    for name in OTHERS - {*read_manifest(folder).listed}:
        (folder / name).unlink(missing_ok=True)


def _api(api: HfApi | None) -> HfApi:
    if api is not None:
        return api
    from huggingface_hub import HfApi as Hub

    return Hub()
