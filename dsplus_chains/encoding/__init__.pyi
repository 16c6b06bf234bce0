from .embeddings import EmbeddingsEncoder as EmbeddingsEncoder
from .encoder import Encoder as Encoder
from .language_model import LanguageModelEncoder as LanguageModelEncoder
from .loading import as_encoder as as_encoder
from .loading import load_encoder as load_encoder
from .pair import PairEncoder as PairEncoder
from .sentence import SentenceEncoder as SentenceEncoder
from .union import EncoderUnion as EncoderUnion
