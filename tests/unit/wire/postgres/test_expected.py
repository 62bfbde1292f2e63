"""The queue of replies that are due."""

import pytest

from appliance.model.errors import ProtocolViolation
from appliance.wire.postgres.expected import Expected, ExpectedReplies, Kind


def queue(*kinds: Kind) -> ExpectedReplies:
    replies = ExpectedReplies()
    for kind in kinds:
        replies.push(Expected(kind))
    return replies


def left(replies: ExpectedReplies) -> list[Kind]:
    return [one.kind for one in replies]


def test_a_reply_that_is_not_due() -> None:
    replies = queue(Kind.PARSE, Kind.SYNC)
    with pytest.raises(ProtocolViolation):
        replies.pop(Kind.BIND)
    assert replies.pop(Kind.BIND, Kind.PARSE).kind is Kind.PARSE
    assert replies.pop(Kind.SYNC).kind is Kind.SYNC
    with pytest.raises(ProtocolViolation):
        replies.pop(Kind.SYNC)


def test_an_error_skips_up_to_the_sync_that_was_sent() -> None:
    replies = queue(Kind.PARSE, Kind.BIND, Kind.EXECUTE, Kind.SYNC, Kind.PARSE)
    assert [one.kind for one in replies.skip_to_sync()] == [Kind.PARSE, Kind.BIND, Kind.EXECUTE]
    assert left(replies) == [Kind.SYNC, Kind.PARSE] and not replies.skipping


def test_an_error_skips_what_is_yet_to_come_when_no_sync_was_sent() -> None:
    replies = queue(Kind.PARSE, Kind.QUERY)
    assert len(replies.skip_to_sync()) == 2
    assert replies.skipping and not len(replies) and replies.head is None


def test_copy_in_swallows_the_syncs_right_behind_it() -> None:
    replies = queue(Kind.EXECUTE, Kind.SYNC, Kind.SYNC, Kind.QUERY, Kind.SYNC)
    assert replies.drop_syncs_behind_head() == 2
    assert left(replies) == [Kind.EXECUTE, Kind.QUERY, Kind.SYNC]
