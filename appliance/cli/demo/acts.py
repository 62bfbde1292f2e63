"""The ways in which the tour's steps send SQL."""

from appliance.cli.demo.seen import OURS, REFUSED, Act, Seen, Session


def query(text: str) -> Act:
    """As the database's own command line does."""

    def act(session: Session) -> Seen:
        return session.query(text)

    return act


def prepared(text: str, *runs: int) -> Act:
    """A prepared statement with one parameter, executed for each of `runs`, results in binary."""

    def act(session: Session) -> Seen:
        return session.prepared(text, runs)

    return act


def transcript(*texts: str) -> Act:
    """Several texts one after the other, whatever becomes of each; one row per text: what it did,
    REFUSED, or an error's SQLSTATE."""

    def act(session: Session) -> Seen:
        outcomes: list[tuple[str]] = []
        for text in texts:
            seen = session.query(text)
            outcomes.append((REFUSED if seen.sqlstate in OURS else seen.sqlstate or seen.tag,))
        return Seen(("what came back",), tuple(outcomes))

    return act
