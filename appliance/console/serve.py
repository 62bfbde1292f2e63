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
from appliance.console.policy_cases import examine
from appliance.console.recording import Recording
from appliance.console.standing import Standing
from appliance.console.store_shelf import StoreShelf
from appliance.console.web import Web
from appliance.control.desk import DeskError
from appliance.control.main import Control, run
from appliance.control.notify.run import Notices, notices
from appliance.identity.verifiers import Directory, parse_users
from appliance.link.messages import Documents
from appliance.policy.compile import compile_documents
from appliance.telemetry.log import Log

LOOK_SECONDS = 1.0
"""How soon pages show a policy that was activated."""

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


class Following:
    """What the console goes by, with the policy that is active in the store now."""

    def __init__(self, control: Control, standing: Standing) -> None:
        self.standing = standing
        self._control = control
        self._serial = 0

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Takes what has become active since. What the store holds compiled when it was stored:
        should it not now, the version before goes on being shown, and the log says so."""
        try:
            if await self._control.policies.serial() == self._serial:
                return
            active = await self._control.policies.in_force()
        except DeskError as error:
            log.warning("policy_not_read", reason=str(error))
            return
        if active is None:
            return
        self._serial = active.serial
        pairs = tuple((document.name, document.text) for document in active.documents)
        observe = self.standing.configuration.policy.mode is PolicyMode.OBSERVE
        try:
            snapshot = await asyncio.to_thread(compile_documents, pairs, observe=observe)
        except ValueError as error:
            log.error("policy_not_compiled", reason=str(error))
            return
        self.standing = self.standing._replace(policy=snapshot, documents=pairs)


async def serve_console(control: Control) -> None:
    """Until cancelled: pages, API, notices."""
    following = Following(control, standing_of(control))
    await following.look()
    standing = following.standing
    told = notices(
        control.configuration,
        control.desk,
        control.store,
        url=control.url,
        policies=control.policies,
        warn=lambda text: log.warning("credential_readable", reason=text),
    )
    now = control.minting.now
    services = services_of(
        lambda: following.standing,
        control.desk,
        control.policies,
        control.witness.seen,
        StoreShelf(control.store),
        Recording(control.recorder, now, real_entropy),
        now,
        slack=told.interaction,
    )
    duties = [
        asyncio.create_task(services.metering.run(), name="metering"),
        asyncio.create_task(following.run(), name="policy-following"),
    ]
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
    sys.exit(run((serve_console,), examine=examine))


if __name__ == "__main__":
    main()
