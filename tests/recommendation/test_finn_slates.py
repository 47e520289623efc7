"""FINN.no's files: what is read, and what is said when they are not there."""

import numpy as np
import pytest

from hierlab.recommendation.finn_slates import read_finn


def write(folder, **changes):
    data = {"slate": [[[1, 3, 4]], [[1, 5, 0]]], "click": [[4], [1]], "click_idx": [[2], [0]]} | changes
    np.savez(folder / "data.npz", **{k: np.array(v) for k, v in data.items() if v is not None})
    np.savez(folder / "itemattr.npz", category=np.array([0, 0, 0, 7, 7, 2]))


def test_a_folder_of_the_right_form_is_read(tmp_path):
    write(tmp_path)
    log, group = read_finn(tmp_path)
    assert log.click.tolist() == [[4], [1]]
    assert group.tolist() == [0, 0, 0, 2, 2, 1]
    assert len(read_finn(tmp_path, users=1)[0]) == 1


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"data.npz of the FINN.no slates is not in .*; get them with: pip install"):
        read_finn(tmp_path)
    write(tmp_path, click_idx=None)
    with pytest.raises(ValueError, match=r"data.npz lacks click_idx; it has slate, click"):
        read_finn(tmp_path)
    write(tmp_path, slate=[[[1, 3, 4]], [[1, 9, 0]]])
    with pytest.raises(ValueError, match=r"itemattr.npz has 6 items, but slates show id 9"):
        read_finn(tmp_path)
