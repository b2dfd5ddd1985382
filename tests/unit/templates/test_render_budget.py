"""However a text is put together, a render ends within a bounded number of rounds of its loops."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from liquid.exceptions import LiquidError, LoopIterationLimitError, OutputStreamLimitError

from gateway.templates.language.dialect import environment

_LIMIT = 1_000

_loops = st.recursive(
    st.just("{{ count }}"),
    lambda inner: st.builds(
        lambda size, inside: f"{{% for i in (1..{size}) %}}{''.join(inside)}{{% endfor %}}",
        st.integers(0, 400),
        st.lists(inner, min_size=1, max_size=4),
    ),
    max_leaves=40,
)


class _Rounds:
    """A value that counts how often a loop's body writes it."""

    def __init__(self) -> None:
        self.number = 0

    def __str__(self) -> str:
        self.number += 1
        return "x"


@pytest.mark.parametrize("html", [False, True])
@given(parts=st.lists(_loops, min_size=1, max_size=20))
def test_all_loops_of_a_part_share_one_budget(html: bool, parts: list[str]) -> None:
    """In a row or within each other, an output is written at most as often as the budget has rounds."""
    text, rounds = "".join(parts), _Rounds()
    with suppress(LoopIterationLimitError, OutputStreamLimitError):
        environment(html=html).from_string(text).render(count=rounds)
    outputs = text.count("{{ count }}")
    assert rounds.number <= outputs * (_LIMIT + 1)


def test_ninety_five_loops_in_a_row_do_not_each_have_the_whole_budget() -> None:
    """The rounds are counted over the whole part: the second loop of 600 does not begin."""
    rounds = _Rounds()
    loop = "{% for i in (1..600) %}{{ count }}{% endfor %}"
    with pytest.raises(LiquidError, match="loop iteration limit"):
        environment(html=False).from_string(loop * 95).render(count=rounds)
    assert rounds.number == 600


def test_each_render_has_the_whole_budget_again() -> None:
    """The budget is the render's and not the template's."""
    template = environment(html=False).from_string("{% for i in (1..1000) %}x{% endfor %}")
    assert [len(template.render()) for _ in range(2)] == [_LIMIT, _LIMIT]
