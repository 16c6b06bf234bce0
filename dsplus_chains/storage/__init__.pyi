from .answer_cache import SQLiteAnswerCache as SQLiteAnswerCache
from .bundle import Bundle as Bundle
from .files import replacing_file as replacing_file
from .files import replacing_folder as replacing_folder
from .origin import library_versions as library_versions
from .origin import provenance as provenance
