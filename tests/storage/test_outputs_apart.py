"""No output damages what a command reads, a bundle, or another output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dsplus_chains.schema import BundleError, InvalidInputError
from dsplus_chains.storage.bundle_files import check_target
from dsplus_chains.storage.outputs_apart import check_outputs


@pytest.fixture
def places(tmp_path):
    """A bundle, an input, and the same input by two other names."""
    (tmp_path / "b").mkdir()
    data = tmp_path / "data.csv"
    data.write_text("text\nhello\n")
    (tmp_path / "link.csv").symlink_to(data)
    os.link(data, tmp_path / "hard.csv")
    return tmp_path


@pytest.mark.parametrize("name", ["data.csv", "b/../data.csv", "link.csv", "hard.csv"])
def test_an_output_is_no_input_by_any_name(places, name):
    with pytest.raises(InvalidInputError, match="got the input as the output too"):
        check_outputs(None, places / name, inputs=[None, places / "data.csv"], bundles=[places / "b"])


def test_nothing_but_a_save_touches_a_bundle(places):
    bundle, other = places / "b", places / "new"
    for arguments in (
        {"bundles": [bundle, bundle / "x"]},
        {"bundles": [bundle / "x", bundle]},
        {"bundles": [other], "inputs": [other / ".hidden.csv"]},
        {"bundles": [bundle, other], "folder": other / "report"},
    ):
        with pytest.raises(BundleError, match="inside the bundle"):
            check_outputs(places / "o.json", **arguments)
    with pytest.raises(BundleError, match="inside the bundle"):
        check_outputs(other / "o.json", bundles=[bundle, other])


def test_two_outputs_have_two_places(places):
    for files, folder in (
        (("o", "o"), None),
        (("o/x", "o"), None),
        (("o",), "o"),
        (("o",), "o/report"),
        (("link.csv", "data.csv"), None),
    ):
        with pytest.raises(InvalidInputError, match="one place for two outputs"):
            check_outputs(*(places / name for name in files), folder=None if folder is None else places / folder)


def test_outputs_beside_inputs_and_in_the_folder_of_a_report_are_written(places):
    check_outputs(
        places / "report" / "numbers.json",
        places / "o.sqlite",
        inputs=[places / "data.csv", places / "report" / "old.csv"],
        bundles=[places / "b", places / "b2"],
        folder=places / "report",
    )
    assert sorted(path.name for path in places.iterdir()) == ["b", "data.csv", "hard.csv", "link.csv"]


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="other systems have no folder in which nobody can write")
def test_a_place_where_nothing_can_be_made_is_told_before_any_work(tmp_path):
    nowhere = Path("/proc/dsplus")
    for check in (
        lambda: check_outputs(nowhere),
        lambda: check_outputs(nowhere / "deep" / "o.json"),
        lambda: check_outputs(folder=nowhere),
        lambda: check_target(nowhere),
    ):
        with pytest.raises(InvalidInputError, match=r"nothing can be written \(.*\); name another one"):
            check()
    check_outputs(tmp_path / "new" / "o.json", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_no_file_is_put_in_the_place_of_a_pipe_or_a_device(tmp_path):
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for place in (pipe, link):
        with pytest.raises(InvalidInputError, match="where a device or a pipe is, but expected a file; name another"):
            check_outputs(place)
    with pytest.raises(InvalidInputError, match="but expected a folder"):
        check_outputs(folder=pipe)
    assert pipe.is_fifo()
