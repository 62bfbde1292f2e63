"""The property of DESIGN 4.1, on random schemas, data, classifications and statements: two
databases that are equal once masked give the same bytes, and those of the masked twin.

Bounded: fixed seeds and a fresh one, which is printed; `make noninterference` runs as long as it is
told. A finding is printed as SQL.
"""

import random
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.cli.demo.postgres import EmbeddedPostgres
from tests import clusters
from tests.differential.noninterference import trials
from tests.differential.noninterference.statements import Case, Grammar
from tests.differential.noninterference.trials import Tally, Trial
from tests.differential.noninterference.worlds import make_world

STATEMENTS = 50
"""Of each of a seed's four worlds."""
SEEDS = (3, 11, 1829)


@pytest.fixture(scope="module")
def server(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """The machine's PostgreSQL where there is one: other plans, other grammar than the wheel's."""
    bin_dir = clusters.installed_postgres()
    folder = server_folder / "noninterference"
    with EmbeddedPostgres(folder, bin_dir=bin_dir, settings={"autovacuum": "off"}) as running:
        trials.prepare(running)
        yield running


@pytest.mark.parametrize("seed", [*SEEDS, None])
def test_equal_once_masked_is_equal(
    server: EmbeddedPostgres, tmp_path: Path, seed: int | None
) -> None:
    chosen = 1000 + secrets.randbelow(100_000) if seed is None else seed
    tally = trials.run_batch(server, tmp_path, chosen, STATEMENTS)
    print(f"seed {chosen}: {tally}")
    assert not tally.findings, f"seed {chosen}\n" + "\n".join(map(str, tally.findings[:3]))
    assert tally.tried == trials.WORLDS * STATEMENTS
    assert tally.answered > tally.tried / 2, tally.reasons


def test_a_leak_is_found(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """The harness itself: without masks, a query of a sensitive column differs."""
    world = make_world(4)
    column = next(iter(world.masks()))
    with trials.staged(server, tmp_path, [world]) as stage:
        text = f"SELECT {column[2]} FROM {column[0]}.{column[1]} ORDER BY id"
        trial = Trial(stage, world)
        tally = Tally()
        trials.judge(trial, world, 0, Case((text,), "simple"), tally)
        assert not tally.findings
        with stage.direct(trials.A) as a, stage.direct(trials.B) as b:
            assert a.rows(text) != b.rows(text)
        # Whoever shows a raw row: the sides of a trial are asked round Sallyport.
        trial.close()
        trial.bare = True
        trials.judge(trial, world, 1, Case((text,), "simple"), tally)
        trial.close()
    assert [finding.what for finding in tally.findings] == ["interference"]
    assert text in str(tally.findings[0])


def test_the_same_seed_gives_the_same_statements() -> None:
    first, second = (Grammar(make_world(7), random.Random(7)) for _ in range(2))
    assert [first.case() for _ in range(200)] == [second.case() for _ in range(200)]
    assert make_world(7).ddl() == make_world(7).ddl()
    assert make_world(7).other() == make_world(7).other()
