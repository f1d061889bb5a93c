"""`tbscreen serve`: gateway, workers and Redis under one supervising process.

stack        the composition root: which processes, with which settings
supervisor   starts them in order, restarts what dies, stops them in reverse
child        one process in its own session, its output relayed
watchdog     a small process that ends the children if the supervisor is killed
checks       what is tried before anything is started
access       likewise: who will be let in
redis        the embedded Redis
readiness    when the whole answers
"""

from tbscreen.serve.errors import ServeError
from tbscreen.serve.stack import ServeSettings, run

__all__ = ["ServeError", "ServeSettings", "run"]
