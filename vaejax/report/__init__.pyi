from . import columns as columns
from . import html as html
from . import page as page
from . import row_tables as row_tables
from .html import report_page as report_page
from .page import report as report
