from . import devices as devices
from . import lanes as lanes
from . import memory as memory
from . import placement as placement
from . import processes as processes
from .devices import replicate as replicate
from .lanes import advance as advance
from .lanes import init as init
