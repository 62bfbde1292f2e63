"""The control process with API and console: `python -m appliance.console.serve`.

Started by the supervisor, or by `sallyport control`. Rule: the console is a service of the control
process; it uses the desk, the store and the trail that this has, and ends with it.
"""

import asyncio
import sys

import msgspec

from appliance.config.schema import PolicyMode
from appliance.console.app import make_app, services_of
from appliance.console.credentials import real_entropy
from appliance.console.recording import Recording
from appliance.console.standing import Standing
from appliance.console.store_shelf import StoreShelf
from appliance.console.web import Web
from appliance.control.main import Control, run
from appliance.control.notify.run import Notices, notices
from appliance.identity.verifiers import Directory, parse_users
from appliance.link.messages import Documents
from appliance.policy.compile import compile_documents
from appliance.telemetry.log import Log

log = Log("console")


def standing_of(control: Control) -> Standing:
    """What the control process was started with; a reload starts another. Raises ValueError."""
    documents = control.documents
    pairs = tuple((document.name, document.text) for document in documents.policies)
    observe = control.configuration.policy.mode is PolicyMode.OBSERVE
    return Standing(
        configuration=control.configuration,
        control=msgspec.structs.replace(control.section, url=control.url),
        directory=_directory(documents, control),
        policy=compile_documents(pairs, observe=observe) if pairs else None,
        documents=pairs,
    )


def _directory(documents: Documents, control: Control) -> Directory:
    path = control.configuration.identities.users
    if documents.users is not None:
        return parse_users(documents.users.decode(), str(path or ""))
    if path is None:
        return Directory()
    return parse_users(path.read_text(encoding="utf-8"), str(path))


async def serve_console(control: Control) -> None:
    """Until cancelled: pages, API, notices."""
    standing = standing_of(control)
    told = notices(
        control.configuration,
        control.desk,
        control.store,
        url=control.url,
        warn=lambda text: log.warning("credential_readable", reason=text),
    )
    now = control.minting.now
    services = services_of(
        lambda: standing,
        control.desk,
        StoreShelf(control.store),
        Recording(control.recorder, now, real_entropy),
        now,
        slack=told.interaction,
    )
    duties = [asyncio.create_task(services.metering.run(), name="metering")]
    try:
        async with Web(make_app(services), standing.control, control.listening) as web:
            duties.append(asyncio.create_task(web.ended(), name="web-ended"))
            duties.append(asyncio.create_task(_notify(told), name="notices"))
            done, _ = await asyncio.wait(duties, return_when=asyncio.FIRST_COMPLETED)
            for duty in done:
                duty.result()
    finally:
        for duty in duties:
            duty.cancel()
        await asyncio.gather(*duties, return_exceptions=True)
        await services.providers.close()


async def _notify(told: Notices) -> None:
    """Its end (nobody is to be told) is not the console's."""
    await told.run()
    await asyncio.Event().wait()


def main() -> None:
    sys.exit(run((serve_console,)))


if __name__ == "__main__":
    main()
