"""The queue of replies that are due."""

import pytest

from appliance.model.errors import ProtocolViolation
from appliance.wire.postgres.expected import Expected, ExpectedReplies, Kind


def queue(*kinds: Kind) -> ExpectedReplies:
    made = ExpectedReplies()
    for kind in kinds:
        made.push(Expected(kind))
    return made


def kinds(replies: ExpectedReplies) -> list[Kind]:
    return [each.kind for each in replies]


def test_first_in_first_out() -> None:
    replies = queue(Kind.PARSE, Kind.SYNC)
    assert kinds(replies) == [Kind.PARSE, Kind.SYNC] and len(replies) == 2
    assert replies.pop(Kind.PARSE).kind is Kind.PARSE
    assert replies.pop(Kind.QUERY, Kind.SYNC).kind is Kind.SYNC
    assert replies.head is None and not len(replies)


@pytest.mark.parametrize("replies", [queue(), queue(Kind.SYNC), queue(Kind.BIND, Kind.PARSE)])
def test_a_reply_that_is_not_due(replies: ExpectedReplies) -> None:
    before = kinds(replies)
    with pytest.raises(ProtocolViolation) as caught:
        replies.pop(Kind.PARSE)
    assert caught.value.side == "upstream" and kinds(replies) == before


def test_an_error_skips_to_the_next_sync() -> None:
    replies = queue(Kind.PARSE, Kind.BIND, Kind.EXECUTE, Kind.SYNC, Kind.PARSE, Kind.SYNC)
    assert [each.kind for each in replies.skip_to_sync()] == [Kind.PARSE, Kind.BIND, Kind.EXECUTE]
    assert kinds(replies) == [Kind.SYNC, Kind.PARSE, Kind.SYNC]
    assert not replies.skipping, "that Sync is on its way"


def test_an_error_without_a_sync_sent_yet() -> None:
    replies = queue(Kind.PARSE, Kind.BIND)
    assert len(replies.skip_to_sync()) == 2
    assert replies.skipping and not len(replies)


@pytest.mark.parametrize(
    ("behind", "left"),
    [
        ([], []),
        ([Kind.SYNC], []),
        ([Kind.SYNC, Kind.SYNC], []),
        ([Kind.SYNC, Kind.QUERY, Kind.SYNC], [Kind.QUERY, Kind.SYNC]),
    ],
)
def test_syncs_within_copy_are_ignored(behind: list[Kind], left: list[Kind]) -> None:
    replies = queue(Kind.EXECUTE, *behind)
    assert replies.drop_syncs_behind_head() == len(behind) - len(left)
    assert kinds(replies) == [Kind.EXECUTE, *left]


def test_shown() -> None:
    assert repr(Expected(Kind.PARSE)) == "<PARSE>"
    assert repr(Expected(Kind.QUERY, error=b"x")) == "<QUERY refused>"
    assert repr(Expected(Kind.SYNC, injected=True)) == "<SYNC injected>"
