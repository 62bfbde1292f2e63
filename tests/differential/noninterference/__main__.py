"""`python -m tests.differential.noninterference SECONDS [SEED [VERSION]]`: the long run, on the
machine's own PostgreSQL or the version that is asked for.

Prints each finding as SQL when its batch ends and a line of figures last; exit status 1 when there
was a finding.
"""

import secrets
import sys
import tempfile
from pathlib import Path

from appliance.cli.demo.postgres import EmbeddedPostgres
from tests import clusters
from tests.differential.noninterference import trials
from tests.redteam import servers

SETTINGS = {"autovacuum": "off"}


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 and sys.argv[2] else secrets.randbelow(100_000)
    version = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sp-") as folder:
        bin_dir = servers.chosen(version).bin_dir if version else clusters.installed_postgres()
        path = Path(folder)
        with EmbeddedPostgres(path / "pg", bin_dir=bin_dir, settings=SETTINGS) as server:
            trials.prepare(server)
            tally = trials.run(server, path, seed, seconds)
    for finding in tally.findings:
        print(finding)
    for finding in tally.residual:
        print(f"{finding.what}: seed {finding.world.seed}: {' ; '.join(finding.case.texts)}")
        print(f"    {finding.got}\n    {finding.other}")
    for reason, count in sorted(tally.reasons.items(), key=lambda item: -item[1]):
        print(f"refused {count} times: {reason}")
    print(f"seed {seed}: {tally}")
    return 1 if tally.findings else 0


sys.exit(main())
