"""Simple queries."""

from tests.playbook.playbook import answers, says
from tests.playbook.speech import (
    EMAIL_COLUMN,
    ID_COLUMN,
    IDLE,
    complete,
    described,
    query,
    rows,
)
from tests.playbook.transcript import (
    Decided,
    Finished,
    client,
    upstream,
)
from tests.playbook.world import ANN, MASKED, SECRET, Open

READ = "SELECT id, email FROM customers"
SHAPE = described(ID_COLUMN, EMAIL_COLUMN)


def test_a_masked_result(play: Open) -> None:
    assert (
        play(ANN)
        >> says(query(READ))
        << Decided()
        << upstream(query(READ))
        >> answers(SHAPE, rows(("1", SECRET), ("2", None)), complete("SELECT 2"), IDLE)
        << client(SHAPE, rows(("1", MASKED), ("2", None)), complete("SELECT 2"), IDLE)
        << Finished(rows=2, cells_masked=1, sensitive_unmasked_cells=0, command_tag="SELECT 2")
    )
