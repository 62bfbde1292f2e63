"""`sallyport control`: the control process as a service of its own (`control.run: separate`)."""

from pathlib import Path
from typing import Literal

from appliance.cli.serve import DEFAULT_CONFIGURATION, in_json
from appliance.console.policy_cases import examine
from appliance.console.serve import serve_console
from appliance.control.main import run_separate


def control(
    config: Path = DEFAULT_CONFIGURATION,
    log_format: Literal["auto", "json", "text"] = "auto",
) -> int:
    """Runs approvals, API and console until SIGTERM or SIGINT, for workers that `serve` runs.

    Only where the configuration says `control.run: separate`; otherwise `serve` starts it by
    itself. Returns the exit status: 0, 1 when it failed, 2 when the configuration is wrong.

    Parameters
    ----------
    config
        The configuration file.
    log_format
        auto is text for a terminal or the journal, JSON otherwise.
    """
    return run_separate(config, (serve_console,), json=in_json(log_format), examine=examine)
