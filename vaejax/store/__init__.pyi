from . import checkpoint as checkpoint
from . import records as records
from . import trace_files as trace_files
from .checkpoint import Trained as Trained
from .checkpoint import restore as restore
from .checkpoint import write as write
from .records import Row as Row
from .records import write_json as write_json
