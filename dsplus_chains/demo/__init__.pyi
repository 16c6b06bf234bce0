from .headlines import load_headlines as load_headlines
from .reviews import load_reviews as load_reviews
from .reviews import split_by_review as split_by_review
from .weights import load_smollm2 as load_smollm2
