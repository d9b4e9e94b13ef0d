import errno
import os

import pytest

from lab.errors import LabError, files_have_a_way_out
from lab.settings import ROOT


@pytest.mark.parametrize(
    ("number", "name", "remedy"),
    [
        (errno.EACCES, f"{ROOT}/.lab/x.lock", "sudo chown --recursive"),
        (errno.EPERM, f"{ROOT}/results", "sudo chown --recursive"),
        (errno.ENOSPC, "/anywhere", "make room"),
        (errno.EDQUOT, None, "quota"),
        (errno.EROFS, f"{ROOT}/.env", "clone the project"),
    ],
)
def test_what_is_wrong_with_a_file_comes_with_the_way_out(
    number: int, name: str | None, remedy: str
) -> None:
    with pytest.raises(LabError) as raised, files_have_a_way_out():
        raise OSError(number, os.strerror(number), name)
    assert remedy in raised.value.remedy
    assert os.strerror(number) in raised.value.cause
    assert (name or "") in raised.value.cause


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "denied", "/etc/shadow"),
        FileNotFoundError(errno.ENOENT, "none", f"{ROOT}/missing"),
        ConnectionRefusedError(errno.ECONNREFUSED, "refused"),
        OSError("without a number"),
    ],
)
def test_other_errors_stay_what_they_are(error: OSError) -> None:
    with pytest.raises(type(error)) as raised, files_have_a_way_out():
        raise error
    assert raised.value is error
