"""Where the numbers of one replica are, for metrics."""

import msgspec

from projections.directory import Directory
from projections.follower import Follower
from projections.freshness import Freshness
from projections.presence import Presence
from registry.tally import Tally
from server.announcements import Announcements
from server.pools import Pools
from server.refusals import HttpTally
from server.tool_tally import ToolTally


class Instruments(msgspec.Struct, frozen=True, kw_only=True):
    """The parts that know them; to be read, and never to be changed."""

    follower: Follower
    directory: Directory
    freshness: Freshness
    presence: Presence
    pools: Pools
    tally: Tally
    tools: ToolTally
    announcements: Announcements
    http: HttpTally
