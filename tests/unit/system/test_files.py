"""Files are whole or not there, whatever goes wrong in between."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hcopt.system.files import (
    append_line,
    check_room,
    copy_whole,
    folder_lock,
    point_to,
    remove_drafts,
    whole_file,
    write_whole,
)


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


def test_link_is_made_in_another_folder_than_its_own(tmp_path: Path) -> None:
    (tmp_path / "drafts").mkdir()
    point_to(tmp_path / "latest", "target", drafts=tmp_path / "drafts")
    assert (tmp_path / "latest").readlink() == Path("target")
    assert names(tmp_path / "drafts") == []


def test_drafts_of_a_killed_process_are_removed_and_nothing_else_is(tmp_path: Path) -> None:
    kept = ("run.json", ".hidden", ".env.example", "folder/.keep")
    for name in (*kept, ".run.json.ab1_cd2e.json", "folder/.model.0a1b2c3d/new/config.pbtxt", "folder/.page.abcdefgh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder" / ".latest.01234567").symlink_to("nowhere")
    remove_drafts(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if not p.is_dir()) == sorted(kept)
    assert names(tmp_path / "folder") == [".keep"]


def test_folder_is_held_surely_by_one_at_a_time(tmp_path: Path) -> None:
    with folder_lock(tmp_path, surely=True) as first, folder_lock(tmp_path, surely=True) as second:
        assert (first, second) == (True, False)


def test_link_does_not_replace_a_real_folder(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    with pytest.raises(OSError, match="latest"):
        point_to(tmp_path / "latest", "target")
    assert (tmp_path / "latest").is_dir()
    assert names(tmp_path) == ["latest"]


def test_copy_is_whole_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0one")
    copy_whole(tmp_path / "a", tmp_path / "into" / "b")
    assert (tmp_path / "into" / "b").read_bytes() == b"\0one"
    with pytest.raises(OSError, match="nowhere"):
        copy_whole(tmp_path / "nowhere", tmp_path / "into" / "b")
    assert (tmp_path / "into" / "b").read_bytes() == b"\0one"
    assert names(tmp_path / "into") == ["b"]


def test_lines_are_added_in_turn(tmp_path: Path) -> None:
    for line in ("one", "zwölf", ""):
        append_line(tmp_path / "lines", line)
    assert (tmp_path / "lines").read_bytes() == "one\nzwölf\n\n".encode()


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """No file of this process may be larger, as a quota has it; Python ignores the signal, so that writing fails."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", range(8))
def test_line_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path, room: int) -> None:
    append_line(tmp_path / "lines", "one")
    with largest_file(4 + room), pytest.raises(OSError, match="File too large"):
        append_line(tmp_path / "lines", "a second")
    assert (tmp_path / "lines").read_bytes() == b"one\n"
    append_line(tmp_path / "lines", "third")
    assert (tmp_path / "lines").read_bytes() == b"one\nthird\n"


def test_file_that_does_not_fit_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "c", "old")
    with largest_file(10), pytest.raises(OSError, match="File too large"):
        write_whole(tmp_path / "c", "x" * 11)
    assert (tmp_path / "c").read_text() == "old"
    assert names(tmp_path) == ["c"]


def test_room_is_what_can_be_written_and_leaves_nothing(tmp_path: Path) -> None:
    check_room(tmp_path, 1000)
    with largest_file(999), pytest.raises(OSError, match="File too large") as raised:
        check_room(tmp_path, 1000)
    assert (raised.value.errno, raised.value.filename) == (errno.EFBIG, str(tmp_path))
    assert names(tmp_path) == []
