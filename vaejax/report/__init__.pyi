from . import columns as columns
from . import page as page
from . import tables as tables
from .page import report_page as report_page
