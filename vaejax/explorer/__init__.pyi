from . import exploration as exploration
from . import page as page
from .exploration import explore as explore
from .page import explorer_page as explorer_page
