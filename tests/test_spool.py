"""Spool files: complete lines, acknowledged offsets, the writer's lock, and forks."""

import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from otel_flyte.export.spool.files import (
    Held,
    LockedError,
    SpoolFile,
    acknowledged_offset,
    files,
    has_foreign_offset,
    rejected_path,
    sent_path,
)

pytestmark = [pytest.mark.newest_only, pytest.mark.quick]

LINE = b'{"resourceSpans":[]}\n'


def in_forked_child(work: Callable[[], bool]) -> bool:
    """Return whether the work returns true in a forked child."""
    child = os.fork()
    if child == 0:
        held = False
        try:
            held = work()
        finally:
            os._exit(0 if held else 1)
    return os.waitpid(child, 0)[1] == 0


def only_file(folder: Path) -> Path:
    (path,) = files(folder)
    return path


def is_locked(path: Path) -> bool:
    """Return whether a process has the lock, by the view of another process."""
    program = f"""
import fcntl, os, sys
descriptor = os.open({str(path)!r}, os.O_RDONLY)
try:
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(3)
"""
    return subprocess.run([sys.executable, "-c", program], check=False).returncode == 3


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestWriting:
    def test_no_file_is_created_before_the_first_line(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path / "made" / "deep", "traces")
        spool.acknowledge(5)
        assert spool.path is None
        spool.close()
        assert not (tmp_path / "made").exists()

    def test_append_returns_the_offset_of_the_end_of_the_line(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path / "made" / "deep", "traces")
        assert [spool.append(LINE), spool.append(LINE)] == [len(LINE), 2 * len(LINE)]
        path = only_file(tmp_path / "made" / "deep")
        assert path == spool.path
        assert path.read_bytes() == 2 * LINE
        assert f"-{os.getpid()}-traces-" in path.name
        assert path.name.endswith(".spool.jsonl")

    def test_the_size_is_that_of_the_open_file(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path, "traces")
        sizes = [spool.size]
        for _ in range(2):
            spool.append(LINE)
            sizes.append(spool.size)
        spool.close()
        assert [*sizes, spool.size] == [0, len(LINE), 2 * len(LINE), 0]

    def test_other_users_cannot_read_a_spool(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            spool = SpoolFile(tmp_path / "made", "traces")
            spool.acknowledge(spool.append(LINE))
            spool.append(LINE)
        finally:
            os.umask(before)
        path = only_file(tmp_path / "made")
        assert [permissions(made) for made in (path.parent, path, sent_path(path))] == [0o700, 0o600, 0o600]

    def test_an_existing_folder_keeps_its_permissions(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        SpoolFile(tmp_path, "traces").append(LINE)
        assert permissions(tmp_path) == 0o755

    def test_the_acknowledged_offset_is_on_disk_and_never_decreases(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path, "logs")
        ends = [spool.append(LINE) for _ in range(3)]
        path = only_file(tmp_path)
        assert acknowledged_offset(path) == 0
        found = []
        for end in (ends[1], ends[0], ends[2]):
            spool.acknowledge(end)
            found.append(acknowledged_offset(path))
        assert found == [ends[1], ends[1], ends[2]]
        assert sent_path(path).read_text() == f"{ends[2]:020d} {path.stat().st_ino:020d}\n"

    def test_an_acknowledged_file_is_removed_on_close(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path, "traces")
        spool.acknowledge(spool.append(LINE))
        spool.close()
        assert list(tmp_path.iterdir()) == []

    def test_an_unacknowledged_file_is_kept_and_unlocked_on_close(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path, "traces")
        spool.acknowledge(spool.append(LINE))
        spool.append(LINE)
        path = only_file(tmp_path)
        assert is_locked(path)
        spool.close()
        spool.close()
        assert not is_locked(path)
        assert acknowledged_offset(path) == len(LINE)

    def test_lines_appended_after_close_are_in_a_new_file(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path, "traces")
        spool.append(LINE)
        spool.close()
        assert spool.append(LINE) == len(LINE)
        assert len(files(tmp_path)) == 2

    def test_threads_can_share_a_file(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path, "traces")
        ends: list[int] = []
        threads = [
            threading.Thread(target=lambda: ends.extend(spool.append(LINE) for _ in range(200))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(ends) == [number * len(LINE) for number in range(1, 801)]
        assert only_file(tmp_path).read_bytes() == 800 * LINE

    def test_appended_lines_survive_a_kill(self, tmp_path: Path) -> None:
        program = f"""
import os, signal
from otel_flyte.export.spool.files import SpoolFile
spool = SpoolFile({str(tmp_path)!r}, "traces")
spool.acknowledge(spool.append({LINE!r}))
spool.append({LINE!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
        killed = subprocess.run([sys.executable, "-c", program], check=False)
        assert killed.returncode == -signal.SIGKILL
        path = only_file(tmp_path)
        assert path.read_bytes() == 2 * LINE
        assert acknowledged_offset(path) == len(LINE)
        assert not is_locked(path)


class TestDisksThatRefuse:
    def test_a_folder_that_cannot_be_created_is_an_os_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="file"):
            SpoolFile(tmp_path / "file" / "folder", "traces").append(LINE)

    @pytest.mark.parametrize("refused", ["flock", "rename"])
    def test_no_files_are_left_if_locking_or_renaming_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: str
    ) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(*{"flock": (fcntl, "flock"), "rename": (Path, "rename")}[refused], refuse)
        spool = SpoolFile(tmp_path, "traces")
        for _ in range(3):
            with pytest.raises(OSError, match="No locks available"):
                spool.append(LINE)
        assert list(tmp_path.iterdir()) == []

    def test_partial_writes_of_a_line_are_continued(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write = os.write
        monkeypatch.setattr(os, "write", lambda descriptor, content: write(descriptor, content[:5]))
        spool = SpoolFile(tmp_path, "traces")
        assert [spool.append(LINE), spool.append(LINE)] == [len(LINE), 2 * len(LINE)]
        assert only_file(tmp_path).read_bytes() == 2 * LINE

    def test_a_full_disk_leaves_only_complete_lines(self, tmp_path: Path) -> None:
        """The limit of a file's size replaces that of a disk: it also writes a part of a line and refuses the rest."""
        program = f"""
import resource, signal, sys
from otel_flyte.export.spool.files import SpoolFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50, resource.RLIM_INFINITY))
spool = SpoolFile({str(tmp_path)!r}, "traces")
line = {LINE!r}
print([spool.append(line), spool.append(line)])
for _ in range(2):
    try:
        spool.append(line)
    except OSError as error:
        print(error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(spool.append(line))
"""
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        size = len(LINE)
        assert done.stdout.splitlines() == [str([size, 2 * size]), "File too large", "File too large", str(3 * size)]
        assert only_file(tmp_path).read_bytes() == 3 * LINE


class TestForks:
    def test_a_forked_child_writes_to_its_own_file(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path, "traces")
        spool.append(LINE)
        parents = only_file(tmp_path)
        assert in_forked_child(lambda: spool.path is None and spool.append(2 * LINE) == 2 * len(LINE))
        assert parents.read_bytes() == LINE
        (childs,) = set(files(tmp_path)) - {parents}
        assert childs.read_bytes() == 2 * LINE
        assert spool.append(LINE) == 2 * len(LINE)

    def test_close_in_a_forked_child_neither_unlocks_nor_removes_its_parents_file(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path, "traces")
        spool.acknowledge(spool.append(LINE))

        def settle_and_close() -> bool:
            spool.acknowledge(10**6)
            spool.close()
            return True

        assert in_forked_child(settle_and_close)
        path = only_file(tmp_path)
        assert is_locked(path)
        assert acknowledged_offset(path) == len(LINE)

    def test_a_surviving_child_does_not_keep_its_parents_file_locked(self, tmp_path: Path) -> None:
        program = f"""
import os, sys, time
from otel_flyte.export.spool.files import SpoolFile
spool = SpoolFile({str(tmp_path)!r}, "traces")
spool.append({LINE!r})
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
os._exit(0)
"""
        parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        try:
            parent.wait()
            assert not is_locked(only_file(tmp_path))
        finally:
            os.kill(child, signal.SIGKILL)
            parent.stdout.close()

    def test_a_duplicated_descriptor_does_not_keep_the_file_locked(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path, "traces")
        spool.append(LINE)
        path = only_file(tmp_path)
        opened = spool._held
        assert opened is not None
        kept = os.dup(opened.descriptor)
        spool.close()
        assert not is_locked(path)
        os.close(kept)

    def test_a_fork_during_an_append_of_another_thread_blocks_neither_process(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path, "traces")
        done = threading.Event()

        def keep_appending() -> None:
            while not done.is_set():
                spool.append(LINE)

        thread = threading.Thread(target=keep_appending)
        thread.start()
        try:
            assert all(in_forked_child(lambda: spool.append(LINE) == len(LINE)) for _ in range(20))
        finally:
            done.set()
            thread.join()
        assert all(set(path.read_bytes().splitlines(keepends=True)) == {LINE} for path in files(tmp_path))


class TestHolding:
    def test_a_file_has_at_most_one_holder(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(LINE)
        with Held(path):
            assert is_locked(path)
            with pytest.raises(LockedError):
                Held(path)
        with Held(path) as held:
            held.acknowledge(len(LINE))
            assert (held.size, held.acknowledged) == (len(LINE), len(LINE))

    def test_a_file_that_is_being_written_cannot_be_held(self, tmp_path: Path) -> None:
        spool = SpoolFile(tmp_path, "traces")
        spool.append(LINE)
        with pytest.raises(LockedError):
            Held(only_file(tmp_path))

    def test_a_file_removed_while_it_is_opened_is_not_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(LINE)
        lock = fcntl.flock

        def lose_the_race(descriptor: int, operation: int) -> None:
            path.unlink()
            lock(descriptor, operation)

        monkeypatch.setattr(fcntl, "flock", lose_the_race)
        with pytest.raises(FileNotFoundError):
            Held(path)

    def test_an_unreadable_offset_acknowledges_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(LINE)
        sent_path(path).write_text("garbage")
        assert acknowledged_offset(path) == 0

    def test_an_offset_of_an_older_version_without_an_inode_is_used(self, tmp_path: Path) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(2 * LINE)
        sent_path(path).write_text(f"{len(LINE):020d}\n")
        assert (acknowledged_offset(path), has_foreign_offset(path)) == (len(LINE), False)
        with Held(path) as held:
            held.acknowledge(2 * len(LINE))
        assert acknowledged_offset(path) == 2 * len(LINE)

    @pytest.mark.parametrize("mark", ["{beyond}", "{beyond} {inode}", "5 1{inode}"])
    def test_an_offset_of_another_file_acknowledges_nothing(self, tmp_path: Path, mark: str) -> None:
        path = tmp_path / "a.jsonl"
        path.write_bytes(LINE)
        sent_path(path).write_text(mark.format(beyond=len(LINE) + 1, inode=path.stat().st_ino))
        assert (acknowledged_offset(path), has_foreign_offset(path)) == (0, True)

    def test_files_are_listed_by_age_without_rejected_records(self, tmp_path: Path) -> None:
        names = ["20260102-b.jsonl", "20260101T1-a.spool.jsonl", "other.txt", "20260101T1-a.spool.jsonl.sent"]
        for name in names:
            (tmp_path / name).touch()
        rejected_path(tmp_path / names[0]).touch()
        assert [path.name for path in files(tmp_path)] == [names[1], names[0]]
