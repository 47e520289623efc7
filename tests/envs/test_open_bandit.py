"""The Open Bandit log: what is in it, its click rates, and how it says that it is missing or altered."""

import dataclasses

import numpy as np
import pytest

from hierlab.envs import open_bandit
from hierlab.envs.open_bandit import click_rates, load_open_bandit


@pytest.fixture(scope="module")
def log():
    return load_open_bandit("men")


class TestLoad:
    def test_the_release_is_what_it_says(self, log):
        assert (len(log), log.items, log.positions, int(log.click.sum())) == (10_000, 34, 3, 46)
        assert log.item.min() == 0
        assert log.item.max() == 33
        assert set(log.position) == {0, 1, 2}
        assert log.propensity == pytest.approx(1 / 34, abs=1e-5)
        assert log.user.shape == (10_000, 4)
        assert log.affinity.shape == (10_000, 34)

    def test_rows_are_in_the_order_of_time(self, log):
        assert (np.diff(log.time) >= np.timedelta64(0)).all()

    def test_unknown_names_are_refused(self):
        with pytest.raises(ValueError, match="campaign must be one of 'all', 'men', 'women', got 'kids'"):
            load_open_bandit("kids")
        with pytest.raises(ValueError, match="policy must be one of"):
            load_open_bandit("men", "greedy")

    def test_missing_data_says_how_to_get_it(self, tmp_path, monkeypatch):
        with pytest.raises(FileNotFoundError, match="unpack https"):
            load_open_bandit(folder=tmp_path)
        monkeypatch.setattr(open_bandit, "PACKAGE", "no-such-package")
        with pytest.raises(FileNotFoundError, match=r"pip install --no-deps no-such-package==0\.4\.1"):
            load_open_bandit("men")

    def test_another_release_is_refused(self, monkeypatch):
        monkeypatch.setitem(open_bandit.CHECKSUMS, ("random", "men"), "0" * 64)
        with pytest.raises(ValueError, match="is not the table of"):
            load_open_bandit("men")

    def test_a_table_of_ones_own(self, tmp_path):
        file = tmp_path / "bts" / "all" / "all.csv"
        file.parent.mkdir(parents=True)
        features = ",".join(f"user_feature_{n}" for n in range(4))
        rows = ["2019-11-24 00:00:02+00:00,1,3,1,0.5,a,b,c,d", "2019-11-24 00:00:01.5+00:00,0,1,0,0.5,b,b,c,d"]
        file.write_text(f"timestamp,item_id,position,click,propensity_score,{features}\n" + "\n".join(rows) + "\n")
        own = load_open_bandit("all", "bts", folder=tmp_path)
        assert own.item.tolist() == [0, 1]
        assert own.position.tolist() == [0, 2]
        assert own.click.tolist() == [False, True]
        assert own.user[:, 0].tolist() == [1, 0]
        file.write_text("timestamp,item_id\n")
        with pytest.raises(ValueError, match="lacks the column position, click"):
            load_open_bandit("all", "bts", folder=tmp_path)


class TestClickRates:
    def test_little_strength_gives_the_raw_rates(self, log):
        raw = np.zeros((34, 3))
        for item, position in np.ndindex(raw.shape):
            raw[item, position] = log.click[(log.item == item) & (log.position == position)].mean()
        assert np.allclose(click_rates(log, strength=1e-6), raw, atol=1e-6)

    def test_much_strength_gives_the_overall_rate(self, log):
        assert np.allclose(click_rates(log, strength=1e9), log.click.mean(), rtol=1e-3)

    def test_a_log_without_clicks_is_refused(self, log):
        with pytest.raises(ValueError, match="none of the 10000 impressions was clicked"):
            click_rates(dataclasses.replace(log, click=np.zeros(10_000, dtype=bool)))
        with pytest.raises(ValueError, match="strength must be a number"):
            click_rates(log, strength=0)
