"""Lists that their elements empty during a conversion: NumPy alone would read past the end."""

from __future__ import annotations

import pytest
import scripts

import evoprune as ep

PROGRAM = """
    import gc
    import numpy as np
    import runs

    import evoprune as ep

    class Changing:
        '''A number that empties the list it stands in when it is read.'''

        def __init__(self, home, value):
            self.home, self.value = home, value

        def __array__(self, dtype=None, copy=None):
            self.home.clear()
            junk = [bytearray(48) for _ in range(50)]  # in the memory that the list had
            return np.array(self.value, dtype)

        def __int__(self):
            return int(self.value)

        def __float__(self):
            return float(self.value)

    def changing(values):
        home = []
        home += [Changing(home, value) if at % 2 else value for at, value in enumerate(values)]
        return home

    x, y = runs.data()
    for n in range(2, 40):
        net = runs.network()
        rows = list(range(n))
        net.check_data(x, y, changing(rows))
        one = net.evaluate(x, y, rows=changing(rows))
        assert one == net.evaluate(x, y, rows=rows)
        got = net.predict([changing(row) for row in x.tolist()])
        assert np.array_equal(got, net.predict(x)), n
        data = ep.datasets.arrays([changing(row) for row in x.tolist()], changing(y.tolist()))
        assert np.array_equal(data.x, x) and np.array_equal(data.y, y)
        assert np.array_equal(data.subset(changing(rows)).batch()[0], x[:n])
        net.kill("h0", changing(range(min(n, 20))))
        assert net.array("h0.alive").sum() == 24 - min(n, 20)
    print("done")
"""


def test_a_list_that_changes_is_read_once():
    assert scripts.run(PROGRAM) == "done\n"


@pytest.mark.parametrize(("make", "what"), [(1, "holds itself"), (40, "nested too deeply")])
def test_a_list_without_end_is_refused(make, what):
    import runs

    endless: list = []
    endless += [endless] * 20
    deep: list = []
    for _ in range(make):
        deep = [deep]
    given = endless if make == 1 else deep
    with pytest.raises(ValueError, match=f"x: expected an array, got a list that .*{what}"):
        runs.network().predict(given)
    with pytest.raises(ValueError, match="x: expected an array, got a list that holds itself or"):
        ep.datasets.arrays(given, [1])
