"""Files are whole or not there, whatever goes wrong in between."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hcopt.files import point_to, whole_file, write_whole


@pytest.fixture
def common_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_appears_whole_with_its_folders(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b" / "c.json", "tëxt\n")
    assert (tmp_path / "a" / "b" / "c.json").read_bytes() == "tëxt\n".encode()
    assert names(tmp_path / "a" / "b") == ["c.json"]


def test_old_content_stays_and_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    write_whole(tmp_path / "c.json", "old")

    def half() -> None:
        with whole_file(tmp_path / "c.json") as temporary:
            temporary.write_text("ne")
            assert (tmp_path / "c.json").read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert (tmp_path / "c.json").read_text() == "old"
    assert names(tmp_path) == ["c.json"]


def test_temporary_name_keeps_the_suffix_that_writers_go_by(tmp_path: Path) -> None:
    with whole_file(tmp_path / "report.pdf") as temporary:
        assert temporary.suffix == ".pdf"
        assert temporary.parent == tmp_path


@pytest.mark.usefixtures("common_umask")
def test_file_is_readable_for_the_team_as_the_umask_has_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "c", "")
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o644
    os.umask(0o077)
    write_whole(tmp_path / "d", "")
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o600


def test_folder_that_is_a_file_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="a"):
        write_whole(tmp_path / "a" / "c", "")


def test_folder_in_the_place_of_the_file_is_an_os_error_and_stays(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with pytest.raises(OSError, match="c"):
        write_whole(tmp_path / "c", "")
    assert names(tmp_path) == ["c"]


def test_link_is_made_and_switched(tmp_path: Path) -> None:
    link = tmp_path / "latest"
    for target in ("first", "second"):
        (tmp_path / target).mkdir()
        point_to(link, target)
        assert link.readlink() == Path(target)
    assert names(tmp_path) == ["first", "latest", "second"]


def test_link_is_made_though_an_earlier_try_left_its_temporary_name(tmp_path: Path) -> None:
    (tmp_path / f".latest.{os.getpid()}").symlink_to("x")
    point_to(tmp_path / "latest", "target")
    assert names(tmp_path) == ["latest"]


def test_link_does_not_replace_a_real_folder(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    with pytest.raises(OSError, match="latest"):
        point_to(tmp_path / "latest", "target")
    assert (tmp_path / "latest").is_dir()
    assert names(tmp_path) == ["latest"]
