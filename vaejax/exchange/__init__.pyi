from . import codes as codes
from . import export as export
from . import onnx_models as onnx_models
from . import optional as optional
from .codes import Codes as Codes
