from .reading import open_table as open_table
from .reading import read_table as read_table
from .table import Table as Table
from .table_error import TableError as TableError
from .writing import write_table as write_table
