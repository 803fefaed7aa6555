"""Tools to test what is built on syncpoint, and syncpoint itself: whole clusters on one thread and on virtual time."""

from .campaign import Campaign, Settings
from .checkers import Checkers, Violation
from .cluster import Cluster, Node
from .dag import order_dag
from .delays import Delays
from .draw import PROFILES, draw
from .history import History
from .scenario import Load, Scenario
from .shrink import shrink
from .simulation import Outcome, simulate
from .storage import Store

__all__ = [
    "PROFILES",
    "Campaign",
    "Checkers",
    "Cluster",
    "Delays",
    "History",
    "Load",
    "Node",
    "Outcome",
    "Scenario",
    "Settings",
    "Store",
    "Violation",
    "draw",
    "order_dag",
    "shrink",
    "simulate",
]
