"""A short-video world with known true satisfaction: source of logs and of closed-loop tests.

The mechanism is that of RecSim's interest evolution environment and of RecSim NG, re-implemented
from its equations; each module names the equations it takes and the extensions it adds:
`catalogue` (videos), `audience` (people and how they change), `behaviour` (click, watch time,
satisfaction, reactions), `questionnaire` (who answers what), `scenario` (how far engagement and
satisfaction lie apart), `world` (one step at a time), `logs` (tables and files), `span_logs` (a
folder an hour or a day).
"""

from simulator.config import SimulatorConfig, SimulatorConfigError
from simulator.logs import Logs, simulate, write_logs
from simulator.span_logs import write_span_logs
from simulator.world import Reactions, Requests, World

__all__ = [
    "Logs",
    "Reactions",
    "Requests",
    "SimulatorConfig",
    "SimulatorConfigError",
    "World",
    "simulate",
    "write_logs",
    "write_span_logs",
]
