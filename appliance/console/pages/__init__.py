"""The console's pages: rows like those of the API, with `page=True`.

Joined to the table by `console/routes`; a row here replaces a plain one of the same method and
path.
"""

from appliance.console.dispatch import ProblemPage
from appliance.console.table import Row

PAGES: tuple[Row, ...] = ()
PROBLEM_PAGE: ProblemPage | None = None
"""Shows a problem to a browser; None = a plain one."""
